//! The ledger: guarded from everybody's keys, kept in versions, exported and restored; a damaged document harms nobody else.

use std::io::Write;

use lakepass::broker::{Kind, MAX_FROM_ONE, Run};
use serde_json::{Value, json};

use crate::{
    programs::{lakepass, said},
    support::{Keys, Person, World, start_minio},
};

async fn document(world: &World, path: &str) -> Vec<u8> {
    let got = world.s3(&world.root()).get_object().bucket(&world.ledger_bucket).key(path).send().await.unwrap();
    got.body.collect().await.unwrap().to_vec()
}

/// Writes a document, as a hand or a failing disk could.
async fn write(world: &World, path: &str, body: &[u8]) {
    let s3 = world.s3(&world.root());
    s3.put_object().bucket(&world.ledger_bucket).key(path).body(body.to_vec().into()).send().await.unwrap();
}

fn edited(document: &[u8], edit: impl Fn(&mut Value)) -> Vec<u8> {
    let mut document: Value = serde_json::from_slice(document).unwrap();
    edit(&mut document);
    serde_json::to_vec(&document).unwrap()
}

#[tokio::test]
async fn a_users_damaged_document_is_not_guessed_at_and_harms_nobody_else() {
    let world = World::new().await;
    let (admin, alice, bob) = (world.admin().await, world.person("alice").await, world.person("bob").await);
    let carol = world.person("carol").await;
    world.members("KBase", &[("alice", "writer"), ("bob", "writer")], &[]).await;
    world.share(&alice, "users-warehouse/alice/x", &["bob"], &[], "read").await;
    world.seed("users-warehouse/alice/x/seed").await;
    let keys = world.session(&bob, json!("granted")).await;
    let (good, alices) = (document(&world, "users/bob.json").await, document(&world, "users/alice.json").await);
    let alices: Value = serde_json::from_slice(&alices).unwrap();
    let damages = [
        b"nonsense".to_vec(),
        good[..good.len() / 2].to_vec(),
        edited(&good, |doc| doc["surprise"] = json!(1)),
        edited(&good, |doc| doc["grants"] = json!({"../*": {}})),
        edited(&good, |doc| doc["username"] = json!("carol")),
        edited(&good, |doc| doc["session_user"]["user"] = alices["session_user"]["user"].clone()),
        edited(&good, |doc| doc["retired"] = json!(["lakeroot"])),
    ];
    for damage in damages {
        write(&world, "users/bob.json", &damage).await;
        let refused = [
            world.post(&bob, "/sessions", json!({})).await,
            world.get(&bob, "/users/bob").await,
            world.post(&admin, "/admin/users/bob/disable", Value::Null).await,
            world.delete(&admin, "/admin/users/bob").await,
            world.post(&admin, "/groups/KBase", json!({"remove_members": ["bob"]})).await,
            world.delete(&bob, "/sessions").await,
        ];
        for answer in refused {
            assert_eq!(answer.status, 500, "{}", answer.json);
            assert_eq!(answer.json["type"], "urn:lakepass:problem:ledger-damaged");
        }
        let body = json!({"path": "users-warehouse/alice/y", "with_users": ["bob", "carol"]});
        let answer = world.post(&alice, "/users/alice/share", body).await;
        assert_eq!(answer.status, 207, "{}", answer.json);
        assert_eq!((&answer.json["results"][0]["ok"], &answer.json["results"][1]["ok"]), (&json!(false), &json!(true)));
        assert!(document(&world, "users/bob.json").await == damage, "it was changed");
        // Nobody loses anything.
        assert!(world.can_get(&keys, "users-warehouse/alice/x/seed").await);
        assert!(world.can_put(&keys, "groups-warehouse/KBase/x").await);
        world.members("KBase", &[("carol", "reader")], &[]).await;
        assert!(world.can_put(&world.session(&alice, json!("granted")).await, "groups-warehouse/KBase/x").await);
        let who = world.get(&alice, "/access?path=users-warehouse/alice/x").await.json;
        assert_eq!(who["unreadable"], json!(["user bob"]), "{who}");
        assert_eq!(world.get(&alice, "/users/alice").await.status, 200);
        assert_eq!(world.get(&admin, "/admin/users").await.status, 200);
        world.broker.remove_ended_grants().await.unwrap();
        world.unshare(&alice, "users-warehouse/alice/y", &["carol"], &[]).await;
        world.members("KBase", &[], &["carol"]).await;
    }
    drop(carol);
    write(&world, "users/bob.json", &good).await;
    world.session(&bob, json!("granted")).await;
}

#[tokio::test]
async fn a_groups_damaged_document_takes_nothing_from_its_members() {
    let world = World::new().await;
    let (alice, bob) = (world.person("alice").await, world.person("bob").await);
    world.members("KBase", &[("alice", "writer")], &[]).await;
    world.share(&bob, "users-warehouse/bob/x", &[], &["KBase"], "write").await;
    write(&world, "groups/kbase.json", b"{").await;
    // Settles alice.
    world.share(&bob, "users-warehouse/bob/y", &["alice"], &[], "write").await;
    let keys = world.session(&alice, json!("granted")).await;
    for open in ["groups-warehouse/KBase/x", "users-warehouse/bob/x/x", "users-warehouse/bob/y/x"] {
        assert!(world.can_put(&keys, open).await, "{open}");
    }
    assert!(!world.can_put(&keys, "users-warehouse/bob/x").await);
    let admin = world.admin().await;
    let refused = world.post(&admin, "/groups/KBase", json!({"remove_members": ["alice"]})).await;
    assert_eq!(refused.json["type"], "urn:lakepass:problem:ledger-damaged");
    assert_eq!(world.get(&alice, "/groups/KBase").await.status, 500);
    let me = world.get(&alice, "/users/alice").await.json.to_string();
    assert!(me.contains("groups-warehouse/KBase/"), "{me}");
}

#[tokio::test]
async fn a_damaged_document_of_the_lake_takes_nothing_from_anybody() {
    let world = World::new().await;
    let (alice, bob) = (world.person("alice").await, world.person("bob").await);
    let [x, y] = ["users-warehouse/alice/x", "users-warehouse/alice/y"];
    let until = |path, seconds| {
        let end = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(seconds);
        json!({"path": path, "with_users": ["bob"], "access": "write", "expires_at": end.to_string()})
    };
    assert_eq!(world.post(&alice, "/users/alice/share", until(x, 10)).await.status, 200);
    let keys = world.session(&bob, json!("lake")).await;
    let first_key = world.get(&alice, "/credentials/").await.json["access_key"].clone();
    for damage in [&b"nonsense"[..], br#"{"revision": 1, "surprise": 1}"#] {
        write(&world, "lake.json", damage).await;
        let who = world.get(&alice, &format!("/access?path={x}")).await;
        assert!(who.status == 200 && who.json.to_string().contains("bob"), "{}", who.json);
        world.share(&alice, y, &["bob"], &[], "write").await;
        assert!(world.can_put(&keys, &format!("{y}/k")).await);
        // Who has what ends is noted there, so that has to wait.
        for refused in [
            world.post(&alice, "/users/alice/share", until(y, 60)).await.json,
            world.post(&alice, "/credentials/rotate", Value::Null).await.json,
        ] {
            assert!(refused.to_string().contains("lake.json"), "{refused}");
        }
        assert!(document(&world, "lake.json").await == damage, "it was changed");
        assert_eq!(world.get(&alice, "/credentials/").await.json["access_key"], first_key);
        let drift = world.broker.drift().await.unwrap();
        assert!(
            drift.iter().any(|drift| drift.kind == Kind::DocumentUnreadable && drift.at == "lake.json"),
            "{drift:?}"
        );
    }
    tokio::time::sleep(std::time::Duration::from_secs(10)).await;
    world.broker.remove_ended_grants().await.unwrap();
    world.broker.remove_ended_lake_keys().await.unwrap();
    assert!(!world.can_put(&keys, &format!("{x}/k")).await, "ended, though nobody says whose");
    // It holds hints only: a restore, of nothing at all even, makes them anew.
    world.broker.restore_ledger(&[], Run::Real).await.unwrap();
    assert_eq!(world.post(&alice, "/credentials/rotate", Value::Null).await.status, 200);
    assert_eq!(world.post(&alice, "/users/alice/share", until(y, 60)).await.status, 200);
    write(&world, "lake.json", b"{").await;
    world.broker.restore_ledger(&[], Run::Real).await.unwrap();
    let hints: Value = serde_json::from_slice(&document(&world, "lake.json").await).unwrap();
    let both = ["alice", "bob"].map(|name| json!({"kind": "user", "name": name}));
    assert_eq!(hints["expiring"], json!(both), "a key and a share that end");
}

#[tokio::test]
async fn nobody_fills_anothers_document_without_end() {
    let world = World::new().await;
    let (admin, alice, bob) = (world.admin().await, world.person("alice").await, world.person("bob").await);
    world.share(&alice, "users-warehouse/alice/0", &["bob"], &[], "read").await;
    let many = edited(&document(&world, "users/bob.json").await, |doc| {
        let grant = doc["grants"]["users-warehouse/alice/0/"].clone();
        let folder = |i: usize| (format!("users-warehouse/alice/{i}/"), grant.clone());
        doc["grants"] = Value::Object((0..MAX_FROM_ONE).map(folder).collect());
    });
    write(&world, "users/bob.json", &many).await;
    let share = async |who: &Person, path: &str| {
        let body = json!({"path": format!("users-warehouse/{path}"), "with_users": ["bob"], "access": "write"});
        let answer = world.post(who, &format!("/users/{}/share", who.name), body).await;
        (answer.status, answer.json["results"][0]["ok"] == json!(true))
    };
    assert!(!share(&alice, "alice/one-more").await.1);
    // What is there already may change, and others may give as before.
    assert!(share(&alice, "alice/1").await.1 && share(&world.person("carol").await, "carol/x").await.1);
    world.unshare(&alice, "users-warehouse/alice/2", &["bob"], &[]).await;
    assert!(share(&alice, "alice/one-more").await.1);
    let keys = world.session(&bob, json!("granted")).await;
    assert!(world.can_put(&keys, "users-warehouse/alice/one-more/k").await);
    drop(admin);
}

#[tokio::test]
async fn no_keys_of_anybody_reach_the_ledger() {
    let world = World::new().await;
    let (admin, alice) = (world.admin().await, world.person("alice").await);
    let mut all: Vec<Keys> = vec![world.lake_key(&alice).await, world.lake_key(&admin).await];
    for person in [&alice, &admin] {
        for scope in [json!("granted"), json!("lake"), json!([{"path": format!("users-warehouse/{}/", person.name)}])] {
            all.push(world.session(person, scope).await);
        }
    }
    for keys in all {
        let (s3, bucket) = (world.s3(&keys), &world.ledger_bucket);
        assert!(s3.list_objects_v2().bucket(bucket).prefix("users/").send().await.is_err());
        assert!(s3.get_object().bucket(bucket).key("users/alice.json").send().await.is_err());
        assert!(s3.put_object().bucket(bucket).key("users/alice.json").send().await.is_err());
        assert!(s3.delete_object().bucket(bucket).key("users/alice.json").send().await.is_err());
        assert!(s3.list_object_versions().bucket(bucket).send().await.is_err());
        assert!(s3.get_bucket_location().bucket(bucket).send().await.is_err());
    }
    assert!(!document(&world, "users/alice.json").await.is_empty());
}

#[tokio::test]
async fn every_version_of_a_document_is_kept() {
    let world = World::new().await;
    let alice = world.person("alice").await;
    world.lake_key(&alice).await;
    let versions =
        world.s3(&world.root()).list_object_versions().bucket(&world.ledger_bucket).prefix("users/alice.json");
    let versions = versions.send().await.unwrap().versions.unwrap_or_default();
    let mut revisions = std::collections::BTreeSet::new();
    for version in versions {
        let get = world.s3(&world.root()).get_object().bucket(&world.ledger_bucket).key("users/alice.json");
        let got = get.version_id(version.version_id.unwrap()).send().await.unwrap();
        let doc: Value = serde_json::from_slice(&got.body.collect().await.unwrap().into_bytes()).unwrap();
        revisions.insert(doc["revision"].as_u64().unwrap());
    }
    assert!(revisions.len() > 2 && revisions.iter().copied().eq(1..=revisions.len() as u64), "{revisions:?}");
}

#[tokio::test]
async fn the_ledger_is_exported_and_restored() {
    let minio = start_minio().await;
    let world = World::on(&minio, &[]).await;
    let (admin, alice, bob) = (world.admin().await, world.person("alice").await, world.person("bob").await);
    world.person("erin").await;
    world.members("KBase", &[("alice", "steward"), ("bob", "writer")], &[]).await;
    world.share(&alice, "users-warehouse/alice/x", &["bob"], &["KBase"], "read").await;
    world.seed("users-warehouse/alice/x/seed").await;
    let before = world.session(&bob, json!("granted")).await;
    let derived_key = async || Keys::of_lake_key(&world.get(&alice, "/credentials/").await.json);
    let alices_key = derived_key().await;
    let run = |arguments: &[&str]| {
        let mut command = lakepass(&[&["ledger"], arguments].concat());
        command.envs([
            ("LAKEPASS_MINIO_URL", minio.url().as_str()),
            ("LAKEPASS_MINIO_ROOT_USER", "lakeroot"),
            ("LAKEPASS_MINIO_ROOT_PASSWORD", "lakeroot-secret"),
            ("LAKEPASS_KBASE_AUTH_URL", "http://127.0.0.1:1/"),
            ("LAKEPASS_BUCKET", &world.bucket),
            ("LAKEPASS_LEDGER_BUCKET", &world.ledger_bucket),
        ]);
        command.output().unwrap()
    };
    let export = run(&["export"]);
    assert!(export.status.success(), "{}", said(&export));
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&export.stdout).unwrap();
    let file = file.path().to_str().unwrap();
    // Much is lost: a share, a member, a user, a group's document, and what alice's document says; and bob's keys are revoked.
    world.unshare(&alice, "users-warehouse/alice/x", &["bob"], &[]).await;
    world.members("KBase", &[], &["bob"]).await;
    assert_eq!(world.delete(&admin, "/admin/users/erin").await.status, 204);
    assert_eq!(world.delete(&bob, "/sessions").await.status, 204);
    assert_eq!(world.delete(&admin, "/admin/users/alice/sessions?lake_keys=true").await.status, 204);
    write(&world, "groups/kbase.json", b"").await;
    write(&world, "users/alice.json", b"{").await;
    let export = run(&["export"]);
    assert!(!export.status.success() && said(&export).contains("users/alice.json"), "{}", said(&export));
    let dry = run(&["restore", file]);
    for line in
        ["users/alice.json: mended", "users/bob.json: replaced", "users/erin.json: new", "groups/kbase.json: new"]
    {
        assert!(said(&dry).contains(line), "{line} in {}", said(&dry));
    }
    assert_eq!(world.post(&alice, "/sessions", json!({})).await.status, 500, "a dry run changes nothing");
    let real = run(&["restore", file, "--apply"]);
    assert!(real.status.success(), "{}", said(&real));
    let bobs = world.session(&bob, json!("granted")).await;
    assert!(world.can_get(&bobs, "users-warehouse/alice/x/seed").await);
    assert!(world.can_put(&bobs, "groups-warehouse/KBase/x").await);
    assert!(!world.can_get(&before, "users-warehouse/alice/x/seed").await, "revoked keys stay dead");
    let alices = world.session(&alice, json!("granted")).await;
    assert!(
        world.can_put(&alices, "users-warehouse/alice/x/y").await
            && world.can_put(&alices, "groups-warehouse/KBase/y").await
    );
    assert!(world.can_put(&derived_key().await, "users-warehouse/alice/x/y").await);
    assert!(!world.can_put(&alices_key, "users-warehouse/alice/x/y").await, "nor are they made again");
    assert_eq!(world.get(&admin, "/users/erin").await.status, 200);
    let again = run(&["restore", file]);
    assert!(!said(&again).contains("replaced") && !said(&again).contains("new"), "{}", said(&again));
    // Some of the lines will do: a group's members get and lose what it says.
    world.members("KBase", &[("erin", "writer")], &["bob"]).await;
    let erin = world.person("erin").await;
    let erins = world.session(&erin, json!("lake")).await;
    let group = std::fs::read_to_string(file).unwrap();
    let group = group.lines().find(|line| line.contains("groups/kbase.json")).unwrap().to_owned();
    let mut some = tempfile::NamedTempFile::new().unwrap();
    writeln!(some, "{group}").unwrap();
    let real = run(&["restore", some.path().to_str().unwrap(), "--apply"]);
    assert!(real.status.success(), "{}", said(&real));
    assert!(world.can_put(&bobs, "groups-warehouse/KBase/x").await);
    assert!(!world.can_put(&erins, "groups-warehouse/KBase/x").await);
    // What is no ledger is refused as a whole.
    let mut wrong = tempfile::NamedTempFile::new().unwrap();
    writeln!(wrong, r#"{{"path": "users/bob.json", "document": {{"username": "bob"}}}}"#).unwrap();
    let refused = run(&["restore", wrong.path().to_str().unwrap(), "--apply"]);
    assert!(!refused.status.success() && said(&refused).contains("users/bob.json"), "{}", said(&refused));
}
