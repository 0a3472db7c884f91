//! Sharing opens what it says, and taking back closes it or says what is still open.

use std::time::{Duration, Instant};

use futures::future::join_all;
use serde_json::json;

use crate::support::World;

#[tokio::test]
async fn what_only_looks_like_a_path_opens_nothing() {
    let world = World::new().await;
    let (alice, bob) = (world.person("alice").await, world.person("bob").await);
    world.person("alice2").await;
    for key in ["alice/x/seed", "alice/xy/seed", "alice2/x/seed", "alice/file"] {
        world.seed(&format!("users-warehouse/{key}")).await;
    }
    let keys = world.session(&bob, json!("lake")).await;
    let share = async |path: &str| {
        world
            .post(&alice, "/users/alice/share", json!({"path": path, "with_users": ["bob"], "access": "write"}))
            .await
            .status
    };
    for path in [
        "users-warehouse/alice/x*",
        "users-warehouse/alice/",
        "users-warehouse/alice/../alice2/",
        "users-warehouse/alice*",
        "users-warehouse/alice/%2e%2e/alice2/",
        "users-warehouse/${aws:username}/",
        "users-warehouse//alice/",
        "",
        "s3a://other/users-warehouse/alice/x",
        "https://x/users-warehouse/alice/x",
        "users-warehouse/alice/x\n",
    ] {
        if path != "users-warehouse/alice/" {
            assert_eq!(share(path).await, 422, "{path:?}");
        }
    }
    assert_eq!(share("users-warehouse/alice/file").await, 422, "an object is no folder");
    for path in
        ["users-warehouse/alice2/x", "users-warehouse/", "users-warehouse", "groups-warehouse/KBase", "elsewhere"]
    {
        assert_eq!(share(path).await, 403, "{path:?}");
    }
    for key in ["alice/x/seed", "alice2/x/seed"] {
        assert!(!world.can_get(&keys, &format!("users-warehouse/{key}")).await);
    }
    assert_eq!(share("users-warehouse/alice/x").await, 200);
    assert!(world.can_get(&keys, "users-warehouse/alice/x/seed").await);
    assert!(!world.can_get(&keys, "users-warehouse/alice/xy/seed").await);
    assert!(!world.can_list(&keys, "users-warehouse/alice/x").await && !world.can_list(&keys, "").await);
}

#[tokio::test]
async fn taking_back_never_claims_what_is_not_so() {
    let world = World::new().await;
    let (alice, bob) = (world.person("alice").await, world.person("bob").await);
    world.members("KBase", &[("bob", "reader")], &[]).await;
    for key in ["x/seed", "x/y/seed"] {
        world.seed(&format!("users-warehouse/alice/{key}")).await;
    }
    let keys = world.session(&bob, json!("lake")).await;
    let still_open = async |path: &str| {
        let answer = world.unshare(&alice, path, &["bob"], &[]).await;
        let result = &answer.json["results"][0];
        assert_eq!(answer.status == 200, result["ok"] == json!(true));
        result["error"].as_str().unwrap_or_default().to_owned()
    };
    let (x, y) = ("users-warehouse/alice/x/", "users-warehouse/alice/x/y/");
    world.share(&alice, x, &["bob"], &[], "write").await;
    assert!(
        still_open(y).await.contains("`users-warehouse/alice/x/` (write), given by alice"),
        "a child of what was shared"
    );
    assert!(world.can_get(&keys, "users-warehouse/alice/x/y/seed").await);
    world.share(&alice, y, &["bob"], &[], "read").await;
    assert!(still_open(x).await.contains("`users-warehouse/alice/x/y/` (read)"), "a parent of what is shared");
    assert!(!world.can_get(&keys, "users-warehouse/alice/x/seed").await);
    assert!(world.can_get(&keys, "users-warehouse/alice/x/y/seed").await);
    world.share(&alice, x, &[], &["KBase"], "read").await;
    assert!(still_open(y).await.contains("membership of KBase"));
    assert_eq!(world.unshare(&alice, x, &[], &["KBase"]).await.status, 200);
    assert_eq!(still_open(y).await, "");
    assert!(!world.can_get(&keys, "users-warehouse/alice/x/y/seed").await);
    assert_eq!(still_open(y).await, "", "taking back twice is harmless");
}

#[tokio::test]
async fn ones_own_home_cannot_be_lost() {
    let world = World::new().await;
    let alice = world.person("alice").await;
    world.seed("users-warehouse/alice/seed").await;
    let keys = world.session(&alice, json!("granted")).await;
    for access in ["read", "write"] {
        world.share(&alice, "users-warehouse/alice/", &["alice"], &[], access).await;
        assert!(world.can_put(&keys, "users-warehouse/alice/new").await);
        let answer = world.unshare(&alice, "users-warehouse/alice/", &["alice"], &[]).await;
        assert_eq!(answer.status, 207);
        assert!(answer.json["results"][0]["error"].as_str().unwrap().contains("theirs"));
        assert!(world.can_put(&keys, "users-warehouse/alice/new").await);
    }
    assert!(world.can_put(&world.session(&alice, json!("granted")).await, "users-warehouse/alice/new").await);
}

#[tokio::test]
async fn twenty_shares_at_once_all_succeed() {
    let world = World::new().await;
    let (alice, bob) = (world.person("alice").await, world.person("bob").await);
    world.members("KBase", &[("bob", "reader")], &[]).await;
    let keys = world.session(&bob, json!("lake")).await;
    for (users, groups, top) in [(&["bob"][..], &[][..], "u"), (&[], &["KBase"], "g")] {
        let paths: Vec<String> = (0..20).map(|i| format!("users-warehouse/alice/{top}{i}/")).collect();
        join_all(paths.iter().map(|path| world.share(&alice, path, users, groups, "read"))).await;
        for path in &paths {
            assert!(world.can_list(&keys, path).await, "{path}");
        }
    }
}

#[tokio::test]
async fn three_hundred_grants_fit() {
    let world = World::new().await;
    let (alice, bob) = (world.person("alice").await, world.person("bob").await);
    world.members("KBase", &[("bob", "writer")], &[]).await;
    let path = |kind: &str, i: usize| format!("users-warehouse/alice/{kind}/{i:03}-{}/", "long-name-".repeat(5));
    for i in 0..300 {
        world.share(&alice, &path("user", i), &["bob"], &[], "read").await;
        world.share(&alice, &path("group", i), &[], &["KBase"], "write").await;
    }
    let live = world.session(&bob, json!("lake")).await;
    let answer = world.post(&bob, "/sessions", json!({})).await;
    assert_eq!(answer.json["session_policy"]["exact"], json!(false));
    let granted = crate::support::Keys::of_session(&answer.json);
    for keys in [live, granted] {
        for i in (0..300).step_by(37).chain([299]) {
            assert!(world.can_list(&keys, &path("user", i)).await, "{i}");
            assert!(world.can_put(&keys, &format!("{}x", path("group", i))).await, "{i}");
            assert!(!world.can_put(&keys, &format!("{}x", path("user", i))).await, "{i}");
        }
        assert!(!world.can_list(&keys, "users-warehouse/alice/user/").await, "widening gives nothing");
    }
}

#[tokio::test]
async fn five_hundred_unknown_names_are_each_named_soon() {
    let world = World::new().await;
    let (alice, bob) = (world.person("alice").await, world.person("bob").await);
    let mut names: Vec<String> = (0..500).map(|i| format!("nobody{i}")).collect();
    names.push("bob".into());
    names.push("Not A Name".into());
    let started = Instant::now();
    let body = json!({"path": "users-warehouse/alice/x", "with_users": names, "with_groups": ["None"]});
    let answer = world.post(&alice, "/users/alice/share", body).await;
    assert!(started.elapsed() < Duration::from_secs(10));
    assert_eq!(answer.status, 207);
    let results = answer.json["results"].as_array().unwrap();
    assert_eq!(results.len(), 503);
    for (name, result) in names.iter().zip(results) {
        assert_eq!(result["grantee"], json!(name));
        assert_eq!(result["ok"], json!(name == "bob"));
    }
    assert!(world.can_list(&world.session(&bob, json!("granted")).await, "users-warehouse/alice/x/").await);
}

#[tokio::test]
async fn who_can_reach_a_folder_and_why() {
    let world = World::new().await;
    let (alice, bob) = (world.person("alice").await, world.person("bob").await);
    for name in ["carol", "erin"] {
        world.person(name).await;
    }
    world.members("KBase", &[("carol", "reader")], &[]).await;
    world.share(&alice, "users-warehouse/alice/x/", &["bob"], &[], "write").await;
    world.share(&alice, "users-warehouse/alice/", &[], &["KBase"], "write").await;
    let admin = world.admin().await;
    let everything = json!({"path": "users-warehouse/", "with_users": ["erin"], "access": "read"});
    assert_eq!(world.post(&admin, "/users/dana/share", everything).await.status, 200);
    let answer = world.get(&alice, "/access?path=users-warehouse/alice/x").await;
    let users = answer.json["users"].as_array().unwrap();
    let mut seen: Vec<(&str, &str)> =
        users.iter().map(|line| (line["name"].as_str().unwrap(), line["access"].as_str().unwrap())).collect();
    seen.sort_unstable();
    assert_eq!(seen, [("alice", "write"), ("bob", "write"), ("carol", "read"), ("erin", "read")]);
    assert_eq!(world.get(&bob, "/access?path=users-warehouse/alice/x").await.status, 403);
    let given = world.get(&alice, "/users/alice").await;
    assert_eq!(given.json["grants_given"].as_array().unwrap().len(), 2);
    assert_eq!(world.get(&bob, "/users/alice").await.status, 403);
}

#[tokio::test]
async fn stewards_share_the_workspace_and_change_the_group_and_others_do_not() {
    let world = World::new().await;
    let (alice, bob, carol) = (world.person("alice").await, world.person("bob").await, world.person("carol").await);
    world.members("KBase", &[("alice", "steward"), ("bob", "writer")], &[]).await;
    let body = json!({"path": "groups-warehouse/KBase/x/", "with_users": ["carol"], "access": "read"});
    assert_eq!(world.post(&bob, "/users/bob/share", body.clone()).await.status, 403);
    assert_eq!(world.post(&alice, "/users/alice/share", body).await.status, 200);
    let keys = world.session(&carol, json!("granted")).await;
    assert!(
        world.can_list(&keys, "groups-warehouse/KBase/x/").await
            && !world.can_list(&keys, "groups-warehouse/KBase/").await
    );
    let add = json!({"add_members": [{"username": "carol", "role": "writer"}]});
    assert_eq!(world.post(&bob, "/groups/KBase", add.clone()).await.status, 403);
    assert_eq!(world.post(&carol, "/groups/KBase", add.clone()).await.status, 404, "its existence does not show");
    assert_eq!(world.get(&carol, "/groups/KBase").await.status, 404);
    assert_eq!(world.post(&alice, "/groups/KBase", add).await.status, 200);
    assert!(world.can_put(&world.session(&carol, json!("granted")).await, "groups-warehouse/KBase/y").await);
    let admin = world.admin().await;
    assert_eq!(world.post(&admin, "/groups/kbase", json!({})).await.status, 409, "differs in case only");
    assert_eq!(world.post(&alice, "/groups/Another", json!({})).await.status, 404);
    let paths = json!({"add_paths": [{"path": "users-warehouse/alice/p", "access": "read"}]});
    let answer = world.post(&alice, "/groups/KBase", paths).await;
    assert_eq!(answer.json["shared"][0]["given_by"], json!("alice"));
    let unknown = json!({"add_members": [{"username": "nobody", "role": "writer"}], "remove_members": ["bob"]});
    assert_eq!(world.post(&alice, "/groups/KBase", unknown).await.status, 404);
    let members = world.get(&alice, "/groups/KBase").await.json["members"].as_array().unwrap().len();
    assert_eq!(members, 3, "all or nothing");
}
