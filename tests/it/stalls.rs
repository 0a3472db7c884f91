//! MinIO stalls in the middle of a change: the answer is true or an error, it comes soon, and nothing is lost.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Answer, Keys, Person, World, eventually, start_minio};

async fn stalled_for(seconds: u64) {
    let minio = start_minio().await;
    let world = World::on(&minio, &[]).await;
    let (admin, alice, bob) = (world.admin().await, world.person("alice").await, world.person("bob").await);
    let (carol, erin, frank) = (world.person("carol").await, world.person("erin").await, world.person("frank").await);
    world.members("KBase", &[("bob", "writer"), ("carol", "reader")], &[]).await;
    world.share(&alice, "users-warehouse/alice/kept/", &["bob", "erin"], &["KBase"], "write").await;
    world.share(&alice, "users-warehouse/alice/lost/", &["erin"], &[], "write").await;
    for person in [&bob, &carol] {
        world.lake_key(person).await;
    }
    let share = json!({"path": "users-warehouse/alice/new/", "with_users": ["bob"], "with_groups": ["KBase"]});
    let unshare = json!({"path": "users-warehouse/alice/lost/", "from_users": ["erin"]});
    let members = json!({"add_members": [{"username": "erin", "role": "reader"}], "remove_members": ["carol"]});
    let timed = async |who: &Person, method: Method, path: &str, body: &Value| {
        let started = Instant::now();
        let answer = world.call(who, method, path, body.clone()).await;
        (answer, started.elapsed())
    };
    // Each round stalls a little later in the changes.
    for (round, delay) in [2, 15, 40].into_iter().enumerate() {
        let stop = async {
            tokio::time::sleep(Duration::from_millis(delay)).await;
            minio.signal("STOP").unwrap();
        };
        let null = Value::Null;
        // Each round has somebody to delete, somebody to disable, and somebody who comes for the first time.
        let [gone, out, new] = ["gone", "out", "new"].map(|name| format!("{name}{round}"));
        let (leaving, disabled) = (world.person(&gone).await, world.person(&out).await);
        let old = [world.session(&leaving, json!("granted")).await, world.session(&disabled, json!("granted")).await];
        let revoked = world.session(&frank, json!("granted")).await;
        let new = world.stranger(&new, &["BERDL_USER"]);
        let (delete, disable) = (format!("/admin/users/{gone}"), format!("/admin/users/{out}/disable"));
        let group = format!("/groups/Group{round}");
        let makes = json!({"add_members": [{"username": "bob", "role": "writer"}]});
        let (shared, unshared, changed, key, session, revocation, deleted, off, made, first, ()) = tokio::join!(
            timed(&alice, Method::POST, "/users/alice/share", &share),
            timed(&alice, Method::POST, "/users/alice/unshare", &unshare),
            timed(&admin, Method::POST, "/groups/KBase", &members),
            timed(&bob, Method::POST, "/users/bob", &null),
            timed(&erin, Method::POST, "/sessions", &null),
            timed(&frank, Method::DELETE, "/sessions", &null),
            timed(&admin, Method::DELETE, &delete, &null),
            timed(&admin, Method::POST, &disable, &null),
            timed(&admin, Method::POST, &group, &makes),
            timed(&new, Method::POST, "/sessions", &null),
            stop,
        );
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        minio.signal("CONT").unwrap();
        for (what, (answer, took)) in [
            ("share", &shared),
            ("unshare", &unshared),
            ("members", &changed),
            ("key", &key),
            ("session", &session),
            ("revoke", &revocation),
            ("delete", &deleted),
            ("disable", &off),
            ("group", &made),
            ("first login", &first),
        ] {
            assert!(*took < Duration::from_secs(3), "{what} took {took:?}");
            assert!(matches!(answer.status, 200 | 204 | 207 | 503), "{what}: {} {}", answer.status, answer.json);
            assert!(answer.status != 503 || answer.headers.contains_key("retry-after"), "{what}");
        }
        eventually("MinIO answers", Duration::from_secs(10), async || world.get(&alice, "/readyz").await.status == 200)
            .await;
        // What was said to be done is done.
        let is_done = |timed: &(Answer, Duration)| matches!(timed.0.status, 200 | 204);
        let bobs = world.session(&bob, json!("lake")).await;
        let erins = world.session(&erin, json!("lake")).await;
        if is_done(&shared) {
            assert!(world.can_list(&bobs, "users-warehouse/alice/new/").await, "shared");
        }
        if is_done(&unshared) {
            assert!(!world.can_list(&erins, "users-warehouse/alice/lost/").await, "unshared");
        }
        if is_done(&changed) {
            assert!(world.can_list(&erins, "groups-warehouse/KBase/").await, "a new member");
        }
        if is_done(&key) {
            let keys = Keys {
                access_key: key.0.json["access_key"].as_str().unwrap().into(),
                secret_key: key.0.json["secret_key"].as_str().unwrap().into(),
                session_token: None,
            };
            assert!(world.can_put(&keys, "users-warehouse/bob/x").await, "keys that were given work");
        }
        for (issued, key) in [(&session, "erin".to_owned()), (&first, new.name.clone())] {
            if is_done(issued) {
                let keys = Keys::of_session(&issued.0.json);
                assert!(world.can_put(&keys, &format!("users-warehouse/{key}/x")).await, "keys that were given work");
            }
        }
        if is_done(&revocation) {
            assert!(!world.can_put(&revoked, "users-warehouse/frank/x").await, "revoked");
        }
        for (ended, keys, name) in [(&deleted, &old[0], &gone), (&off, &old[1], &out)] {
            if is_done(ended) {
                assert!(!world.can_put(keys, &format!("users-warehouse/{name}/x")).await, "{name}");
            }
        }
        if is_done(&made) {
            assert!(world.can_put(&bobs, &format!("groups-warehouse/Group{round}/x")).await, "a new group");
        }
        // What was given before is as it was.
        assert!(world.can_put(&erins, "users-warehouse/alice/kept/x").await, "nothing is reset");
    }
    // Asked again, all of it is done.
    for (who, path, body) in [
        (&alice, "/users/alice/share", &share),
        (&alice, "/users/alice/unshare", &unshare),
        (&admin, "/groups/KBase", &members),
    ] {
        let answer = world.post(who, path, body.clone()).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.json);
    }
    let bobs = [world.lake_key(&bob).await, world.session(&bob, json!("granted")).await];
    for keys in &bobs {
        assert!(
            world.can_list(keys, "users-warehouse/alice/new/").await
                && world.can_put(keys, "groups-warehouse/KBase/x").await
        );
    }
    let carols = world.session(&carol, json!("lake")).await;
    assert!(
        !world.can_list(&carols, "groups-warehouse/KBase/").await
            && !world.can_list(&carols, "users-warehouse/alice/new/").await
    );
    let erins = world.session(&erin, json!("lake")).await;
    assert!(
        !world.can_list(&erins, "users-warehouse/alice/lost/").await
            && world.can_list(&erins, "groups-warehouse/KBase/").await
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn five_seconds() {
    stalled_for(5).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn thirty_seconds() {
    stalled_for(30).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_seconds() {
    stalled_for(60).await;
}
