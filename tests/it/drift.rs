//! What somebody did to MinIO by hand is found and named, and repaired, and nothing of others and no data is touched.

use std::time::Duration;

use lakepass::{
    broker::{Kind, Mended},
    dev::minio_server::MinioServer,
    minio::Inventory,
};
use serde_json::{Value, json};

use crate::{
    clients::{mc, mc_host},
    programs::{free_address, lakepass, said, signal},
    support::{CountingProxy, Person, World, eventually, start_minio},
};

/// A MinIO of its own: what other tests have at the shared one would be found there.
struct Hand {
    world: World,
    host: String,
    alice: Person,
    bob: Person,
    _minio: MinioServer,
}

impl Hand {
    /// Alice writes in KBase, bob reads; alice has shared a folder with both, and has a lake key. All is well.
    async fn new() -> Self {
        let minio = start_minio().await;
        let world = World::on(&minio, &[]).await;
        let (alice, bob) = (world.person("alice").await, world.person("bob").await);
        world.members("KBase", &[("alice", "writer"), ("bob", "reader")], &[]).await;
        world.share(&alice, "users-warehouse/alice/x", &["bob"], &["KBase"], "write").await;
        world.seed("users-warehouse/alice/x/seed").await;
        world.lake_key(&alice).await;
        let host = mc_host(&world, &world.root());
        let hand = Self { world, host, alice, bob, _minio: minio };
        assert_eq!(hand.found().await, [""; 0]);
        hand
    }

    fn mc(&self, arguments: &[&str]) -> String {
        let said = mc(&self.world, &self.host, arguments);
        assert!(said.ok, "{arguments:?}: {}", said.text);
        said.text
    }

    /// `mc admin …` on this MinIO: `lake` is put after the second word.
    fn admin(&self, words: &str) {
        let words: Vec<&str> = words.split(' ').collect();
        self.mc(&[&["admin", words[0], words[1], "lake"], &words[2..]].concat());
    }

    fn put_policy(&self, name: &str) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("policy.json");
        let all = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["s3:*"],"Resource":["arn:aws:s3:::*"]}]}"#;
        std::fs::write(&file, all).unwrap();
        self.admin(&format!("policy create {name} {}", file.display()));
    }

    async fn everything(&self) -> Inventory {
        everything(&self.world).await
    }

    async fn document(&self, path: &str) -> Value {
        let s3 = self.world.s3(&self.world.root());
        let body = s3.get_object().bucket(&self.world.ledger_bucket).key(path).send().await.unwrap().body;
        serde_json::from_slice(&body.collect().await.unwrap().to_vec()).unwrap()
    }

    async fn write(&self, path: &str, document: impl ToString) {
        let s3 = self.world.s3(&self.world.root());
        let body = document.to_string().into_bytes();
        s3.put_object().bucket(&self.world.ledger_bucket).key(path).body(body.into()).send().await.unwrap();
    }

    /// The MinIO user of somebody's sessions, and the policy attached to it.
    async fn user(&self, name: &str) -> (String, String) {
        let document = self.document(&format!("users/{name}.json")).await;
        let user = document["session_user"]["user"].as_str().unwrap().to_owned();
        let policy = self.everything().await.users[&user].policy_name.clone();
        (user, policy)
    }

    /// The MinIO groups of KBase, and their policies.
    async fn groups(&self) -> [(String, String); 2] {
        let groups = self.everything().await.groups;
        ["-readers", "-writers"].map(|end| {
            let found = groups.iter().find(|(name, _)| name.ends_with(end)).unwrap();
            (found.0.clone(), found.1.policy.clone())
        })
    }

    async fn found(&self) -> Vec<&'static str> {
        kinds(self.world.broker.drift().await.unwrap().iter().map(|drift| drift.kind))
    }

    /// Exactly this is found and repaired, and then nothing.
    async fn repairs(&self, expected: &[&str]) {
        let repairs = self.world.broker.reconcile().await.unwrap();
        assert_eq!(kinds(repairs.iter().map(|repair| repair.drift.kind)), expected, "{repairs:?}");
        assert!(repairs.iter().all(|repair| matches!(repair.mended, Mended::Done)), "{repairs:?}");
        assert_eq!(self.world.broker.drift().await.unwrap().into_iter().collect::<Vec<_>>(), []);
    }

    /// Exactly this is found, and left as it is.
    async fn leaves(&self, expected: &[&str]) {
        let before = format!("{:?}", self.everything().await);
        let repairs = self.world.broker.reconcile().await.unwrap();
        assert_eq!(kinds(repairs.iter().map(|repair| repair.drift.kind)), expected, "{repairs:?}");
        assert!(repairs.iter().all(|repair| matches!(repair.mended, Mended::Left(_))), "{repairs:?}");
        assert_eq!(format!("{:?}", self.everything().await), before);
    }

    /// Everybody can do what the ledger says, with keys made now.
    async fn is_well(&self) {
        let alice = self.world.session(&self.alice, json!("lake")).await;
        let bob = self.world.session(&self.bob, json!("lake")).await;
        let world = &self.world;
        assert!(world.can_put(&alice, "users-warehouse/alice/y").await);
        assert!(world.can_put(&alice, "groups-warehouse/KBase/y").await);
        assert!(world.can_put(&bob, "users-warehouse/alice/x/y").await);
        assert!(world.can_get(&bob, "users-warehouse/alice/x/seed").await, "data stays");
        assert!(world.can_list(&bob, "groups-warehouse/KBase/").await);
        assert!(!world.can_put(&bob, "groups-warehouse/KBase/y").await);
        assert!(!world.can_list(&bob, "users-warehouse/alice/").await);
    }
}

/// The program, with the world's configuration.
pub fn program(world: &World, arguments: &[&str]) -> std::process::Command {
    let mut command = lakepass(arguments);
    command
        .env("LAKEPASS_MINIO_URL", &world.minio_url)
        .env("LAKEPASS_MINIO_ROOT_USER", "lakeroot")
        .env("LAKEPASS_MINIO_ROOT_PASSWORD", "lakeroot-secret")
        .env("LAKEPASS_KBASE_AUTH_URL", world.auth.as_ref().unwrap().url())
        .env("LAKEPASS_BUCKET", &world.bucket)
        .env("LAKEPASS_LEDGER_BUCKET", &world.ledger_bucket)
        .env("RUST_LOG", "error");
    command
}

/// Everything that a world's MinIO has.
pub async fn everything(world: &World) -> Inventory {
    world.minio().inventory().await.unwrap()
}

fn kinds(kinds: impl Iterator<Item = Kind>) -> Vec<&'static str> {
    let kinds: std::collections::BTreeSet<Kind> = kinds.collect();
    kinds.into_iter().map(Kind::name).collect()
}

#[tokio::test]
async fn users_changed_by_hand_are_repaired() {
    let hand = Hand::new().await;
    let (user, _) = hand.user("alice").await;
    hand.admin(&format!("user disable {user}"));
    hand.repairs(&["user-disabled"]).await;
    hand.admin(&format!("user add {user} not-the-derived-one"));
    hand.repairs(&["secret-not-ours"]).await;
    hand.admin(&format!("user remove {user}"));
    hand.repairs(&["user-missing"]).await;
    assert_ne!(hand.user("alice").await.0, user, "the next generation");
    let admin = hand.world.admin().await;
    assert_eq!(hand.world.post(&admin, "/admin/users/bob/disable", Value::Null).await.status, 204);
    hand.admin(&format!("user enable {}", hand.user("bob").await.0));
    hand.repairs(&["user-enabled"]).await;
    assert_eq!(hand.world.post(&admin, "/admin/users/bob/enable", Value::Null).await.status, 204);
    let mut document = hand.document("users/bob.json").await;
    document["retired"] = json!(["lakepass-bob-000000000000"]);
    hand.admin("user add lakepass-bob-000000000000 a-secret-of-it");
    hand.write("users/bob.json", document).await;
    hand.repairs(&["user-retired"]).await;
    assert!(!hand.everything().await.users.contains_key("lakepass-bob-000000000000"));
    hand.mc(&["rm", "--recursive", "--force", &format!("lake/{}/users-warehouse/bob/", hand.world.bucket)]);
    hand.repairs(&["folder-missing"]).await;
    hand.is_well().await;
}

#[tokio::test]
async fn policies_changed_by_hand_are_repaired() {
    let hand = Hand::new().await;
    let ((user, policy), (_, bobs)) = (hand.user("alice").await, hand.user("bob").await);
    hand.put_policy(&policy);
    hand.repairs(&["policy-changed"]).await;
    hand.admin(&format!("policy attach readwrite --user {user}"));
    hand.repairs(&["policy-foreign"]).await;
    assert!(hand.everything().await.policies.contains_key("readwrite"));
    hand.admin(&format!("policy attach {bobs} --user {user}"));
    hand.repairs(&["policy-attached"]).await;
    let key_user = hand.document("users/alice.json").await["key_user"]["user"].as_str().unwrap().to_owned();
    hand.admin(&format!("policy detach {policy} --user {user}"));
    hand.repairs(&["policy-detached"]).await;
    hand.admin(&format!("policy detach {policy} --user {user}"));
    hand.admin(&format!("policy detach {policy} --user {key_user}"));
    hand.admin(&format!("policy remove {policy}"));
    hand.repairs(&["policy-missing"]).await;
    let [(readers, policy), _] = hand.groups().await;
    hand.admin(&format!("policy detach {policy} --group {readers}"));
    hand.admin(&format!("policy remove {policy}"));
    hand.repairs(&["policy-missing"]).await;
    hand.is_well().await;
}

#[tokio::test]
async fn groups_changed_by_hand_are_repaired() {
    let hand = Hand::new().await;
    let ((alice, _), (bob, _), [(readers, policy), (writers, _)]) =
        (hand.user("alice").await, hand.user("bob").await, hand.groups().await);
    hand.admin(&format!("policy attach readwrite --group {readers}"));
    hand.admin(&format!("group disable {readers}"));
    hand.repairs(&["group-disabled"]).await;
    assert_eq!(hand.groups().await[0], (readers.clone(), policy.clone()));
    hand.admin(&format!("group add {writers} {bob}"));
    hand.repairs(&["member-too-many"]).await;
    hand.admin(&format!("group remove {writers} {alice}"));
    hand.repairs(&["member-missing"]).await;
    hand.admin("user add stranger a-secret-of-it");
    hand.admin(&format!("group add {writers} stranger"));
    hand.repairs(&["stranger-in-group"]).await;
    assert!(hand.everything().await.users.contains_key("stranger"));
    hand.admin(&format!("policy detach {policy} --group {readers}"));
    hand.admin(&format!("group remove {readers} {bob}"));
    hand.admin(&format!("group remove {readers}"));
    hand.repairs(&["group-missing", "member-missing"]).await;
    hand.mc(&["rm", "--recursive", "--force", &format!("lake/{}/groups-warehouse/KBase/", hand.world.bucket)]);
    hand.repairs(&["folder-missing"]).await;
    hand.is_well().await;
}

#[tokio::test]
async fn what_is_not_ours_to_change_is_told() {
    let hand = Hand::new().await;
    let (user, policy) = hand.user("alice").await;
    hand.admin("user add stranger a-secret-of-it");
    hand.admin(&format!("policy attach {policy} --user stranger"));
    hand.admin("group add strangers stranger");
    hand.leaves(&["policy-with-stranger"]).await;
    hand.admin(&format!("group add strangers {user}"));
    hand.leaves(&["policy-with-stranger", "in-foreign-group"]).await;
    // As another Lakepass's would be named, on the same MinIO.
    hand.admin("user add lakepass-alice-000000000000 a-secret-of-it");
    hand.admin("group add lakepass-KBase-000000000000-readers lakepass-alice-000000000000");
    hand.put_policy("lakepass-alice-000000000000-0000000000000000");
    hand.leaves(&["policy-with-stranger", "in-foreign-group", "unknown"]).await;
    hand.is_well().await;
}

#[tokio::test]
async fn two_deployments_on_one_minio_leave_each_other_alone() {
    let hand = Hand::new().await;
    let other = World::on(&hand._minio, &[]).await;
    let (alice, erin) = (other.person("alice").await, other.person("erin").await);
    other.members("KBase", &[("erin", "writer")], &[]).await;
    hand.leaves(&["unknown"]).await;
    for repair in other.broker.reconcile().await.unwrap() {
        assert_eq!(repair.drift.kind, Kind::Unknown);
    }
    hand.is_well().await;
    assert!(other.can_put(&other.session(&alice, json!("lake")).await, "users-warehouse/alice/x").await);
    assert!(other.can_put(&other.session(&erin, json!("lake")).await, "groups-warehouse/KBase/x").await);
}

#[tokio::test]
async fn leftovers_that_are_certainly_ours_go() {
    let hand = Hand::new().await;
    let (_, policy) = hand.user("alice").await;
    let base = policy.rsplit_once('-').unwrap().0;
    let [(readers, _), _] = hand.groups().await;
    hand.admin("user add lakepass-alice-000000000000 a-secret-of-it");
    hand.admin(&format!("policy attach {policy} --user lakepass-alice-000000000000"));
    hand.put_policy(&format!("{base}-0000000000000000"));
    hand.put_policy(&format!("{readers}-0000000000000000"));
    hand.repairs(&["leftover-user", "leftover-policy"]).await;
    hand.is_well().await;
}

/// What a try of the listing leaves behind that was killed goes; what one has that is under way stays, and nobody is told.
#[tokio::test]
async fn a_canary_that_was_left_behind_goes() {
    let hand = Hand::new().await;
    let now = jiff::Timestamp::now().as_second();
    let name = |bucket: &str, since: i64| format!("lakepass-Canary-{bucket}-{since}-000000000000");
    let ours = hand.world.ledger_bucket.as_str();
    let canary = |name: &str| {
        hand.admin(&format!("user add {name} a-secret-of-it"));
        hand.put_policy(&format!("{name}-policy"));
        hand.admin(&format!("policy attach {name}-policy --user {name}"));
    };
    canary(&name(ours, now));
    canary(&name(ours, now - 3600));
    hand.repairs(&["leftover-user", "leftover-policy"]).await;
    // Killed before the user was there, or after it was gone.
    hand.put_policy(&format!("{}-policy", name(ours, now - 3600)));
    hand.repairs(&["leftover-policy"]).await;
    canary(&name("anothers-ledger", now));
    hand.leaves(&[]).await;
    canary(&name("anothers-ledger", now - 3600));
    hand.leaves(&["unknown"]).await;
    let left = hand.everything().await;
    assert!(left.users.contains_key(&name(ours, now)), "it may be under way");
    assert!(left.policies.contains_key(&format!("{}-policy", name(ours, now))));
    hand.is_well().await;
}

/// The try fails in the middle, and takes away what it made.
#[tokio::test(flavor = "multi_thread")]
async fn a_canary_that_fails_leaves_nothing() {
    let minio = start_minio().await;
    let mut proxy = CountingProxy::to(minio.address).await;
    let world = World::on(&minio, &[("LAKEPASS_MINIO_URL", &proxy.url)]).await;
    proxy.hold("prefix=canary");
    let (checked, ()) = tokio::join!(world.broker.check_listing(), proxy.holds());
    assert!(checked.is_err(), "{checked:?}");
    proxy.release();
    let all = everything(&world).await;
    assert!(!all.users.keys().chain(all.policies.keys()).any(|name| name.contains("-Canary-")), "{all:?}");
}

#[tokio::test]
async fn what_broke_off_is_finished_and_no_data_goes() {
    let hand = Hand::new().await;
    let key = hand.document("users/alice.json").await["lake_keys"][0].clone();
    let (user, _) = hand.user("alice").await;
    // A crash after the next lake key was noted, and one after it was made.
    let mut document = hand.document("users/alice.json").await;
    let next = json!({"access_key": "LKNEVERMADE00000", "created_at": "2026-01-01T00:00:00Z"});
    // Derived ones are made when they are asked for, and live on beside others.
    let derived = |name: &str| json!({"access_key": name, "created_at": "2026-01-01T00:00:00Z", "derived": true});
    let (earlier, later) = (derived("LKDERIVED0000000"), derived("LKDERIVED0000001"));
    document["lake_keys"] = json!([earlier, key, next, later]);
    hand.write("users/alice.json", document).await;
    hand.repairs(&["lake-key-unfinished"]).await;
    let left = hand.document("users/alice.json").await["lake_keys"].clone();
    assert_eq!(left, json!([earlier, key, later]), "the one that was shown stays");
    hand.mc(&["admin", "user", "svcacct", "add", "lake", &user, "--access-key", "BYHAND0000000000"]);
    hand.repairs(&["access-key-unknown"]).await;
    assert!(hand.everything().await.access_keys.values().all(|keys| !keys.contains("BYHAND0000000000")));
    hand.is_well().await;
    let mut document = hand.document("groups/kbase.json").await;
    document["deleting"] = json!(true);
    hand.write("groups/kbase.json", document).await;
    hand.repairs(&["member-too-many", "deletion-unfinished"]).await;
    assert!(hand.everything().await.groups.is_empty());
    for (purging, expected) in [(true, "purge-unfinished"), (false, "deletion-unfinished")] {
        let mut document = hand.document("users/alice.json").await;
        (document["state"], document["purging"]) = (json!("deleting"), json!(purging));
        hand.write("users/alice.json", document).await;
        if purging {
            // The data waits for somebody to ask again; the access does not.
            let repairs = hand.world.broker.reconcile().await.unwrap();
            assert_eq!(
                kinds(repairs.iter().map(|repair| repair.drift.kind)),
                ["user-retired", expected],
                "{repairs:?}"
            );
            assert!(!hand.everything().await.users.keys().any(|name| name.starts_with("lakepass-alice")));
            hand.leaves(&[expected]).await;
        } else {
            hand.repairs(&["deletion-unfinished"]).await;
        }
    }
    assert!(!hand.everything().await.users.keys().any(|name| name.starts_with("lakepass-alice")));
    let root = hand.world.root();
    for key in ["users-warehouse/alice/x/seed", "users-warehouse/alice/y", "groups-warehouse/KBase/y"] {
        assert!(hand.world.can_get(&root, key).await, "{key}");
    }
    let bobs = hand.world.session(&hand.bob, json!("lake")).await;
    assert!(!hand.world.can_get(&bobs, "users-warehouse/alice/x/seed").await);
}

#[tokio::test]
async fn a_document_that_cannot_be_read_takes_nobody_down() {
    let hand = Hand::new().await;
    let keys = hand.world.session(&hand.alice, json!("lake")).await;
    let (bob, _) = hand.user("bob").await;
    for path in ["users/alice.json", "groups/kbase.json"] {
        hand.write(path, "{").await;
    }
    hand.leaves(&["document-unreadable"]).await;
    assert!(hand.world.can_put(&keys, "users-warehouse/alice/y").await);
    assert!(hand.world.can_put(&keys, "groups-warehouse/KBase/y").await);
    // Others are repaired all the same.
    hand.world.person("carol").await;
    hand.admin(&format!("user disable {}", hand.user("carol").await.0));
    hand.admin(&format!("user disable {bob}"));
    let repairs = hand.world.broker.reconcile().await.unwrap();
    let done = repairs.iter().filter(|repair| matches!(repair.mended, Mended::Done));
    let done: Vec<String> = done.map(|repair| repair.drift.of.as_ref().unwrap().to_string()).collect();
    assert_eq!(done, ["user bob", "user carol"]);
}

#[tokio::test]
async fn operators_see_and_repair_drift() {
    let hand = Hand::new().await;
    let world = &hand.world;
    let admin = world.admin().await;
    for (method, path) in [(reqwest::Method::GET, "/admin/drift"), (reqwest::Method::POST, "/admin/reconcile")] {
        assert_eq!(world.call(&hand.alice, method, path, Value::Null).await.status, 403);
    }
    let run = |arguments: &[&str]| {
        let output = program(world, arguments).output().unwrap();
        (output.status.code(), said(&output))
    };
    assert_eq!(run(&["drift"]), (Some(0), "MinIO is as the ledger says.\n".into()));
    let (user, policy) = hand.user("alice").await;
    hand.admin(&format!("user disable {user}"));
    hand.admin(&format!("policy attach {policy} --user {}", hand.user("bob").await.0));
    let before = format!("{:?}", hand.everything().await);
    let drift = world.get(&admin, "/admin/drift").await;
    assert_eq!(drift.status, 200, "{}", drift.json);
    assert_eq!(
        drift.json["drift"][0],
        json!({"kind": "user-disabled", "subject": "user alice",
            "detail": format!("the MinIO user `{user}` is disabled, and the account is not")})
    );
    assert_eq!(
        (&drift.json["drift"][1]["kind"], drift.json["drift"].as_array().unwrap().len()),
        (&json!("policy-attached"), 2)
    );
    // The MinIO of these tests can be talked past.
    assert!(drift.json["warnings"][0].as_str().unwrap().contains("talked past"), "{}", drift.json);
    let dry = world.post(&admin, "/admin/reconcile", json!({"dry_run": true})).await;
    assert_eq!((dry.status, &dry.json["repairs"][1]["outcome"]), (200, &json!("found")), "{}", dry.json);
    for arguments in [&["drift"][..], &["reconcile", "--dry-run"]] {
        let (status, text) = run(arguments);
        assert_eq!((status, text.lines().count()), (Some(3), 2), "{text}");
        assert!(text.starts_with("user-disabled: the MinIO user"), "{text}");
    }
    assert_eq!(format!("{:?}", hand.everything().await), before, "nothing was changed");
    let repaired = world.post(&admin, "/admin/reconcile", Value::Null).await;
    assert_eq!((repaired.status, &repaired.json["repairs"][0]["outcome"]), (200, &json!("repaired")));
    assert_eq!(world.get(&admin, "/admin/drift").await.json["drift"], json!([]));
    hand.admin(&format!("user disable {user}"));
    let (status, text) = run(&["reconcile"]);
    assert_eq!(status, Some(0), "{text}");
    assert!(text.starts_with("repaired: user-disabled: "), "{text}");
    // By itself, in any number of replicas.
    hand.admin(&format!("user disable {user}"));
    let mut replicas: Vec<_> = (0..2)
        .map(|_| {
            let (listen, metrics) = (free_address(), free_address());
            let mut command = program(world, &["serve"]);
            command.env("LAKEPASS_LISTEN", listen).env("LAKEPASS_METRICS_LISTEN", &metrics);
            (command.env("LAKEPASS_RECONCILE_EVERY", "1").spawn().unwrap(), metrics)
        })
        .collect();
    eventually("it is repaired", Duration::from_secs(30), async || hand.found().await.is_empty()).await;
    let metrics = async || {
        let mut all = String::new();
        for (_, address) in &replicas {
            if let Ok(answer) = world.http.get(format!("http://{address}/metrics")).send().await {
                all += &answer.text().await.unwrap();
            }
        }
        all
    };
    eventually("metrics tell", Duration::from_secs(30), async || {
        let metrics = metrics().await;
        metrics.contains(r#"lakepass_repairs_total{kind="user-disabled",outcome="repaired"} "#)
            && metrics.contains(r#"lakepass_drift{kind="user-disabled"} 0"#)
            && metrics.contains("lakepass_reconcile_last_success_timestamp_seconds ")
            && metrics.contains("lakepass_reconcile_duration_seconds_count ")
    })
    .await;
    for (replica, _) in &mut replicas {
        signal(replica, "TERM");
        assert!(replica.wait().unwrap().success());
    }
    hand.is_well().await;
}
