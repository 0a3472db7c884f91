//! Gains and losses act on keys that are out already, at the very next request.

use serde_json::{Value, json};

use crate::support::World;

const ALICE_X: &str = "users-warehouse/alice/x/seed";

#[tokio::test]
async fn a_share_and_its_end_act_on_keys_that_are_out() {
    let world = World::new().await;
    let (alice, bob) = (world.person("alice").await, world.person("bob").await);
    world.seed(ALICE_X).await;
    let keys = [world.session(&bob, json!("lake")).await, world.lake_key(&bob).await];
    for keys in &keys {
        assert!(!world.can_get(keys, ALICE_X).await);
        world.share(&alice, "users-warehouse/alice/x", &["bob"], &[], "read").await;
        assert!(world.can_get(keys, ALICE_X).await);
        assert!(!world.can_put(keys, "users-warehouse/alice/x/new").await);
        world.share(&alice, "users-warehouse/alice/x", &["bob"], &[], "write").await;
        assert!(world.can_put(keys, "users-warehouse/alice/x/new").await);
        assert_eq!(world.unshare(&alice, "users-warehouse/alice/x", &["bob"], &[]).await.status, 200);
        assert!(!world.can_get(keys, ALICE_X).await);
    }
}

#[tokio::test]
async fn membership_acts_on_keys_that_are_out() {
    let world = World::new().await;
    let (alice, bob) = (world.person("alice").await, world.person("bob").await);
    world.seed(ALICE_X).await;
    world.members("KBase", &[("alice", "steward")], &[]).await;
    world.share(&alice, "users-warehouse/alice/x", &[], &["KBase"], "write").await;
    let workspace = "groups-warehouse/KBase/new";
    for keys in [world.session(&bob, json!("lake")).await, world.lake_key(&bob).await] {
        assert!(!world.can_get(&keys, ALICE_X).await);
        world.members("KBase", &[("bob", "reader")], &[]).await;
        assert!(world.can_get(&keys, ALICE_X).await && world.can_list(&keys, "groups-warehouse/KBase/").await);
        assert!(!world.can_put(&keys, workspace).await && !world.can_put(&keys, ALICE_X).await);
        world.members("KBase", &[("bob", "writer")], &[]).await;
        assert!(world.can_put(&keys, workspace).await && world.can_put(&keys, ALICE_X).await);
        world.members("KBase", &[], &["bob"]).await;
        assert!(!world.can_get(&keys, ALICE_X).await && !world.can_put(&keys, workspace).await);
    }
}

#[tokio::test]
async fn disabling_stops_keys_and_enabling_brings_them_back() {
    let world = World::new().await;
    let (admin, bob) = (world.admin().await, world.person("bob").await);
    let home = "users-warehouse/bob/seed";
    world.seed(home).await;
    let keys = [world.session(&bob, json!("granted")).await, world.lake_key(&bob).await];
    assert_eq!(world.post(&admin, "/admin/users/bob/disable", Value::Null).await.status, 204);
    for keys in &keys {
        assert!(!world.can_get(keys, home).await);
    }
    for path in ["/sessions", "/users/bob"] {
        let refused = world.post(&bob, path, Value::Null).await;
        assert_eq!((refused.status, &refused.json["type"]), (403, &json!("urn:lakepass:problem:account-disabled")));
    }
    assert_eq!(world.post(&admin, "/admin/users/bob/enable", Value::Null).await.status, 204);
    for keys in &keys {
        assert!(world.can_get(keys, home).await);
    }
}

#[tokio::test]
async fn who_is_disabled_gives_nothing_away_and_takes_nothing_back() {
    let world = World::new().await;
    let (admin, bob) = (world.admin().await, world.person("bob").await);
    world.person("carol").await;
    world.members("KBase", &[("bob", "steward"), ("carol", "reader")], &[]).await;
    world.share(&bob, "users-warehouse/bob/x", &["carol"], &[], "read").await;
    assert_eq!(world.post(&admin, "/admin/users/bob/disable", Value::Null).await.status, 204);
    let share = |path| json!({"path": path, "with_users": ["carol"], "access": "write"});
    let unshare = json!({"path": "users-warehouse/bob/x", "from_users": ["carol"]});
    for (path, body) in [
        ("/users/bob/share", share("users-warehouse/bob/x")),
        ("/users/bob/share", share("groups-warehouse/KBase/x")),
        ("/users/bob/unshare", unshare.clone()),
        ("/groups/KBase", json!({"add_members": [{"username": "carol", "role": "writer"}]})),
        ("/groups/KBase", json!({"remove_members": ["carol"]})),
        (
            "/sharing/share",
            json!({"path": format!("s3a://{}/users-warehouse/bob/x", world.bucket), "with_users": ["carol"]}),
        ),
    ] {
        let refused = world.post(&bob, path, body.clone()).await;
        assert_eq!(refused.status, 403, "{path} {body}: {}", refused.json);
    }
    let in_group = json!([{"username": "bob", "role": "steward"}, {"username": "carol", "role": "reader"}]);
    assert_eq!(world.get(&admin, "/groups/KBase").await.json["members"], in_group);
    let bobs = world.post(&admin, "/users/bob/unshare", unshare).await;
    assert_eq!(bobs.status, 200, "an administrator may: {}", bobs.json);
}

#[tokio::test]
async fn revoking_ends_sessions_for_good_and_spares_lake_keys_unless_asked() {
    let world = World::new().await;
    let (admin, bob) = (world.admin().await, world.person("bob").await);
    world.members("KBase", &[("bob", "writer")], &[]).await;
    let home = "users-warehouse/bob/seed";
    world.seed(home).await;
    let (old, lake_key) = (world.session(&bob, json!("granted")).await, world.lake_key(&bob).await);
    assert_eq!(world.get(&bob, "/sessions").await.json["sessions"].as_array().unwrap().len(), 1);
    assert_eq!(world.delete(&bob, "/sessions").await.status, 204);
    assert_eq!(world.get(&bob, "/sessions").await.json["sessions"], json!([]));
    assert!(!world.can_get(&old, home).await && world.can_get(&lake_key, home).await);
    let new = world.session(&bob, json!("granted")).await;
    assert!(world.can_get(&new, home).await && world.can_put(&new, "groups-warehouse/KBase/x").await);
    assert!(!world.can_get(&old, home).await);
    assert_eq!(world.delete(&admin, "/admin/users/bob/sessions?lake_keys=true").await.status, 204);
    assert!(!world.can_get(&new, home).await && !world.can_get(&lake_key, home).await);
    let lake_key = world.lake_key(&bob).await;
    assert!(world.can_get(&lake_key, home).await && world.can_put(&lake_key, "groups-warehouse/KBase/x").await);
}

#[tokio::test]
async fn deleting_kills_keys_and_a_new_user_of_the_name_does_not_revive_them() {
    let world = World::new().await;
    let (admin, bob) = (world.admin().await, world.person("bob").await);
    let home = "users-warehouse/bob/seed";
    world.seed(home).await;
    let keys = [world.session(&bob, json!("granted")).await, world.lake_key(&bob).await];
    assert_eq!(world.delete(&admin, "/admin/users/bob").await.status, 204);
    for keys in &keys {
        assert!(!world.can_get(keys, home).await);
    }
    let new = world.session(&bob, json!("granted")).await;
    assert!(world.can_get(&new, home).await, "the data was to be kept");
    for keys in &keys {
        assert!(!world.can_get(keys, home).await);
    }
}
