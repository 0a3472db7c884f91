//! Users and groups come, go and come again, and nobody else notices.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    clients::{mc, mc_host},
    support::{World, eventually},
};

#[tokio::test]
async fn deleting_alice_touches_nothing_of_alice2() {
    let world = World::new().await;
    let (admin, alice2) = (world.admin().await, world.person("alice2").await);
    let alice = world.person("alice").await;
    for name in ["alice", "alice2"] {
        world.seed(&format!("users-warehouse/{name}/seed")).await;
    }
    let keys = world.session(&alice2, json!("granted")).await;
    world.session(&alice, json!("granted")).await;
    assert_eq!(world.delete(&admin, "/admin/users/alice?purge=true").await.status, 204);
    assert!(world.can_get(&keys, "users-warehouse/alice2/seed").await);
    let left =
        world.s3(&world.root()).list_objects_v2().bucket(&world.bucket).prefix("users-warehouse/alice/").send().await;
    assert_eq!(left.unwrap().key_count(), Some(0));
    assert_eq!(world.get(&admin, "/users/alice").await.status, 404);
    let names = world.get(&admin, "/admin/users").await.json["users"].to_string();
    assert!(names.contains("alice2") && !names.contains("\"alice\""));
}

#[tokio::test]
async fn somebody_deleted_and_made_again_starts_with_nothing_of_before() {
    let world = World::new().await;
    let (admin, alice, bob) = (world.admin().await, world.person("alice").await, world.person("bob").await);
    world.members("KBase", &[("alice", "writer")], &[]).await;
    world.share(&alice, "users-warehouse/alice/x", &["bob"], &["KBase"], "write").await;
    world.share(&bob, "users-warehouse/bob/x", &["alice"], &[], "write").await;
    let bobs = world.session(&bob, json!("lake")).await;
    assert!(world.can_put(&bobs, "users-warehouse/alice/x/y").await);
    for _ in 0..2 {
        assert_eq!(world.delete(&admin, "/admin/users/alice").await.status, 204);
        let alices = world.session(&alice, json!("lake")).await;
        assert!(world.can_put(&alices, "users-warehouse/alice/new").await);
        assert!(!world.can_put(&bobs, "users-warehouse/alice/x/y").await, "nobody's access to them");
        assert!(!world.can_put(&alices, "users-warehouse/bob/x/y").await, "theirs to nobody");
        assert!(!world.can_list(&alices, "groups-warehouse/KBase/").await);
    }
    let group = world.get(&admin, "/groups/KBase").await;
    assert_eq!((&group.json["members"], &group.json["shared"]), (&json!([]), &json!([])));
    assert_eq!(world.delete(&admin, "/admin/users/nobody").await.status, 404);
}

#[tokio::test]
async fn a_group_deleted_and_made_again_starts_with_nothing_of_before() {
    let world = World::new().await;
    let (admin, alice, bob) = (world.admin().await, world.person("alice").await, world.person("bob").await);
    world.members("KBase", &[("alice", "steward")], &[]).await;
    let body = json!({"path": "groups-warehouse/KBase/x", "with_users": ["bob"]});
    assert_eq!(world.post(&alice, "/users/alice/share", body).await.status, 200);
    world.share(&alice, "users-warehouse/alice/x", &[], &["KBase"], "write").await;
    let (alices, bobs) = (world.session(&alice, json!("lake")).await, world.session(&bob, json!("lake")).await);
    assert!(
        world.can_put(&alices, "groups-warehouse/KBase/y").await
            && world.can_list(&bobs, "groups-warehouse/KBase/x/").await
    );
    assert_eq!(world.delete(&admin, "/admin/groups/KBase").await.status, 204);
    assert!(!world.can_put(&alices, "groups-warehouse/KBase/y").await);
    assert!(!world.can_list(&bobs, "groups-warehouse/KBase/x/").await);
    assert_eq!(world.get(&admin, "/groups/KBase").await.status, 404);
    world.members("KBase", &[("bob", "reader")], &[]).await;
    assert!(!world.can_put(&alices, "groups-warehouse/KBase/y").await);
    assert!(
        world.can_list(&bobs, "groups-warehouse/KBase/").await
            && !world.can_list(&bobs, "users-warehouse/alice/x/").await
    );
    assert_eq!(world.get(&admin, "/admin/groups").await.json["groups"], json!(["kbase"]));
}

#[tokio::test]
async fn somebody_removed_behind_our_back_is_made_again_with_all_grants() {
    let world = World::new().await;
    let (alice, bob) = (world.person("alice").await, world.person("bob").await);
    world.members("KBase", &[("bob", "writer")], &[]).await;
    world.share(&alice, "users-warehouse/alice/x", &["bob"], &[], "write").await;
    let old = world.session(&bob, json!("granted")).await;
    let host = mc_host(&world, &world.root());
    let group = mc(&world, &host, &["admin", "group", "list", "lake", "--json"]).text;
    assert!(group.contains("lakepass-KBase-"), "{group}");
    // Other tests have a bob as well: ours is the parent of the session.
    let parent = mc(&world, &host, &["admin", "accesskey", "info", "lake", &old.access_key, "--json"]).text;
    let parent: Value = serde_json::from_str(&parent).unwrap();
    let parent = parent["parentUser"].as_str().unwrap();
    assert!(mc(&world, &host, &["admin", "user", "remove", "lake", parent]).ok);
    assert!(!world.can_put(&old, "users-warehouse/bob/x").await);
    let new = world.session(&bob, json!("granted")).await;
    for key in ["users-warehouse/bob/x", "users-warehouse/alice/x/y", "groups-warehouse/KBase/x"] {
        assert!(world.can_put(&new, key).await, "{key}");
        assert!(!world.can_put(&old, key).await, "old keys stay dead: {key}");
    }
}

#[tokio::test]
async fn a_secret_changed_behind_our_back_is_set_again() {
    let world = World::new().await;
    let bob = world.person("bob").await;
    let old = world.session(&bob, json!("granted")).await;
    let host = mc_host(&world, &world.root());
    let parent = mc(&world, &host, &["admin", "accesskey", "info", "lake", &old.access_key, "--json"]).text;
    let parent: Value = serde_json::from_str(&parent).unwrap();
    let parent = parent["parentUser"].as_str().unwrap();
    assert!(mc(&world, &host, &["admin", "user", "add", "lake", parent, "not-the-derived-one"]).ok);
    assert!(world.can_put(&world.session(&bob, json!("granted")).await, "users-warehouse/bob/x").await);
}

#[tokio::test]
async fn repeating_any_call_is_harmless() {
    let world = World::new().await;
    let (admin, alice, bob) = (world.admin().await, world.person("alice").await, world.person("bob").await);
    let keys = world.session(&bob, json!("lake")).await;
    for _ in 0..2 {
        world.members("KBase", &[("bob", "reader")], &[]).await;
        world.share(&alice, "users-warehouse/alice/x", &["bob"], &["KBase"], "read").await;
        assert!(world.can_list(&keys, "users-warehouse/alice/x/").await);
    }
    for _ in 0..2 {
        world.members("KBase", &[], &["bob"]).await;
        assert_eq!(world.unshare(&alice, "users-warehouse/alice/x", &["bob"], &["KBase"]).await.status, 200);
        assert!(!world.can_list(&keys, "users-warehouse/alice/x/").await);
    }
    for call in ["disable", "disable", "enable", "enable"] {
        assert_eq!(world.post(&admin, &format!("/admin/users/bob/{call}"), Value::Null).await.status, 204);
    }
    for _ in 0..2 {
        assert_eq!(world.delete(&bob, "/sessions").await.status, 204);
    }
    assert!(world.can_put(&world.session(&bob, json!("lake")).await, "users-warehouse/bob/x").await);
    let paths = json!({"add_paths": [{"path": "groups-warehouse/KBase/"}], "add_members": [{"username": "bob", "role": "writer"}]});
    for _ in 0..2 {
        assert_eq!(world.post(&admin, "/groups/KBase", paths.clone()).await.status, 200);
        world.lake_key(&bob).await;
    }
    for path in ["/admin/users/bob?purge=true", "/admin/groups/KBase?purge=true"] {
        let statuses = [world.delete(&admin, path).await.status, world.delete(&admin, path).await.status];
        assert_eq!(statuses, [204, 404], "{path}: what is gone is not found, and nothing else");
    }
    let nobody = world.stranger("erin", &["BERDL_USER"]);
    assert_eq!(world.get(&nobody, "/sessions").await.json["sessions"], json!([]));
    assert_eq!(world.delete(&nobody, "/sessions").await.status, 204);
}

#[tokio::test]
async fn the_layout_is_a_setting() {
    let settings = [
        ("LAKEPASS_HOME_TEMPLATES", "users-general-warehouse/{user}/, users-sql-warehouse/{user}/"),
        ("LAKEPASS_WORKSPACE_TEMPLATES", "tenant-general-warehouse/{group}/,tenant-sql-warehouse/{group}/"),
        ("LAKEPASS_DEFAULT_SCOPE", "lake"),
    ];
    let world = World::on(crate::support::shared_minio(), &settings).await;
    let bob = world.person("bob").await;
    world.members("KBase", &[("bob", "writer")], &[]).await;
    let keys = world.session(&bob, Value::Null).await;
    for folder in ["users-general-warehouse/bob", "users-sql-warehouse/bob", "tenant-sql-warehouse/KBase"] {
        assert!(world.can_put(&keys, &format!("{folder}/x")).await, "{folder}");
        assert!(world.can_get(&keys, &format!("{folder}/")).await, "{folder} was made");
    }
    assert!(!world.can_put(&keys, "users-warehouse/bob/x").await);
}

#[tokio::test]
async fn what_changes_while_somebody_is_disabled_counts_when_they_are_enabled() {
    let world = World::new().await;
    let (admin, alice, bob) = (world.admin().await, world.person("alice").await, world.person("bob").await);
    world.members("KBase", &[("bob", "writer")], &[]).await;
    world.share(&alice, "users-warehouse/alice/lost", &["bob"], &[], "write").await;
    let keys = [world.session(&bob, json!("lake")).await, world.lake_key(&bob).await];
    assert_eq!(world.post(&admin, "/admin/users/bob/disable", Value::Null).await.status, 204);
    assert_eq!(world.unshare(&alice, "users-warehouse/alice/lost", &["bob"], &[]).await.status, 200);
    world.share(&alice, "users-warehouse/alice/new", &["bob"], &[], "write").await;
    world.members("KBase", &[], &["bob"]).await;
    for keys in &keys {
        assert!(!world.can_put(keys, "users-warehouse/alice/new/x").await);
    }
    assert_eq!(world.post(&admin, "/admin/users/bob/enable", Value::Null).await.status, 204);
    for keys in &keys {
        assert!(
            world.can_put(keys, "users-warehouse/alice/new/x").await
                && world.can_put(keys, "users-warehouse/bob/x").await
        );
        assert!(!world.can_put(keys, "users-warehouse/alice/lost/x").await);
        assert!(!world.can_put(keys, "groups-warehouse/KBase/x").await);
    }
    // Revoked while disabled: dead for good.
    assert_eq!(world.post(&admin, "/admin/users/bob/disable", Value::Null).await.status, 204);
    assert_eq!(world.delete(&admin, "/admin/users/bob/sessions?lake_keys=true").await.status, 204);
    assert_eq!(world.post(&bob, "/sessions", Value::Null).await.status, 403);
    assert_eq!(world.post(&admin, "/admin/users/bob/enable", Value::Null).await.status, 204);
    for keys in &keys {
        assert!(!world.can_put(keys, "users-warehouse/bob/x").await);
    }
    assert!(world.can_put(&world.session(&bob, json!("granted")).await, "users-warehouse/alice/new/x").await);
}

/// MinIO heeds a share's end by itself, unless a request tells it another time; so what has ended is taken off as well.
#[tokio::test]
async fn a_share_that_has_ended_is_taken_off() {
    let world = World::new().await;
    let (alice, bob) = (world.person("alice").await, world.person("bob").await);
    world.members("KBase", &[("bob", "writer")], &[]).await;
    let end = jiff::Timestamp::now() + Duration::from_secs(10);
    let body =
        json!({"path": "users-warehouse/alice/x", "with_users": ["bob"], "with_groups": ["KBase"], "expires_at": end});
    assert_eq!(world.post(&alice, "/users/alice/share", body).await.status, 200);
    let grants = async || {
        let (user, group) = (world.get(&bob, "/users/bob").await.json, world.get(&bob, "/groups/KBase").await.json);
        (user["grants_received"].as_array().unwrap().len(), group["shared"].as_array().unwrap().len())
    };
    world.broker.remove_ended_grants().await.unwrap();
    assert_eq!(grants().await, (1, 1), "not before its end");
    eventually("its end", Duration::from_secs(30), async || jiff::Timestamp::now() > end).await;
    assert!(!world.can_list(&world.session(&bob, json!("lake")).await, "users-warehouse/alice/x/").await);
    world.broker.remove_ended_grants().await.unwrap();
    assert_eq!(grants().await, (0, 0));
    let shown = world.get(&bob, "/users/bob").await.json;
    assert!(!shown["policies"].to_string().contains("users-warehouse/alice/x"), "{shown}");
}

/// A caller who hangs up in the middle of a change leaves it whole, not half.
#[tokio::test]
async fn a_change_goes_on_without_its_caller() {
    let world = World::new().await;
    let (alice, bob) = (world.person("alice").await, world.person("bob").await);
    let keys = world.session(&bob, json!("lake")).await;
    for n in 0..20_u64 {
        let path = format!("users-warehouse/alice/{n}/");
        let body = json!({"path": path, "with_users": ["bob"]});
        let share = world.post(&alice, "/users/alice/share", body);
        let hung_up = tokio::time::timeout(Duration::from_millis(n), share).await.is_err();
        let given = async || world.get(&bob, "/users/bob").await.json["grants_received"].to_string().contains(&path);
        if !hung_up || given().await {
            let what = format!("{path} is open");
            eventually(&what, Duration::from_secs(2), async || world.can_list(&keys, &path).await).await;
        }
    }
}

#[tokio::test]
async fn what_is_not_ours_at_minio_is_never_touched() {
    let world = World::new().await;
    let (admin, alice, bob) = (world.admin().await, world.person("alice").await, world.person("bob").await);
    let host = mc_host(&world, &world.root());
    let said = |arguments: &[&str]| {
        let said = mc(&world, &host, arguments);
        assert!(said.ok, "{arguments:?}: {}", said.text);
        said.text
    };
    // As named as could be: the person's own name, and a group's.
    let foreign = format!("alice-{}", world.bucket);
    said(&["admin", "user", "add", "lake", &foreign, "foreign-secret"]);
    said(&["admin", "policy", "attach", "lake", "readonly", "--user", &foreign]);
    said(&["admin", "group", "add", "lake", &format!("KBase-{}", world.bucket), &foreign]);
    let state = || {
        let user = said(&["admin", "user", "info", "lake", &foreign, "--json"]);
        (user, said(&["admin", "group", "info", "lake", &format!("KBase-{}", world.bucket), "--json"]))
    };
    let before = state();
    world.members("KBase", &[("alice", "writer"), ("bob", "reader")], &[]).await;
    world.share(&alice, "users-warehouse/alice/x", &["bob"], &["KBase"], "write").await;
    world.lake_key(&alice).await;
    for call in ["/admin/users/alice/disable", "/admin/users/alice/enable"] {
        assert_eq!(world.post(&admin, call, Value::Null).await.status, 204);
    }
    assert_eq!(world.delete(&bob, "/sessions").await.status, 204);
    for path in ["/admin/users/alice?purge=true", "/admin/groups/KBase?purge=true"] {
        assert_eq!(world.delete(&admin, path).await.status, 204);
    }
    assert_eq!(state(), before);
}
