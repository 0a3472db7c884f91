//! The clients of KBase's earlier service go on working: its paths, fields and errors, for keys that need no session token.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    clients::{mc, mc_host},
    support::{Answer, CountingProxy, Keys, Person, World, eventually, shared_minio},
};

/// KBase's layout: what is for SQL is the last.
const LAYOUT: &[(&str, &str)] = &[
    ("LAKEPASS_HOME_TEMPLATES", "users-general-warehouse/{user}/,users-sql-warehouse/{user}/"),
    ("LAKEPASS_WORKSPACE_TEMPLATES", "tenant-general-warehouse/{group}/,tenant-sql-warehouse/{group}/"),
];

async fn kbase_lake(settings: &[(&str, &str)]) -> World {
    World::on(shared_minio(), &[LAYOUT, settings].concat()).await
}

/// Another broker on the same lake.
async fn replica(of: &World, settings: &[(&str, &str)]) -> World {
    let auth = of.auth.as_ref().unwrap().url();
    let same = [
        ("LAKEPASS_BUCKET", of.bucket.as_str()),
        ("LAKEPASS_LEDGER_BUCKET", &of.ledger_bucket),
        ("LAKEPASS_KBASE_AUTH_URL", &auth),
    ];
    let mut world = kbase_lake(&[&same, settings].concat()).await;
    world.bucket.clone_from(&of.bucket);
    world.ledger_bucket.clone_from(&of.ledger_bucket);
    world
}

fn keys(answer: &Answer) -> Keys {
    assert_eq!(answer.status, 200, "{}", answer.json);
    let text = |name: &str| answer.json[name].as_str().unwrap().to_owned();
    Keys { access_key: text("access_key"), secret_key: text("secret_key"), session_token: None }
}

async fn credentials(world: &World, who: &Person) -> Keys {
    keys(&world.get(who, "/credentials/").await)
}

async fn rotated(world: &World, who: &Person) -> Keys {
    keys(&world.post(who, "/credentials/rotate", Value::Null).await)
}

fn home(who: &Person) -> String {
    format!("users-sql-warehouse/{}/x", who.name)
}

#[tokio::test]
async fn credentials_are_the_same_each_time_and_nothing_stores_the_secret() {
    let world = kbase_lake(&[]).await;
    let bob = world.stranger("bob", &["BERDL_USER"]);
    let answer = world.get(&bob, "/credentials/").await;
    let first = keys(&answer);
    assert_eq!(answer.headers["cache-control"], "no-store");
    assert_eq!(answer.json["username"], "bob");
    assert_eq!(answer.json["s3_access_key"], first.access_key);
    assert_eq!(answer.json["s3_secret_key"], first.secret_key);
    // Later clients cannot do without these.
    assert!(answer.json["polaris_client_id"].is_string() && answer.json["polaris_client_secret"].is_string());
    for key in ["users-general-warehouse/bob/x", "users-sql-warehouse/bob/x"] {
        assert!(world.can_put(&first, key).await, "{key}");
    }
    assert!(!world.can_list(&first, "users-sql-warehouse/alice/").await);
    assert_eq!(credentials(&world, &bob).await.secret_key, first.secret_key);
    let shown = world.get(&bob, "/users/bob").await.json;
    assert_eq!(shown["lake_keys"], json!([first.access_key]));
    let ledger = world.s3(&world.root()).get_object().bucket(&world.ledger_bucket).key("users/bob.json").send().await;
    let document = ledger.unwrap().body.collect().await.unwrap().to_vec();
    let document = String::from_utf8(document).unwrap();
    assert!(document.contains(&first.access_key) && !document.contains(&first.secret_key));
}

#[tokio::test]
async fn all_who_ask_two_brokers_at_once_get_one_key() {
    let world = kbase_lake(&[]).await;
    let other = replica(&world, &[]).await;
    let bob = world.stranger("bob", &["BERDL_USER"]);
    let asked = (0..20).map(|i| credentials(if i % 2 == 0 { &world } else { &other }, &bob));
    let all = futures::future::join_all(asked).await;
    for keys in &all {
        assert_eq!((&keys.access_key, &keys.secret_key), (&all[0].access_key, &all[0].secret_key));
    }
    assert!(world.can_put(&all[0], &home(&bob)).await);
    assert_eq!(world.get(&bob, "/users/bob").await.json["lake_keys"], json!([all[0].access_key]));
}

#[tokio::test]
async fn all_who_rotate_at_once_get_one_key() {
    let none = [("LAKEPASS_KBASE_KEY_OVERLAP", "0")];
    let world = kbase_lake(&none).await;
    let other = replica(&world, &none).await;
    let bob = world.person("bob").await;
    let old = credentials(&world, &bob).await;
    let asked = (0..10).map(|i| rotated(if i % 2 == 0 { &world } else { &other }, &bob));
    let all = futures::future::join_all(asked).await;
    for keys in &all {
        assert_eq!((&keys.access_key, &keys.secret_key), (&all[0].access_key, &all[0].secret_key));
    }
    assert_ne!(old.access_key, all[0].access_key);
    assert!(world.can_put(&all[0], &home(&bob)).await && !world.can_put(&old, &home(&bob)).await);
    assert_ne!(rotated(&world, &bob).await.access_key, all[0].access_key, "later, it is another one");
}

#[tokio::test]
async fn a_rotated_key_works_for_the_overlap() {
    let world = kbase_lake(&[]).await;
    let bob = world.person("bob").await;
    let old = credentials(&world, &bob).await;
    let new = rotated(&world, &bob).await;
    assert_ne!(old.access_key, new.access_key);
    assert_eq!(credentials(&world, &bob).await.secret_key, new.secret_key);
    world.broker.remove_ended_lake_keys().await.unwrap();
    for keys in [&old, &new] {
        assert!(world.can_put(keys, &home(&bob)).await);
    }
}

#[tokio::test]
async fn a_rotated_key_dies_after_the_overlap() {
    for overlap in ["1", "0"] {
        let world = kbase_lake(&[("LAKEPASS_KBASE_KEY_OVERLAP", overlap)]).await;
        let bob = world.person("bob").await;
        let (old, new) = (credentials(&world, &bob).await, rotated(&world, &bob).await);
        if overlap == "0" {
            assert!(!world.can_put(&old, &home(&bob)).await, "at once");
        }
        eventually("the old key is dead", Duration::from_secs(30), async || {
            world.broker.remove_ended_lake_keys().await.unwrap();
            !world.can_put(&old, &home(&bob)).await
        })
        .await;
        assert!(world.can_put(&new, &home(&bob)).await);
        assert_eq!(world.get(&bob, "/users/bob").await.json["lake_keys"], json!([new.access_key]));
    }
}

#[tokio::test]
async fn no_more_than_eight_earlier_keys_live_on() {
    let world = kbase_lake(&[]).await;
    let bob = world.person("bob").await;
    let mut all = vec![credentials(&world, &bob).await];
    for _ in 0..10 {
        all.push(rotated(&world, &bob).await);
    }
    let mut alive = Vec::new();
    for keys in &all {
        alive.push(world.can_put(keys, &home(&bob)).await);
    }
    assert_eq!(alive, [vec![false; 2], vec![true; 9]].concat());
}

#[tokio::test]
async fn a_key_that_was_shown_once_and_a_derived_one_leave_each_other_alone() {
    let world = kbase_lake(&[]).await;
    let bob = world.person("bob").await;
    let derived = credentials(&world, &bob).await;
    let shown_once = world.lake_key(&bob).await;
    assert_eq!(credentials(&world, &bob).await.secret_key, derived.secret_key);
    let next = rotated(&world, &bob).await;
    for keys in [&derived, &shown_once, &next] {
        assert!(world.can_put(keys, &home(&bob)).await);
    }
    let again = world.lake_key(&bob).await;
    assert!(world.can_put(&again, &home(&bob)).await && !world.can_put(&shown_once, &home(&bob)).await);
    assert!(world.can_put(&derived, &home(&bob)).await && world.can_put(&next, &home(&bob)).await);
}

#[tokio::test]
async fn a_derived_key_ends_as_every_key_does() {
    let world = kbase_lake(&[]).await;
    let (admin, bob) = (world.admin().await, world.person("bob").await);
    let key = credentials(&world, &bob).await;
    assert_eq!(world.post(&admin, "/admin/users/bob/disable", Value::Null).await.status, 204);
    assert!(!world.can_put(&key, &home(&bob)).await);
    for (method, path) in [(Method::GET, "/credentials/"), (Method::POST, "/credentials/rotate")] {
        let refused = world.call(&bob, method, path, Value::Null).await;
        assert_eq!((refused.status, &refused.json["error"]), (403, &json!(20042)), "{path}");
    }
    assert_eq!(world.post(&admin, "/admin/users/bob/enable", Value::Null).await.status, 204);
    assert!(world.can_put(&key, &home(&bob)).await);
    assert_eq!(credentials(&world, &bob).await.secret_key, key.secret_key);
    for path in ["/admin/users/bob/sessions?lake_keys=true", "/admin/users/bob"] {
        let before = credentials(&world, &bob).await;
        assert_eq!(world.delete(&admin, path).await.status, 204);
        assert!(!world.can_put(&before, &home(&bob)).await, "{path}");
        let after = credentials(&world, &bob).await;
        assert_ne!(before.access_key, after.access_key);
        assert!(world.can_put(&after, &home(&bob)).await && !world.can_put(&before, &home(&bob)).await, "{path}");
    }
}

#[tokio::test]
async fn a_key_that_minio_lost_or_has_otherwise_is_followed_by_another() {
    let world = kbase_lake(&[]).await;
    let bob = world.person("bob").await;
    let key = credentials(&world, &bob).await;
    let removed =
        mc(&world, &mc_host(&world, &world.root()), &["admin", "accesskey", "remove", "lake", &key.access_key]);
    assert!(removed.ok, "{}", removed.text);
    let others = futures::future::join_all((0..8).map(|_| credentials(&world, &bob))).await;
    let next = &others[0];
    assert!(others.iter().all(|other| other.access_key == next.access_key));
    // Whoever took it away had a reason.
    assert!(world.can_put(next, &home(&bob)).await && !world.can_put(&key, &home(&bob)).await);
    assert_eq!(world.get(&bob, "/users/bob").await.json["lake_keys"], json!([next.access_key]));
    let with_another_key = replica(&world, &[("LAKEPASS_KEY", "another-derivation-key")]).await;
    let anew = credentials(&with_another_key, &bob).await;
    assert!(with_another_key.can_put(&anew, &home(&bob)).await);
    assert!(!world.can_put(next, &home(&bob)).await);
}

#[tokio::test]
async fn workspaces_say_what_is_the_callers_and_where() {
    let world = kbase_lake(&[]).await;
    let (alice, bob) = (world.person("alice").await, world.person("bob").await);
    world.members("kbase", &[("bob", "writer")], &[]).await;
    world.members("RefData", &[("bob", "reader")], &[]).await;
    world.members("closed", &[("alice", "steward")], &[]).await;
    let table = "users-sql-warehouse/alice/u_alice__x.db/t/";
    world.share(&alice, table, &["bob"], &[], "read").await;
    let url = |path: &str| format!("s3a://{}/{path}", world.bucket);
    let homes = [url("users-general-warehouse/bob/"), url("users-sql-warehouse/bob/")];
    let paths = [
        url("tenant-general-warehouse/kbase/"),
        url("tenant-general-warehouse/RefData/"),
        url("tenant-sql-warehouse/kbase/"),
        url("tenant-sql-warehouse/RefData/"),
        homes[0].clone(),
        url(table),
        homes[1].clone(),
    ];
    let mut paths = paths.to_vec();
    paths.sort();
    let get = async |path: &str| {
        let answer = world.get(&bob, path).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.json);
        answer.json
    };

    let key = credentials(&world, &bob).await;
    let me = get("/workspaces/me").await;
    assert_eq!(
        (&me["username"], &me["access_key"], &me["s3_access_key"]),
        (&json!("bob"), &json!(key.access_key), &json!(key.access_key))
    );
    assert_eq!((&me["home_paths"], &me["groups"]), (&json!(homes), &json!(["kbase", "RefDataro"])));
    assert_eq!(me["accessible_paths"], json!(paths));
    assert!(!me.to_string().contains(&key.secret_key));
    let groups = json!({"username": "bob", "groups": ["kbase", "RefDataro"], "group_count": 2});
    assert_eq!(get("/workspaces/me/groups").await, groups);
    let prefix = json!({"username": "bob", "sql_warehouse_prefix": homes[1]});
    assert_eq!(get("/workspaces/me/sql-warehouse-prefix").await, prefix);
    let prefix = json!({"group_name": "RefData", "sql_warehouse_prefix": url("tenant-sql-warehouse/RefData/")});
    for name in ["RefData", "RefDataro"] {
        assert_eq!(get(&format!("/workspaces/me/groups/{name}/sql-warehouse-prefix")).await, prefix);
    }
    let accessible = json!({"username": "bob", "accessible_paths": paths, "total_paths": 7});
    assert_eq!(get("/workspaces/me/accessible-paths").await, accessible);
    let namespace =
        json!({"username": "bob", "user_namespace_prefix": "u_bob__", "tenant": null, "tenant_namespace_prefix": null});
    assert_eq!(get("/workspaces/me/namespace-prefix").await, namespace);
    let namespace = get("/workspaces/me/namespace-prefix?tenant=RefDataro").await;
    assert_eq!(
        (&namespace["tenant"], &namespace["tenant_namespace_prefix"]),
        (&json!("RefDataro"), &json!("refdata_"))
    );
    // Whether there is such a group is nobody's business.
    for group in ["closed", "nothing"] {
        for path in [format!("groups/{group}/sql-warehouse-prefix"), format!("namespace-prefix?tenant={group}")] {
            let refused = world.get(&bob, &format!("/workspaces/me/{path}")).await;
            assert_eq!((refused.status, &refused.json["error"]), (403, &json!(20042)), "{path}");
        }
    }
}

#[tokio::test]
async fn members_of_the_read_only_group_are_readers() {
    let world = kbase_lake(&[]).await;
    let (admin, bob) = (world.admin().await, world.person("bob").await);
    world.person("steward").await;
    world.members("kbase", &[("steward", "steward")], &[]).await;
    let key = credentials(&world, &bob).await;
    let inside = "tenant-sql-warehouse/kbase/x";
    world.seed(inside).await;
    let change = async |method: Method, group: &str, user: &str| {
        let path = format!("/management/groups/{group}/members/{user}");
        let answer = world.call(&admin, method, &path, Value::Null).await;
        assert_eq!(answer.status, 200, "{group} {user}: {}", answer.json);
        assert_eq!((&answer.json["group_name"], &answer.json["performed_by"]), (&json!(group), &json!("dana")));
        assert_eq!(answer.json["member_count"], answer.json["members"].as_array().unwrap().len());
        answer.json["members"].clone()
    };
    let role = async || world.get(&admin, "/groups/kbase").await.json["members"].clone();
    let member = |name: &str, role: &str| json!({"username": name, "role": role});

    assert_eq!(change(Method::POST, "kbasero", "bob").await, json!(["bob"]));
    assert!(world.can_get(&key, inside).await && !world.can_put(&key, inside).await);
    assert_eq!(change(Method::DELETE, "kbase", "bob").await, json!(["steward"]), "he is no member of that one");
    assert!(world.can_get(&key, inside).await);
    assert_eq!(change(Method::POST, "kbase", "bob").await, json!(["bob", "steward"]));
    assert!(world.can_put(&key, inside).await);
    assert_eq!(change(Method::POST, "kbasero", "bob").await, json!([]), "nobody becomes less");
    assert!(world.can_put(&key, inside).await);
    change(Method::POST, "kbase", "steward").await;
    assert_eq!(role().await, json!([member("bob", "writer"), member("steward", "steward")]));
    change(Method::DELETE, "kbasero", "bob").await;
    assert!(world.can_put(&key, inside).await);
    assert_eq!(change(Method::DELETE, "kbase", "bob").await, json!(["steward"]));
    assert!(!world.can_get(&key, inside).await);

    let names = world.get(&bob, "/management/groups/names").await.json;
    assert_eq!(names, json!({"group_names": ["kbase", "kbasero"], "total_count": 2}));
    for (who, group, user, status, error) in [
        (&admin, "kbase", "nobody", 400, 20040),
        (&admin, "nothing", "bob", 404, 20041),
        (&bob, "kbase", "bob", 403, 20042),
        (&bob, "kbasero", "bob", 403, 20042),
        (&bob, "nothing", "bob", 403, 20042),
        (&admin, "kbase", "%FF", 400, 30010),
        (&admin, "k", "bob", 400, 30010),
    ] {
        let answer = world.post(who, &format!("/management/groups/{group}/members/{user}"), Value::Null).await;
        assert_eq!((answer.status, &answer.json["error"]), (status, &json!(error)), "{group} {user}");
    }
}

#[tokio::test]
async fn the_read_only_suffix_is_a_setting() {
    let world = kbase_lake(&[("LAKEPASS_KBASE_READ_ONLY_SUFFIX", "-ro")]).await;
    let bob = world.person("bob").await;
    world.members("euro", &[("bob", "writer")], &[]).await;
    world.members("kbase", &[("bob", "reader")], &[]).await;
    assert_eq!(world.get(&bob, "/workspaces/me/groups").await.json["groups"], json!(["euro", "kbase-ro"]));
}

#[tokio::test]
async fn sharing_is_writing_unless_it_is_said_otherwise() {
    let world = kbase_lake(&[]).await;
    let (alice, bob) = (world.person("alice").await, world.person("bob").await);
    world.members("kbase", &[("bob", "writer")], &[]).await;
    let key = credentials(&world, &bob).await;
    let path = format!("s3a://{}/users-sql-warehouse/alice/x.db/t", world.bucket);
    let inside = "users-sql-warehouse/alice/x.db/t/part";
    let call = async |who: &Person, what: &str, body: Value| world.post(who, &format!("/sharing/{what}"), body).await;
    let info = async || {
        let answer = call(&alice, "get_path_access_info", json!({"path": path})).await;
        assert_eq!((answer.status, &answer.json["path"], &answer.json["public"]), (200, &json!(path), &json!(false)));
        (answer.json["users"].clone(), answer.json["groups"].clone())
    };

    let shared = call(&alice, "share", json!({"path": path, "with_users": ["bob"], "with_groups": []})).await;
    let mut expected = json!({
        "path": path, "shared_with_users": ["bob"], "shared_with_groups": [], "success_count": 1, "errors": [],
        "shared_by": "alice", "shared_at": shared.json["shared_at"],
    });
    assert_eq!((shared.status, &shared.json), (200, &expected));
    assert!(shared.json["shared_at"].as_str().unwrap().parse::<jiff::Timestamp>().is_ok());
    assert!(world.can_put(&key, inside).await);
    assert_eq!(info().await, (json!(["alice", "bob"]), json!([])));

    let wish = json!({"path": path, "with_users": ["bob", "nobody"], "with_groups": ["kbase"], "permission": "read"});
    let shared = call(&alice, "share", wish).await;
    assert_eq!((shared.status, &shared.json["success_count"]), (207, &json!(2)));
    assert_eq!(shared.json["shared_with_groups"], json!(["kbase"]));
    let errors = shared.json["errors"].as_array().unwrap();
    assert!(errors.len() == 1 && errors[0].as_str().unwrap().starts_with("Error sharing with user nobody: "));
    assert!(world.can_get(&key, inside).await && !world.can_put(&key, inside).await);
    assert_eq!(info().await, (json!(["alice", "bob"]), json!(["kbase"])));

    let taken = call(&alice, "unshare", json!({"path": path, "from_users": ["bob"]})).await;
    let errors = taken.json["errors"].to_string();
    assert_eq!((taken.status, &taken.json["unshared_from_users"]), (207, &json!([])));
    assert!(errors.contains("Error unsharing from user bob: ") && errors.contains("membership of kbase"), "{errors}");
    let taken = call(&alice, "unshare", json!({"path": path, "from_users": ["bob"], "from_groups": ["kbase"]})).await;
    assert_eq!(taken.json["unshared_from_groups"], json!(["kbase"]));
    assert!(!world.can_get(&key, inside).await);
    assert_eq!(info().await, (json!(["alice"]), json!([])));

    let shared = call(&alice, "share", json!({"path": path})).await;
    expected["shared_with_users"] = json!([]);
    expected["success_count"] = json!(0);
    expected["shared_at"] = shared.json["shared_at"].clone();
    assert_eq!((shared.status, shared.json), (200, expected), "with nobody");
    for (what, body, status, error) in [
        ("share", json!({"path": path, "with_users": ["bob"]}), 403, 20042),
        ("unshare", json!({"path": path, "from_users": ["bob"]}), 403, 20042),
        ("get_path_access_info", json!({"path": path}), 403, 20042),
        ("share", json!({"path": path, "permission": "all"}), 400, 30010),
        ("share", json!({"path": path, "access": "read"}), 400, 30010),
        ("share", json!({"path": "s3a://other/x"}), 400, 30010),
        ("share", json!({}), 400, 30010),
    ] {
        let answer = call(&bob, what, body.clone()).await;
        assert_eq!((answer.status, &answer.json["error"]), (status, &json!(error)), "{what} {body}: {}", answer.json);
    }
}

#[tokio::test]
async fn errors_are_spelled_as_that_service_does() {
    let world = kbase_lake(&[]).await;
    let nobody = Person { name: "nobody".into(), token: "UNKNOWN".into() };
    let no_role = world.stranger("carol", &[]);
    let answer = world.get(&nobody, "/credentials/").await;
    let message = answer.json["message"].as_str().unwrap();
    assert_eq!(answer.headers["content-type"], "application/json");
    assert_eq!(answer.json, json!({"error": 10020, "error_type": "Invalid token", "message": message}));
    assert!(answer.status == 401 && !message.contains("UNKNOWN"));
    let answer = world.get(&no_role, "/workspaces/me").await;
    assert_eq!((answer.status, &answer.json["error"]), (403, &json!(10040)));
    let answer = world.http.get(format!("{}/credentials/", world.url)).send().await.unwrap();
    assert_eq!(answer.status(), 401);
    let body: Value = answer.json().await.unwrap();
    assert_eq!((&body["error"], &body["error_type"]), (&json!(10010), &json!("No authentication token")));
    // The native addresses keep their own.
    let answer = world.get(&nobody, "/me").await;
    assert_eq!(answer.json["type"], "urn:lakepass:problem:unauthenticated");
}

#[tokio::test]
async fn health_and_errors_say_that_minio_is_away() {
    let minio = shared_minio();
    let proxy = CountingProxy::to(minio.url().strip_prefix("http://").unwrap().parse().unwrap()).await;
    let world = kbase_lake(&[("LAKEPASS_MINIO_URL", &proxy.url), ("LAKEPASS_ANSWER_LIMIT", "1500")]).await;
    let bob = world.person("bob").await;
    let health = async || {
        let answer = world.http.get(format!("{}/health", world.url)).send().await.unwrap();
        (answer.status().as_u16(), answer.json::<Value>().await.unwrap())
    };
    let database = json!({"primary": true, "replica": true, "replica_enabled": false});
    assert_eq!(health().await, (200, json!({"status": "healthy", "database": database})));
    let before = proxy.requests();
    let all = futures::future::join_all((0..50).map(|_| health())).await;
    assert!(all.iter().all(|(status, _)| *status == 200));
    assert!(proxy.requests() - before <= 2, "whoever asks, however often, costs little");
    proxy.hold("users/bob.json");
    let late = world.get(&bob, "/workspaces/me").await;
    assert_eq!((late.status, &late.json["error"]), (503, &json!(20050)), "{}", late.json);
    proxy.release();
    proxy.cut();
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!(health().await.0, 503);
    assert_eq!(health().await.1["status"], "unhealthy");
    let answer = world.get(&bob, "/credentials/").await;
    assert_eq!((answer.status, &answer.json["error"]), (503, &json!(20050)));
    assert!(answer.headers.contains_key("retry-after"));
}

#[tokio::test]
async fn switched_off_it_is_not_there() {
    let (on, off) = (kbase_lake(&[]).await, kbase_lake(&[("LAKEPASS_KBASE_API", "false")]).await);
    let described = async |world: &World| {
        let api = world.get(&world.admin().await, "/openapi.json").await.json;
        let path = |path: &&String| {
            ["/credentials/", "/workspaces/", "/sharing/", "/management/", "/health"]
                .iter()
                .any(|p| path.starts_with(p))
                && *path != "/healthz"
        };
        let paths: Vec<String> = api["paths"].as_object().unwrap().keys().filter(path).cloned().collect();
        paths
    };
    let paths = described(&on).await;
    assert_eq!(paths.len(), 14, "{paths:?}");
    assert!(described(&off).await.is_empty());
    let (admin, bob) = (off.admin().await, off.person("bob").await);
    for path in paths {
        let path = path.replace("{group_name}", "kbase").replace("{username}", "bob");
        for (who, method) in [(&bob, Method::GET), (&admin, Method::POST)] {
            let answer = off.call(who, method, &path, Value::Null).await;
            assert_eq!((answer.status, &answer.json["type"]), (404, &json!("urn:lakepass:problem:no-such-resource")));
        }
    }
}
