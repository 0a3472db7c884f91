//! MinIO or the auth service away: 503 soon, `/readyz` says which, and all is well when they are back.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Person, World, eventually, shared_minio, start_minio};

/// Everything that needs MinIO.
const CALLS: [(Method, &str); 12] = [
    (Method::POST, "/sessions"),
    (Method::GET, "/sessions"),
    (Method::DELETE, "/sessions"),
    (Method::GET, "/me"),
    (Method::POST, "/users/dana"),
    (Method::POST, "/users/dana/share"),
    (Method::POST, "/users/dana/unshare"),
    (Method::GET, "/access?path=users-warehouse/dana"),
    (Method::POST, "/groups/KBase"),
    (Method::GET, "/admin/users"),
    (Method::POST, "/admin/users/alice/disable"),
    (Method::DELETE, "/admin/groups/KBase"),
];

fn body(path: &str) -> Value {
    let many: Vec<String> = (0..100).map(|i| format!("somebody{i}")).collect();
    match path {
        "/users/dana/share" => json!({"path": "users-warehouse/dana/x", "with_users": many, "with_groups": ["KBase"]}),
        "/users/dana/unshare" => {
            json!({"path": "users-warehouse/dana/x", "from_users": many, "from_groups": ["KBase"]})
        }
        _ => Value::Null,
    }
}

async fn is_an_outage(world: &World, who: &Person, method: Method, path: &str) {
    let started = Instant::now();
    let answer = world.call(who, method.clone(), path, body(path)).await;
    let took = started.elapsed();
    assert_eq!(answer.status, 503, "{method} {path}: {}", answer.json);
    assert_eq!(answer.json["type"], "urn:lakepass:problem:unavailable");
    assert!(answer.headers.contains_key("retry-after"), "{method} {path}");
    assert!(took < Duration::from_secs(3), "{method} {path} took {took:?}");
}

async fn readiness(world: &World) -> (u16, Value) {
    let answer = world.http.get(format!("{}/readyz", world.url)).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn minio_hangs_and_then_is_gone() {
    let minio = start_minio().await;
    let world = World::on(&minio, &[]).await;
    let admin = world.admin().await;
    assert_eq!(world.get(&admin, "/me").await.status, 200, "the token is known from here on");
    minio.signal("STOP").unwrap();
    let hanging = CALLS.map(|(method, path)| is_an_outage(&world, &admin, method, path));
    futures::future::join_all(hanging).await;
    assert_eq!(readiness(&world).await, (503, json!({"auth": "ok", "minio": "unavailable"})));
    minio.signal("CONT").unwrap();
    eventually("MinIO is back", Duration::from_secs(2), async || world.get(&admin, "/me").await.status == 200).await;
    drop(minio);
    for (method, path) in CALLS {
        is_an_outage(&world, &admin, method, path).await;
    }
    assert_eq!(readiness(&world).await, (503, json!({"auth": "ok", "minio": "unavailable"})));
    assert_eq!(world.http.get(format!("{}/healthz", world.url)).send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn the_auth_service_is_gone() {
    let mut world = World::on(shared_minio(), &[]).await;
    let (known, unknown) = (world.person("alice").await, world.person("bob").await);
    assert_eq!(world.get(&known, "/me").await.status, 200);
    world.auth.take().unwrap().stop().await;
    assert_eq!(world.get(&known, "/me").await.status, 200, "its validation is still trusted");
    for (method, path) in CALLS {
        is_an_outage(&world, &unknown, method, path).await;
    }
    assert_eq!(readiness(&world).await, (503, json!({"auth": "unavailable", "minio": "ok"})));
}
