//! On a MinIO of four nodes, which `tests/cluster` starts: every node heeds every loss at once, and nothing is lost when one of
//! them dies.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    mixed_changes::mixed_changes,
    support::{Keys, Person, World, eventually},
};

fn setting(name: &str) -> Vec<String> {
    let value = std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run tests/cluster, as root"));
    value.split_whitespace().map(str::to_owned).collect()
}

/// A broker at each node.
async fn at_each_node() -> Vec<World> {
    let nodes = setting("LAKEPASS_TEST_NODES");
    assert_eq!(nodes.len(), 4);
    let root = [("LAKEPASS_MINIO_ROOT_USER", "lakeroot"), ("LAKEPASS_MINIO_ROOT_PASSWORD", "lakeroot-secret")];
    let first = ("LAKEPASS_MINIO_URL", nodes[0].as_str());
    let mut worlds = vec![World::with(nodes[0].clone(), &[&root[..], &[first]].concat()).await];
    for node in &nodes[1..] {
        let mut replica = worlds[0].replica(&[("LAKEPASS_MINIO_URL", node)]).await;
        replica.minio_url.clone_from(node);
        worlds.push(replica);
    }
    worlds
}

fn kill_node(node: usize) {
    let pid = &setting("LAKEPASS_TEST_NODE_PIDS")[node];
    assert!(std::process::Command::new("kill").args(["-KILL", pid]).status().unwrap().success());
}

/// What somebody has keys for, and is to lose.
struct Held {
    keys: Vec<Keys>,
    object: &'static str,
}

impl Held {
    async fn new(worlds: &[World], who: &Person, object: &'static str) -> Self {
        let [one, other] = [&worlds[0], &worlds[3]];
        let mut keys = vec![one.lake_key(who).await];
        for scope in ["granted", "lake"] {
            keys.push(one.session(who, json!(scope)).await);
            keys.push(other.session(who, json!(scope)).await);
        }
        let held = Self { keys, object };
        assert!(held.answers(worlds).await.iter().all(|may| *may), "{object} before");
        held
    }

    /// What each node says to each of the keys, at its very next request.
    async fn answers(&self, worlds: &[World]) -> Vec<bool> {
        let asks = self.keys.iter().flat_map(|keys| worlds.iter().map(move |node| node.can_put(keys, self.object)));
        futures::future::join_all(asks).await
    }

    async fn is_lost(&self, worlds: &[World], how: &str) {
        let answers = self.answers(worlds).await;
        assert!(!answers.contains(&true), "{how}: {answers:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "wants a MinIO of four nodes: run tests/cluster"]
async fn every_node_heeds_every_loss_at_the_next_request() {
    let worlds = at_each_node().await;
    let [one, two, three, four] = &worlds[..] else { panic!("four nodes") };
    let (admin, alice, bob) = (one.admin().await, one.person("alice").await, one.person("bob").await);
    let (shared, workspace, home) = ("users-warehouse/alice/x/k", "groups-warehouse/KBase/k", "users-warehouse/bob/k");
    let hold = async |object| Held::new(&worlds, &bob, object).await;

    one.share(&alice, "users-warehouse/alice/x", &["bob"], &[], "write").await;
    let held = hold(shared).await;
    two.share(&alice, "users-warehouse/alice/x", &["bob"], &[], "read").await;
    held.is_lost(&worlds, "narrower").await;
    three.share(&alice, "users-warehouse/alice/x", &["bob"], &[], "write").await;
    let held = hold(shared).await;
    assert_eq!(four.unshare(&alice, "users-warehouse/alice/x", &["bob"], &[]).await.status, 200);
    held.is_lost(&worlds, "unshare").await;

    one.members("KBase", &[("bob", "writer")], &[]).await;
    let held = hold(workspace).await;
    let out = json!({"remove_members": ["bob"]});
    assert_eq!(two.post(&admin, "/groups/KBase", out).await.status, 200);
    held.is_lost(&worlds, "member out").await;
    one.members("KBase", &[("bob", "writer")], &[]).await;
    let held = hold(workspace).await;
    assert_eq!(three.delete(&admin, "/admin/groups/KBase").await.status, 204);
    held.is_lost(&worlds, "group deleted").await;
    one.members("KBase", &[("alice", "writer")], &[]).await;
    held.is_lost(&worlds, "group made again").await;

    let held = hold(home).await;
    assert_eq!(four.post(&admin, "/admin/users/bob/disable", Value::Null).await.status, 204);
    held.is_lost(&worlds, "disable").await;
    assert_eq!(two.post(&admin, "/admin/users/bob/enable", Value::Null).await.status, 204);
    assert!(!held.answers(&worlds).await.contains(&false), "enabled again");
    assert_eq!(three.delete(&admin, "/admin/users/bob/sessions?lake_keys=true").await.status, 204);
    held.is_lost(&worlds, "revoke").await;
    let held = hold(home).await;
    assert_eq!(two.delete(&admin, "/admin/users/bob").await.status, 204);
    held.is_lost(&worlds, "delete").await;
    let again = hold(home).await;
    held.is_lost(&worlds, "deleted and made again").await;
    assert!(!again.answers(&worlds).await.contains(&false), "the new keys");

    // The same by those who are left when one has died.
    one.share(&alice, "users-warehouse/alice/x", &["bob"], &[], "write").await;
    one.members("KBase", &[("bob", "writer")], &[]).await;
    let of_bob = [hold(shared).await, hold(workspace).await, hold(home).await];
    let mut left = worlds;
    kill_node(2);
    left.remove(2);
    let unshare = json!({"path": "users-warehouse/alice/x", "from_users": ["bob"]});
    for (held, who, method, path, body) in [
        (&of_bob[0], &alice, Method::POST, "/users/alice/unshare", unshare),
        (&of_bob[1], &admin, Method::POST, "/groups/KBase", json!({"remove_members": ["bob"]})),
        (&of_bob[2], &admin, Method::DELETE, "/admin/users/bob/sessions?lake_keys=true", Value::Null),
    ] {
        eventually("it is done", Duration::from_secs(120), async || {
            matches!(left[2].call(who, method.clone(), path, body.clone()).await.status, 200 | 204)
        })
        .await;
        held.is_lost(&left, path).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "wants a MinIO of four nodes, of which it kills one: run tests/cluster"]
async fn two_hundred_changes_at_once_are_all_there_though_a_node_dies_in_the_middle() {
    let worlds = at_each_node().await;
    let kill = || kill_node(1);
    // Of a life that is over, what was cut off in the middle stays, and is only told: nobody has it.
    mixed_changes(&worlds[0], &worlds[1..3], kill).await;
}
