//! The keys that are handed out can do what they should, and cannot make further keys.

use serde_json::{Value, json};

use crate::{
    clients::{mc, mc_host},
    support::{Keys, World},
};

#[tokio::test]
async fn no_key_can_make_further_keys() {
    let world = World::new().await;
    let bob = world.person("bob").await;
    let root = mc(&world, &mc_host(&world, &world.root()), &["admin", "user", "list", "lake"]);
    assert!(root.ok, "mc works at all: {}", root.text);
    for keys in [
        world.session(&bob, json!("granted")).await,
        world.session(&bob, json!("lake")).await,
        world.lake_key(&bob).await,
    ] {
        let host = mc_host(&world, &keys);
        for command in [
            &["admin", "accesskey", "create", "lake"][..],
            &["admin", "user", "add", "lake", "intruder", "intruder-secret"],
            &["admin", "user", "list", "lake"],
            &["admin", "policy", "list", "lake"],
        ] {
            let answer = mc(&world, &host, command);
            assert!(answer.is_refusal(), "{command:?}: {}", answer.text);
        }
        // Of a session's keys it says that they are no service account's.
        let edit = ["admin", "accesskey", "edit", "lake", &keys.access_key, "--secret-key", "another-secret"];
        let answer = mc(&world, &host, &edit);
        assert!(answer.is_refusal() || !answer.ok && answer.text.contains("does not exist"), "{}", answer.text);
    }
}

#[tokio::test]
async fn a_lake_key_is_rotated_and_the_old_one_dies() {
    let world = World::new().await;
    let bob = world.person("bob").await;
    let home = "users-warehouse/bob/x";
    let old = world.lake_key(&bob).await;
    assert!(world.can_put(&old, home).await);
    let new = world.lake_key(&bob).await;
    assert!(world.can_put(&new, home).await && !world.can_put(&old, home).await);
    let shown = world.get(&bob, "/users/bob").await.json;
    assert_eq!(shown["lake_keys"], json!([new.access_key]));
    assert!(!shown.to_string().contains(&new.secret_key));
}

#[tokio::test]
async fn every_legal_username_works() {
    let world = World::new().await;
    let long = format!("a{}", "9".repeat(99));
    for name in ["a", "x_", "a__b", "admin", "minioadmin", "lakeroot", "lakepass", &long] {
        let person = world.stranger(name, &["BERDL_USER"]);
        let home = format!("users-warehouse/{name}/x");
        for keys in [world.session(&person, json!("granted")).await, world.lake_key(&person).await] {
            assert!(world.can_put(&keys, &home).await, "{name}");
            assert!(!world.can_list(&keys, "users-warehouse/").await, "{name}");
        }
    }
}

#[tokio::test]
async fn a_session_is_never_more_than_was_asked_or_than_there_is() {
    let world = World::new().await;
    let (alice, bob) = (world.person("alice").await, world.person("bob").await);
    world.share(&alice, "users-warehouse/alice/x", &["bob"], &[], "read").await;
    let refused = async |scope: Value| world.post(&bob, "/sessions", json!({"scope": scope})).await;
    for (path, access) in [
        ("users-warehouse/alice/x", "write"),
        ("users-warehouse/alice/", "read"),
        ("users-warehouse/alice/xy", "read"),
        ("users-warehouse/", "read"),
    ] {
        let answer = refused(json!([{"path": path, "access": access}])).await;
        assert_eq!((answer.status, &answer.json["type"]), (403, &json!("urn:lakepass:problem:scope-exceeds-grants")));
    }
    for scope in [json!([]), json!("all"), json!([{"path": "users-warehouse/bob/*"}])] {
        assert_eq!(refused(scope).await.status, 422);
    }
    let many: Vec<Value> =
        (0..50).map(|i| json!({"path": format!("users-warehouse/bob/folder-{i}"), "access": "read"})).collect();
    let answer = refused(json!(many)).await;
    assert!(answer.status == 422 && answer.json["detail"].as_str().unwrap().contains("2048"), "{}", answer.json);
    let part = world.session(&bob, json!([{"path": "users-warehouse/bob/p", "access": "read"}])).await;
    assert!(world.can_list(&part, "users-warehouse/bob/p/").await);
    assert!(
        !world.can_put(&part, "users-warehouse/bob/p/x").await && !world.can_list(&part, "users-warehouse/bob/").await
    );
}

#[tokio::test]
async fn no_key_reaches_another_bucket() {
    let world = World::new().await;
    let bob = world.person("bob").await;
    for keys in [world.session(&bob, json!("lake")).await, world.lake_key(&bob).await] {
        let s3 = world.s3(&keys);
        assert!(s3.list_objects_v2().bucket(&world.ledger_bucket).send().await.is_err());
        assert!(s3.get_object().bucket(&world.ledger_bucket).key("users/bob.json").send().await.is_err());
        let buckets = s3.list_buckets().send().await.unwrap();
        let names: Vec<&str> = buckets.buckets().iter().filter_map(|bucket| bucket.name()).collect();
        assert!(names.iter().all(|name| *name == world.bucket), "{names:?}");
    }
}

#[tokio::test]
async fn a_session_lives_as_long_as_asked_and_no_longer_than_the_token() {
    let world = World::new().await;
    let bob = world.person("bob").await;
    for (seconds, status) in [(899, 422), (0, 422), (900, 200), (43_200, 200), (43_201, 422)] {
        let answer = world.post(&bob, "/sessions", json!({"duration_seconds": seconds})).await;
        assert_eq!(answer.status, status, "{seconds}");
        if status == 200 {
            let end: jiff::Timestamp = answer.json["expiration"].as_str().unwrap().parse().unwrap();
            let left = end.duration_since(jiff::Timestamp::now()).as_secs();
            assert!((seconds - 20..=seconds + 1).contains(&left), "{left}");
            assert_eq!(answer.headers["cache-control"], "no-store");
            let spark = &answer.json["spark"];
            assert_eq!(spark["spark.hadoop.fs.s3a.session.token"], answer.json["session_token"]);
            assert_eq!(spark["spark.sql.warehouse.dir"], format!("s3a://{}/users-warehouse/bob/", world.bucket));
        }
    }
}

/// The limit is MinIO's: a policy of 2048 bytes by our count is issued, whatever is in it.
#[tokio::test]
async fn the_session_policy_is_counted_as_minio_counts_it() {
    let world = World::new().await;
    let bob = world.person("bob").await;
    let mut sizes = Vec::new();
    for (filler, shortest) in [("x", 55), ("é", 28), ("&", 9), ("<", 9)] {
        for length in shortest.. {
            let scope: Vec<Value> =
                (0..5).map(|i| json!({"path": format!("users-warehouse/bob/{i}{}", filler.repeat(length))})).collect();
            let answer = world.post(&bob, "/sessions", json!({"scope": scope})).await;
            match answer.status {
                200 => {
                    let keys = Keys::of_session(&answer.json);
                    sizes.push(answer.json["session_policy"]["bytes"].as_u64().unwrap());
                    assert!(world.can_list(&keys, &format!("users-warehouse/bob/0{}/", filler.repeat(length))).await);
                }
                422 => break,
                other => panic!("{other}: {}", answer.json),
            }
        }
    }
    assert!(sizes.iter().any(|bytes| (2020..=2048).contains(bytes)), "{sizes:?} comes near the limit");
}

/// S3A asks for a folder as if it were an object, and goes on to list it only if there is none.
#[tokio::test]
async fn a_folder_that_is_no_object_is_not_found_rather_than_refused() {
    let world = World::new().await;
    let (alice, bob) = (world.person("alice").await, world.person("bob").await);
    world.members("KBase", &[("bob", "reader")], &[]).await;
    world.share(&alice, "users-warehouse/alice/x", &["bob"], &[], "read").await;
    world.share(&alice, "users-warehouse/alice/w", &["bob"], &[], "write").await;
    for keys in [
        world.session(&bob, json!("granted")).await,
        world.session(&bob, json!("lake")).await,
        world.lake_key(&bob).await,
    ] {
        let head = async |key: &str| {
            let answer = world.s3(&keys).head_object().bucket(&world.bucket).key(key).send().await;
            answer.unwrap_err().raw_response().unwrap().status().as_u16()
        };
        for folder in
            ["users-warehouse/bob", "users-warehouse/alice/x", "users-warehouse/alice/w", "groups-warehouse/KBase"]
        {
            assert_eq!(head(folder).await, 404, "{folder}");
        }
        assert_eq!(head("users-warehouse/alice/xy").await, 403);
    }
}

/// MinIO takes a condition's values from the query too: `prefix` twice, one of them allowed, must not be enough.
#[tokio::test]
async fn a_prefix_given_twice_lists_nothing_else() {
    let world = World::new().await;
    world.seed("users-warehouse/alice/seed").await;
    let bob = world.person("bob").await;
    for keys in [world.session(&bob, json!("lake")).await, world.lake_key(&bob).await] {
        for (first, second) in [
            ("users-warehouse/bob/", "users-warehouse/alice/"),
            ("users-warehouse/alice/", "users-warehouse/bob/"),
            ("", "users-warehouse/bob/"),
        ] {
            let status = world.signed_get(&keys, &[("list-type", "2"), ("prefix", first), ("prefix", second)]).await;
            assert_eq!(status, 403, "{first} {second}");
        }
        assert_eq!(world.signed_get(&keys, &[("list-type", "2"), ("prefix", "users-warehouse/bob/")]).await, 200);
        assert_eq!(world.signed_get(&keys, &[("list-type", "2")]).await, 403, "no prefix");
    }
}
