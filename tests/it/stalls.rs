//! MinIO stalls in the middle of a change: the answer is true or an error, it comes soon, and nothing is lost.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use futures::future::join_all;
use lakepass::dev::minio_server::MinioServer;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Answer, Keys, Person, World, eventually, start_minio};

/// A lake in which much is changed at the same moment.
struct Lake {
    world: World,
    admin: Person,
    alice: Person,
    bob: Person,
    carol: Person,
    erin: Person,
    frank: Person,
}

/// What became of the changes of one round.
struct Round {
    number: usize,
    answers: BTreeMap<&'static str, (Answer, Duration)>,
    /// Who is deleted, disabled, and there for the first time.
    gone: String,
    out: String,
    new: String,
    /// Keys of those who are deleted, disabled and revoked.
    old: [Keys; 3],
}

impl Lake {
    async fn on(minio: &MinioServer) -> Self {
        let world = World::on(minio, &[("LAKEPASS_ANSWER_LIMIT", "2500")]).await;
        let (admin, alice, bob) = (world.admin().await, world.person("alice").await, world.person("bob").await);
        let (carol, erin, frank) =
            (world.person("carol").await, world.person("erin").await, world.person("frank").await);
        world.members("KBase", &[("bob", "writer"), ("carol", "reader")], &[]).await;
        world.share(&alice, "users-warehouse/alice/kept/", &["bob", "erin"], &["KBase"], "write").await;
        world.share(&alice, "users-warehouse/alice/lost/", &["erin"], &[], "write").await;
        for person in [&bob, &carol] {
            world.lake_key(person).await;
        }
        Self { world, admin, alice, bob, carol, erin, frank }
    }

    fn share() -> Value {
        json!({"path": "users-warehouse/alice/new/", "with_users": ["bob"], "with_groups": ["KBase"]})
    }

    fn unshare() -> Value {
        json!({"path": "users-warehouse/alice/lost/", "from_users": ["erin"]})
    }

    fn members() -> Value {
        json!({"add_members": [{"username": "erin", "role": "reader"}], "remove_members": ["carol"]})
    }

    /// Makes all changes at once, when `begin` is over.
    async fn change(&self, number: usize, begin: impl Future<Output = ()>) -> Round {
        let world = &self.world;
        // Each round has somebody to delete, somebody to disable, and somebody who comes for the first time.
        let [gone, out, new] = ["gone", "out", "new"].map(|name| format!("{name}{number}"));
        let (leaving, disabled) = (world.person(&gone).await, world.person(&out).await);
        let granted = json!("granted");
        let old = [
            world.session(&leaving, granted.clone()).await,
            world.session(&disabled, granted.clone()).await,
            world.session(&self.frank, granted).await,
        ];
        let stranger = world.stranger(&new, &["BERDL_USER"]);
        let makes = json!({"add_members": [{"username": "bob", "role": "writer"}]});
        begin.await;
        let calls = [
            ("share", &self.alice, Method::POST, "/users/alice/share".to_owned(), Self::share()),
            ("unshare", &self.alice, Method::POST, "/users/alice/unshare".into(), Self::unshare()),
            ("members", &self.admin, Method::POST, "/groups/KBase".into(), Self::members()),
            ("key", &self.bob, Method::POST, "/users/bob".into(), Value::Null),
            ("session", &self.erin, Method::POST, "/sessions".into(), Value::Null),
            ("revoke", &self.frank, Method::DELETE, "/sessions".into(), Value::Null),
            ("delete", &self.admin, Method::DELETE, format!("/admin/users/{gone}"), Value::Null),
            ("disable", &self.admin, Method::POST, format!("/admin/users/{out}/disable"), Value::Null),
            ("group", &self.admin, Method::POST, format!("/groups/Group{number}"), makes),
            ("first login", &stranger, Method::POST, "/sessions".into(), Value::Null),
        ];
        let answers = calls.into_iter().map(async |(what, who, method, path, body)| {
            let started = Instant::now();
            let answer = world.call(who, method, &path, body).await;
            (what, (answer, started.elapsed()))
        });
        let answers = join_all(answers).await.into_iter().collect();
        Round { number, answers, gone, out, new, old }
    }

    /// What was said to be done is done, and all was said soon.
    async fn keeps(&self, round: &Round) {
        let world = &self.world;
        for (what, (answer, took)) in &round.answers {
            assert!(*took < Duration::from_secs(3), "{what} took {took:?}");
            assert!(matches!(answer.status, 200 | 204 | 207 | 503), "{what}: {} {}", answer.status, answer.json);
            assert!(answer.status != 503 || answer.headers.contains_key("retry-after"), "{what}");
        }
        let ready = async || world.get(&self.alice, "/readyz").await.status == 200;
        eventually("MinIO answers", Duration::from_secs(10), ready).await;
        let done = |what: &str| {
            Some(&round.answers[what].0.json).filter(|_| matches!(round.answers[what].0.status, 200 | 204))
        };
        let bobs = world.session(&self.bob, json!("lake")).await;
        let erins = world.session(&self.erin, json!("lake")).await;
        if done("share").is_some() {
            assert!(world.can_list(&bobs, "users-warehouse/alice/new/").await, "shared");
        }
        if done("unshare").is_some() {
            assert!(!world.can_list(&erins, "users-warehouse/alice/lost/").await, "unshared");
        }
        if done("members").is_some() {
            assert!(world.can_list(&erins, "groups-warehouse/KBase/").await, "a new member");
        }
        if let Some(key) = done("key") {
            let keys = Keys {
                access_key: key["access_key"].as_str().unwrap().into(),
                secret_key: key["secret_key"].as_str().unwrap().into(),
                session_token: None,
            };
            assert!(world.can_put(&keys, "users-warehouse/bob/x").await, "keys that were given work");
        }
        for (what, name) in [("session", "erin"), ("first login", &round.new)] {
            if let Some(keys) = done(what) {
                let key = format!("users-warehouse/{name}/x");
                assert!(world.can_put(&Keys::of_session(keys), &key).await, "keys that were given work");
            }
        }
        let ended = [("delete", round.gone.as_str()), ("disable", &round.out), ("revoke", "frank")];
        for ((what, name), keys) in ended.into_iter().zip(&round.old) {
            if done(what).is_some() {
                assert!(!world.can_put(keys, &format!("users-warehouse/{name}/x")).await, "{what}: {name}");
            }
        }
        if done("group").is_some() {
            assert!(world.can_put(&bobs, &format!("groups-warehouse/Group{}/x", round.number)).await, "a new group");
        }
        // What was given before is as it was.
        assert!(world.can_put(&erins, "users-warehouse/alice/kept/x").await, "nothing is reset");
    }

    /// Asked again, all of it is done.
    async fn is_done_when_asked_again(&self) {
        let (world, alice) = (&self.world, &self.alice);
        for (who, path, body) in [
            (alice, "/users/alice/share", Self::share()),
            (alice, "/users/alice/unshare", Self::unshare()),
            (&self.admin, "/groups/KBase", Self::members()),
        ] {
            let answer = world.post(who, path, body).await;
            assert_eq!(answer.status, 200, "{path}: {}", answer.json);
        }
        let bobs = [world.lake_key(&self.bob).await, world.session(&self.bob, json!("granted")).await];
        for keys in &bobs {
            assert!(
                world.can_list(keys, "users-warehouse/alice/new/").await
                    && world.can_put(keys, "groups-warehouse/KBase/x").await
            );
        }
        let carols = world.session(&self.carol, json!("lake")).await;
        assert!(
            !world.can_list(&carols, "groups-warehouse/KBase/").await
                && !world.can_list(&carols, "users-warehouse/alice/new/").await
        );
        let erins = world.session(&self.erin, json!("lake")).await;
        assert!(
            !world.can_list(&erins, "users-warehouse/alice/lost/").await
                && world.can_list(&erins, "groups-warehouse/KBase/").await
        );
    }
}

/// How long after the changes began a stall begins: each is a little further in them.
const DELAYS: [Duration; 3] = [Duration::from_millis(2), Duration::from_millis(15), Duration::from_millis(40)];

/// One lake is stalled three times.
async fn stalled_again_and_again_for(seconds: u64) {
    let minio = start_minio().await;
    let lake = Lake::on(&minio).await;
    for (number, delay) in DELAYS.into_iter().enumerate() {
        let (begun, begins) = tokio::sync::oneshot::channel();
        let begin = async { begun.send(()).unwrap() };
        let stall = async {
            begins.await.unwrap();
            tokio::time::sleep(delay).await;
            minio.signal("STOP").unwrap();
        };
        let (round, ()) = tokio::join!(lake.change(number, begin), stall);
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        minio.signal("CONT").unwrap();
        lake.keeps(&round).await;
    }
    lake.is_done_when_asked_again().await;
}

/// Three lakes are stalled once, each at another moment of its changes.
async fn stalled_once_for(seconds: u64) {
    let minio = start_minio().await;
    let lakes = join_all(DELAYS.map(|_| Lake::on(&minio))).await;
    let last = DELAYS[DELAYS.len() - 1];
    // All wait until everything is prepared; then the one with the longest delay begins.
    let prepared = tokio::sync::Barrier::new(DELAYS.len() + 1);
    let rounds = lakes.iter().zip(DELAYS).map(|(lake, delay)| {
        let prepared = &prepared;
        lake.change(0, async move {
            prepared.wait().await;
            tokio::time::sleep(last - delay).await;
        })
    });
    let stall = async {
        prepared.wait().await;
        tokio::time::sleep(last).await;
        minio.signal("STOP").unwrap();
    };
    let (rounds, ()) = tokio::join!(join_all(rounds), stall);
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    minio.signal("CONT").unwrap();
    join_all(lakes.iter().zip(&rounds).map(|(lake, round)| lake.keeps(round))).await;
    join_all(lakes.iter().map(Lake::is_done_when_asked_again)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn five_seconds() {
    stalled_again_and_again_for(5).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn thirty_seconds() {
    stalled_once_for(30).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_seconds() {
    stalled_once_for(60).await;
}
