//! The edge: bad input is refused early, with a problem that says what to do.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{CountingProxy, Person, World, shared_minio};

#[tokio::test]
async fn bad_input_is_a_problem_with_a_request_id() {
    let world = World::new().await;
    let alice = world.person("alice").await;
    let share = "/users/alice/share";
    let good = json!({"path": "users-warehouse/alice/x", "with_users": ["bob"]});
    let with = |key: &str, value: Value| {
        let mut body = good.clone();
        body[key] = value;
        body
    };
    for (path, body, status) in [
        (share, with("access", json!("admin")), 422),
        (share, with("expires_at", json!("2020-01-01T00:00:00Z")), 422),
        (share, with("expires_at", json!("tomorrow")), 422),
        (share, with("with_users", json!([])), 422),
        (share, with("surprise", json!(1)), 422),
        (share, json!([]), 422),
        ("/users/Alice/share", good.clone(), 422),
        ("/users/bob/share", good.clone(), 403),
        ("/groups/a b", json!({}), 422),
        ("/groups/KBase", json!({"add_members": [{"username": "alice", "role": "owner"}]}), 422),
        ("/sessions", json!({"duration_seconds": -1}), 422),
        ("/sessions", json!({"duration_seconds": "long"}), 422),
        ("/nowhere", json!({}), 404),
    ] {
        let answer = world.post(&alice, path, body.clone()).await;
        assert_eq!(answer.status, status, "{path} {body}: {}", answer.json);
        assert_eq!(answer.headers["content-type"], "application/problem+json");
        assert!(answer.json["type"].as_str().unwrap().starts_with("urn:lakepass:problem:"));
        assert_eq!(answer.json["status"], json!(status));
        for part in ["title", "detail"] {
            assert!(!answer.json[part].as_str().unwrap().is_empty());
        }
        assert_eq!(answer.headers["x-request-id"].to_str().unwrap(), answer.json["request_id"].as_str().unwrap());
    }
    assert_eq!(world.call(&alice, Method::PATCH, "/sessions", Value::Null).await.status, 405);
    for path in ["/admin/users", "/admin/groups"] {
        assert_eq!(world.get(&alice, path).await.status, 403);
    }
    for path in ["/admin/users/bob", "/admin/groups/KBase", "/admin/users/bob/sessions"] {
        assert_eq!(world.delete(&alice, path).await.status, 403);
    }
    for path in ["/admin/users?limit=0", "/admin/users?limit=x", "/access"] {
        assert_eq!(world.get(&world.admin().await, path).await.status, 422, "{path}");
    }
}

#[tokio::test]
async fn who_cannot_be_recognised_is_refused() {
    let world = World::new().await;
    let alice = world.person("alice").await;
    let ask = |headers: Vec<String>| {
        let mut request = world.http.get(format!("{}/users/alice", world.url));
        for value in headers {
            request = request.header("authorization", value);
        }
        async move {
            let answer = request.send().await.unwrap();
            assert_eq!(answer.status() == 401, answer.headers().contains_key("www-authenticate"));
            answer.status().as_u16()
        }
    };
    let token = &alice.token;
    assert_eq!(ask(vec![token.clone()]).await, 200);
    assert_eq!(ask(vec![format!("Bearer {token}")]).await, 200);
    assert_eq!(ask(vec![format!("bearer {token}")]).await, 200);
    assert_eq!(ask(vec![]).await, 401);
    assert_eq!(ask(vec![token.clone(), token.clone()]).await, 401);
    for bad in [
        format!("Basic {token}"),
        format!("Bearer  {token}"),
        format!("Bearer {token} x"),
        "Bearer".into(),
        "x".repeat(9000),
    ] {
        assert_eq!(ask(vec![bad]).await, 401);
    }
    let in_query = world.http.get(format!("{}/users/alice?token={token}", world.url)).send().await.unwrap();
    assert_eq!(in_query.status(), 401);
    let roleless = world.stranger("erin", &[]);
    let answer = world.get(&roleless, "/sessions").await;
    assert_eq!((answer.status, &answer.json["type"]), (403, &json!("urn:lakepass:problem:not-admitted")));
}

#[tokio::test]
async fn a_huge_body_and_a_huge_token_are_refused_early() {
    let world = World::new().await;
    let alice = world.person("alice").await;
    let auth = world.auth.as_ref().unwrap();
    let calls = auth.calls();
    let started = Instant::now();
    let huge = world.http.post(format!("{}/users/alice/share", world.url)).header("authorization", &alice.token);
    match huge.body(vec![b' '; 64 << 20]).send().await {
        Ok(answer) => assert_eq!(answer.status(), 413),
        // The server hangs up on who goes on sending: refused as well.
        Err(error) => assert!(error.is_request() || error.is_body(), "{error:?}"),
    }
    assert!(started.elapsed() < Duration::from_secs(5));
    let token = Person { name: "alice".into(), token: "x".repeat(60_000) };
    assert!(matches!(world.get(&token, "/users/alice").await.status, 401 | 431));
    assert_eq!(auth.calls().token - calls.token, 1, "only alice's own token was asked about");
    assert_eq!(world.get(&alice, "/users/alice").await.status, 200);
}

#[tokio::test]
async fn the_openapi_document_lists_every_surface() {
    let world = World::new().await;
    let api: Value = world.http.get(format!("{}/openapi.json", world.url)).send().await.unwrap().json().await.unwrap();
    let mut paths: Vec<&str> = api["paths"].as_object().unwrap().keys().map(String::as_str).collect();
    paths.sort_unstable();
    assert_eq!(
        paths,
        [
            "/access",
            "/admin/drift",
            "/admin/groups",
            "/admin/groups/{group}",
            "/admin/reconcile",
            "/admin/users",
            "/admin/users/{user}",
            "/admin/users/{user}/disable",
            "/admin/users/{user}/enable",
            "/admin/users/{user}/sessions",
            "/aws/container-credentials",
            "/console",
            "/console-login",
            "/groups/{group}",
            "/healthz",
            "/me",
            "/readyz",
            "/sessions",
            "/sts",
            "/users/{user}",
            "/users/{user}/share",
            "/users/{user}/unshare",
        ]
    );
    let ready = world.http.get(format!("{}/readyz", world.url)).send().await.unwrap();
    assert_eq!(ready.json::<Value>().await.unwrap(), json!({"auth": "ok", "minio": "ok"}));
}

#[tokio::test]
async fn five_hundred_users_are_listed_in_two_calls_a_page() {
    let proxy = CountingProxy::to(shared_minio().address).await;
    let world = World::on(shared_minio(), &[("LAKEPASS_MINIO_URL", &proxy.url)]).await;
    let admin = world.admin().await;
    let put = |i: usize| {
        let key = format!("users/user{i:03}.json");
        let s3 = world.s3(&world.root());
        let bucket = world.ledger_bucket.clone();
        async move { s3.put_object().bucket(bucket).key(key).body(b"{}".to_vec().into()).send().await.unwrap() }
    };
    // Only their names are listed, so that is all that they need to have.
    futures::future::join_all((0..500).map(put)).await;
    let mut seen = 0;
    let mut path = "/admin/users?limit=200".to_owned();
    loop {
        let before = proxy.requests();
        let answer = world.get(&admin, &path).await;
        assert_eq!((answer.status, proxy.requests() - before), (200, 2));
        seen += answer.json["users"].as_array().unwrap().len();
        match answer.json["next"].as_str() {
            Some(next) => path = format!("/admin/users?limit=200&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(seen, 500);
}
