//! MinIO stalls in the middle of a change: the answer is true or an error, it comes soon, and nothing is lost.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Answer, Keys, Person, World, eventually, start_minio};

async fn stalled_for(seconds: u64) {
    let minio = start_minio().await;
    let world = World::on(&minio, &[]).await;
    let (admin, alice, bob) = (world.admin().await, world.person("alice").await, world.person("bob").await);
    let (carol, erin) = (world.person("carol").await, world.person("erin").await);
    world.members("KBase", &[("bob", "writer"), ("carol", "reader")], &[]).await;
    world.share(&alice, "users-warehouse/alice/kept/", &["bob", "erin"], &["KBase"], "write").await;
    world.share(&alice, "users-warehouse/alice/lost/", &["erin"], &[], "write").await;
    for person in [&bob, &carol] {
        world.lake_key(person).await;
    }
    let share = json!({"path": "users-warehouse/alice/new/", "with_users": ["bob"], "with_groups": ["KBase"]});
    let unshare = json!({"path": "users-warehouse/alice/lost/", "from_users": ["erin"]});
    let members = json!({"add_members": [{"username": "erin", "role": "reader"}], "remove_members": ["carol"]});
    let timed = async |who: &Person, path: &str, body: &Value| {
        let started = Instant::now();
        let answer = world.post(who, path, body.clone()).await;
        (answer, started.elapsed())
    };
    // Each round stalls a little later in the changes.
    for delay in [2, 15, 40] {
        let stop = async {
            tokio::time::sleep(Duration::from_millis(delay)).await;
            minio.signal("STOP").unwrap();
        };
        let null = Value::Null;
        let (shared, unshared, changed, key, session, ()) = tokio::join!(
            timed(&alice, "/users/alice/share", &share),
            timed(&alice, "/users/alice/unshare", &unshare),
            timed(&admin, "/groups/KBase", &members),
            timed(&bob, "/users/bob", &null),
            timed(&erin, "/sessions", &null),
            stop,
        );
        let answers =
            [("share", shared), ("unshare", unshared), ("members", changed), ("key", key), ("session", session)];
        tokio::time::sleep(Duration::from_secs(seconds / 3)).await;
        minio.signal("CONT").unwrap();
        for (what, (answer, took)) in &answers {
            assert!(*took < Duration::from_secs(3), "{what} took {took:?}");
            assert!(matches!(answer.status, 200 | 207 | 503), "{what}: {} {}", answer.status, answer.json);
            assert!(answer.status != 503 || answer.headers.contains_key("retry-after"), "{what}");
        }
        let is_done = |answer: &Answer| answer.status == 200;
        let (key, session) = (&answers[3].1.0, &answers[4].1.0);
        eventually("MinIO answers", Duration::from_secs(10), async || world.get(&alice, "/readyz").await.status == 200)
            .await;
        if is_done(key) {
            let keys = Keys {
                access_key: key.json["access_key"].as_str().unwrap().into(),
                secret_key: key.json["secret_key"].as_str().unwrap().into(),
                session_token: None,
            };
            assert!(world.can_put(&keys, "users-warehouse/bob/x").await, "keys that were given work");
        }
        if is_done(session) {
            assert!(world.can_put(&Keys::of_session(&session.json), "users-warehouse/erin/x").await);
        }
        // What was given before is as it was.
        let erins = world.session(&erin, json!("lake")).await;
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
