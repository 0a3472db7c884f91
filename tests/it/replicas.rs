//! Several brokers on one MinIO: what is changed through one counts for all, soon, and nothing of it is lost.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use jiff::{Timestamp, ToSpan};
use serde_json::{Value, json};

use crate::{
    mixed_changes::mixed_changes,
    support::{CountingProxy, Person, World, eventually, shared_minio, start_minio},
};

const CREDENTIALS: &str = "/aws/container-credentials";

/// The longest that another replica may not know of a change.
const LIMIT: Duration = Duration::from_secs(2);

/// What a replica gives somebody: the id of their keys, or the status.
async fn given(replica: &World, who: &Person) -> String {
    let answer = replica.get(who, CREDENTIALS).await;
    answer.json["AccessKeyId"].as_str().map_or_else(|| answer.status.to_string(), str::to_owned)
}

/// Makes bob lose something in every way, through one replica, and looks at what another one gives him.
async fn losses_are_noticed(world: &World, other: &World) {
    let (admin, alice, bob) = (world.admin().await, world.person("alice").await, world.person("bob").await);
    for loss in ["unshare", "narrower", "member out", "group deleted", "unshared from the group", "revoke", "disable"] {
        world.share(&alice, "users-warehouse/alice/x", &["bob"], &[], "write").await;
        world.members("KBase", &[("bob", "writer")], &[]).await;
        world.share(&alice, "users-warehouse/alice/y", &[], &["KBase"], "read").await;
        eventually("all of it is noticed", LIMIT, async || {
            let listed = json!([
                {"path": "users-warehouse/alice/x", "access": "write"},
                {"path": "groups-warehouse/KBase", "access": "write"},
                {"path": "users-warehouse/alice/y"},
            ]);
            let query =
                url::form_urlencoded::Serializer::new(String::new()).append_pair("scope", &listed.to_string()).finish();
            other.get(&bob, &format!("{CREDENTIALS}?{query}")).await.status == 200
        })
        .await;
        let before = given(other, &bob).await;
        assert_eq!(given(other, &bob).await, before, "kept");
        let status = match loss {
            "unshare" => world.unshare(&alice, "users-warehouse/alice/x", &["bob"], &[]).await.status,
            "narrower" => {
                world.share(&alice, "users-warehouse/alice/x", &["bob"], &[], "read").await;
                200
            }
            "member out" => {
                world.members("KBase", &[], &["bob"]).await;
                200
            }
            "group deleted" => world.delete(&admin, "/admin/groups/KBase").await.status,
            "unshared from the group" => world.unshare(&alice, "users-warehouse/alice/y", &[], &["KBase"]).await.status,
            "revoke" => world.delete(&bob, "/sessions").await.status,
            _ => world.post(&admin, "/admin/users/bob/disable", Value::Null).await.status,
        };
        assert!(matches!(status, 200 | 204), "{loss}: {status}");
        let changed = Instant::now();
        eventually(loss, LIMIT, async || given(other, &bob).await != before).await;
        println!("{loss}: noticed after {:?}", changed.elapsed());
        for _ in 0..20 {
            assert_ne!(given(other, &bob).await, before, "{loss}: and not given again");
        }
    }
}

#[tokio::test]
async fn losses_are_noticed_by_a_replica_that_many_ask() {
    let world = World::new().await;
    let other = world.replica(&[]).await;
    let many = many(&world).await;
    let they_ask = async {
        loop {
            all_ask(&other, &many).await;
        }
    };
    tokio::select! {
        () = they_ask => {}
        () = losses_are_noticed(&world, &other) => {}
    }
}

async fn many(world: &World) -> Vec<Person> {
    let mut people = Vec::new();
    for i in 0..30 {
        people.push(world.person(&format!("user{i}")).await);
    }
    people
}

async fn all_ask(replica: &World, people: &[Person]) {
    futures::future::join_all(people.iter().map(|person| given(replica, person))).await;
}

/// One that hears of changes as well is none the worse for it, whatever becomes of the stream.
#[tokio::test]
async fn losses_are_noticed_whether_the_stream_is_there_or_not() {
    let proxy = CountingProxy::to(shared_minio().address).await;
    let world = World::new().await;
    let other = world.replica(&[("LAKEPASS_MINIO_URL", &proxy.url)]).await;
    let follower = other.broker.clone();
    tokio::spawn(async move { follower.follow_ledger().await });
    losses_are_noticed(&world, &other).await;
    assert_eq!(world.post(&world.admin().await, "/admin/users/bob/enable", Value::Null).await.status, 204);
    proxy.hold("events=");
    proxy.cut();
    proxy.mend();
    losses_are_noticed(&world, &other).await;
}

/// The stream tells of writes; some builds of MinIO only when 4 KiB have come together.
#[tokio::test]
async fn the_notification_stream_tells_who_is_written() {
    let world = World::new().await;
    let minio = world.minio();
    world.person("alice").await;
    let hear = async {
        let mut events = minio.events(&world.ledger_bucket).await.unwrap();
        while !events.next().await.unwrap().contains(&"users/alice.json".to_owned()) {}
    };
    let write = async {
        loop {
            let key = world.delete(&world.stranger("alice", &["BERDL_USER"]), "/sessions").await;
            assert_eq!(key.status, 204);
        }
    };
    tokio::select! {
        () = hear => {}
        () = write => {}
        () = tokio::time::sleep(Duration::from_secs(20)) => panic!("nothing was heard"),
    }
}

#[tokio::test]
async fn between_changes_a_replica_asks_minio_once_a_second_however_many_users_it_has() {
    let proxy = CountingProxy::to(shared_minio().address).await;
    let world = World::new().await;
    let other = world.replica(&[("LAKEPASS_MINIO_URL", &proxy.url)]).await;
    let people = many(&world).await;
    // It has to learn that many ask, and what they may reach.
    let asked_for = async |time| {
        let started = Instant::now();
        while started.elapsed() < time {
            all_ask(&other, &people).await;
        }
    };
    asked_for(Duration::from_secs(4)).await;
    let (before, started) = (proxy.requests(), Instant::now());
    asked_for(Duration::from_secs(4)).await;
    let (requests, seconds) = (proxy.requests() - before, started.elapsed().as_secs() as u32);
    assert!((1..=seconds + 1).contains(&requests), "{requests} requests in {seconds} s");
}

#[tokio::test]
async fn the_end_of_a_share_is_noticed_though_nothing_is_written() {
    let world = World::new().await;
    let (alice, bob) = (world.person("alice").await, world.person("bob").await);
    let end = jiff::Timestamp::now() + Duration::from_secs(5);
    let body = json!({"path": "users-warehouse/alice/x", "with_users": ["bob"], "expires_at": end});
    assert_eq!(world.post(&alice, "/users/alice/share", body).await.status, 200);
    let before = given(&world, &bob).await;
    assert_eq!(given(&world, &bob).await, before);
    assert!(jiff::Timestamp::now() < end, "too slow to tell");
    eventually("the end", Duration::from_secs(7), async || given(&world, &bob).await != before).await;
    assert!(jiff::Timestamp::now() >= end);
}

/// Two replicas, and a way to hold back what the first one asks of MinIO.
async fn a_slow_and_a_fast_one() -> (World, World, CountingProxy) {
    let proxy = CountingProxy::to(shared_minio().address).await;
    let fast = World::new().await;
    let slow = fast.replica(&[("LAKEPASS_MINIO_URL", &proxy.url)]).await;
    (slow, fast, proxy)
}

#[tokio::test]
async fn a_late_writer_does_not_attach_what_was_taken_back_meanwhile() {
    let (slow, fast, mut proxy) = a_slow_and_a_fast_one().await;
    let (alice, bob) = (fast.person("alice").await, fast.person("bob").await);
    fast.members("KBase", &[("bob", "reader")], &[]).await;
    let keys = fast.session(&bob, json!("lake")).await;
    for (users, groups) in [(&["bob"][..], &[][..]), (&[], &["KBase"])] {
        proxy.hold("set-user-or-group-policy");
        let take_back = async {
            proxy.holds().await;
            assert_eq!(fast.unshare(&alice, "users-warehouse/alice/x", users, groups).await.status, 200);
            proxy.release();
        };
        tokio::join!(slow.share(&alice, "users-warehouse/alice/x", users, groups, "read"), take_back);
        assert!(!fast.can_list(&keys, "users-warehouse/alice/x/").await, "{users:?} {groups:?}");
        assert!(fast.can_list(&keys, "users-warehouse/bob/").await);
    }
}

#[tokio::test]
async fn a_late_writer_leaves_no_policy_behind() {
    let (slow, fast, mut proxy) = a_slow_and_a_fast_one().await;
    let (admin, alice) = (fast.admin().await, fast.person("alice").await);
    let path = "users-warehouse/alice/x";
    for (user, kind) in [("holder", "users"), ("Holders", "groups")] {
        for end in ["unshare", "delete"] {
            let (users, groups) = if kind == "users" { (vec![user], vec![]) } else { (vec![], vec![user]) };
            match kind {
                "users" => drop(fast.person(user).await),
                _ => fast.members(user, &[], &[]).await,
            }
            let before = policies_of(&fast, user).await;
            proxy.hold("add-canned-policy");
            let overtake = async {
                proxy.holds().await;
                let answer = match end {
                    "unshare" => fast.unshare(&alice, path, &users, &groups).await,
                    _ => fast.delete(&admin, &format!("/admin/{kind}/{user}")).await,
                };
                assert!(matches!(answer.status, 200 | 204), "{}", answer.json);
                proxy.release();
            };
            let body = json!({"path": path, "with_users": users, "with_groups": groups});
            tokio::join!(slow.post(&alice, "/users/alice/share", body), overtake);
            let left = policies_of(&fast, user).await;
            assert_eq!(left, if end == "unshare" { before } else { Default::default() }, "{user} {end}");
        }
    }
}

/// The policies at MinIO that are named for a user or group; nobody else in these tests has the name.
async fn policies_of(world: &World, name: &str) -> BTreeSet<String> {
    let policies = world.minio().inventory().await.unwrap().policies.into_keys();
    policies.filter(|policy| policy.starts_with(&format!("lakepass-{name}-"))).collect()
}

#[tokio::test]
async fn a_late_writer_does_not_bring_a_deleted_user_back() {
    let (slow, fast, mut proxy) = a_slow_and_a_fast_one().await;
    let (admin, minio) = (fast.admin().await, fast.minio());
    let late = fast.stranger("latecomer", &["BERDL_USER"]);
    proxy.hold("admin/v3/add-user");
    let delete = async {
        proxy.holds().await;
        assert_eq!(fast.delete(&admin, "/admin/users/latecomer").await.status, 204);
        proxy.release();
    };
    let (answer, ()) = tokio::join!(slow.post(&late, "/sessions", Value::Null), delete);
    assert_eq!(answer.status, 404, "{}", answer.json);
    let left: Vec<String> =
        minio.users().await.unwrap().into_keys().filter(|name| name.contains("latecomer")).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn a_late_deletion_leaves_the_data_of_the_next_of_that_name() {
    let (slow, fast, mut proxy) = a_slow_and_a_fast_one().await;
    let (admin, bob) = (fast.admin().await, fast.person("bob").await);
    fast.members("KBase", &[], &[]).await;
    for (address, home) in
        [("/admin/users/bob", "users-warehouse/bob"), ("/admin/groups/KBase", "groups-warehouse/KBase")]
    {
        let (old, new) = (format!("{home}/old"), format!("{home}/new"));
        fast.seed(&old).await;
        proxy.hold("?delete");
        let overtake = async {
            proxy.holds().await;
            assert_eq!(fast.delete(&admin, address).await.status, 204);
            fast.session(&bob, json!("lake")).await;
            fast.members("KBase", &[("bob", "writer")], &[]).await;
            fast.seed(&new).await;
            proxy.release();
        };
        let with_data = format!("{address}?purge=true");
        let (answer, ()) = tokio::join!(slow.delete(&admin, &with_data), overtake);
        assert_eq!(answer.status, 204, "{}", answer.json);
        let list = fast.s3(&fast.root()).list_objects_v2().bucket(&fast.bucket).prefix(format!("{home}/")).send();
        let objects = list.await.unwrap().contents.unwrap_or_default();
        let left: BTreeSet<String> = objects.into_iter().filter_map(|object| object.key).collect();
        assert!(!left.contains(&old) && left.contains(&new), "{address}: {left:?}");
    }
}

#[tokio::test]
async fn an_end_that_broke_off_is_made_up_for() {
    let (slow, fast, mut proxy) = a_slow_and_a_fast_one().await;
    let (alice, bob) = (fast.person("alice").await, fast.person("endling").await);
    let before = policies_of(&fast, "endling").await;
    let end = Timestamp::now() + 1.seconds();
    let body = json!({"path": "users-warehouse/alice/x", "with_users": [bob.name], "expires_at": end.to_string()});
    assert_eq!(fast.post(&alice, "/users/alice/share", body).await.status, 200);
    assert_ne!(policies_of(&fast, "endling").await, before);
    tokio::time::sleep(Duration::from_secs(1)).await;
    proxy.hold("set-user-or-group-policy");
    assert!(slow.broker.remove_ended_grants().await.is_err(), "MinIO is hung");
    proxy.holds().await;
    proxy.cut();
    proxy.mend();
    proxy.release();
    slow.broker.remove_ended_grants().await.unwrap();
    assert_eq!(policies_of(&fast, "endling").await, before);
}

#[tokio::test]
async fn a_late_writer_does_not_bring_a_deleted_group_back() {
    let (slow, fast, mut proxy) = a_slow_and_a_fast_one().await;
    let (admin, minio) = (fast.admin().await, fast.minio());
    proxy.hold("admin/v3/update-group-members");
    let delete = async {
        proxy.holds().await;
        assert_eq!(fast.delete(&admin, "/admin/groups/Latecomers").await.status, 204);
        proxy.release();
    };
    let (answer, ()) = tokio::join!(slow.post(&admin, "/groups/Latecomers", json!({})), delete);
    assert_eq!(answer.status, 404, "{}", answer.json);
    let groups = minio.inventory().await.unwrap().groups;
    let left: Vec<String> = groups.into_keys().filter(|name| name.contains("Latecomers")).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn a_membership_does_not_outlive_a_deletion_that_overtook_it() {
    let (slow, fast, mut proxy) = a_slow_and_a_fast_one().await;
    let (admin, bob) = (fast.admin().await, fast.person("bob").await);
    fast.members("KBase", &[], &[]).await;
    for comes_again in [false, true] {
        fast.session(&bob, Value::Null).await;
        proxy.hold("/groups/kbase.json?x-id=PutObject");
        let delete = async {
            proxy.holds().await;
            assert_eq!(fast.delete(&admin, "/admin/users/bob").await.status, 204);
            if comes_again {
                fast.session(&bob, Value::Null).await;
            }
            proxy.release();
        };
        let add = json!({"add_members": [{"username": "bob", "role": "writer"}]});
        let (answer, ()) = tokio::join!(slow.post(&admin, "/groups/KBase", add), delete);
        assert_eq!(answer.status, 409, "{}", answer.json);
        assert_eq!(fast.get(&admin, "/groups/KBase").await.json["members"], json!([]));
        let keys = fast.session(&bob, json!("lake")).await;
        assert!(!fast.can_list(&keys, "groups-warehouse/KBase/").await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_changes_at_once_through_three_replicas_are_all_there() {
    let minio = start_minio().await;
    let world = World::on(&minio, &[]).await;
    let replicas = [world.replica(&[]).await, world.replica(&[]).await];
    let nobodys = mixed_changes(&world, &replicas, || {}).await;
    assert!(nobodys.is_empty(), "left at MinIO: {nobodys:?}");
}
