//! Lakepass as a MinIO user of its own, with `deploy/minio-policy.json` and nothing else.

use lakepass::{
    broker::{Mended, Repair},
    dev::{MC, minio_server::MinioServer},
};
use serde_json::{Value, json};

use crate::support::{Answer, Keys, World, start_minio, tool};

const POLICY: &str = include_str!("../../deploy/minio-policy.json");

/// As an operator does it.
async fn mc(minio: &MinioServer, arguments: &[&str]) -> String {
    let root = format!("http://{}:{}@{}", minio.root_user, "lakeroot-secret", minio.url().replace("http://", ""));
    let mut command = tokio::process::Command::new(tool(MC));
    let said = command.args(arguments).env("MC_HOST_lake", root).output().await.unwrap();
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    String::from_utf8_lossy(&said.stdout).into_owned()
}

async fn put_policy(minio: &MinioServer, policy: &Value) {
    let file = tempfile::NamedTempFile::new().unwrap();
    serde_json::to_writer(&file, policy).unwrap();
    mc(minio, &["admin", "policy", "create", "lake", "broker", file.path().to_str().unwrap()]).await;
}

/// As somebody does it by mistake.
async fn disable_groups(minio: &MinioServer, prefix: &str) {
    let groups = mc(minio, &["admin", "group", "list", "lake"]).await;
    for group in groups.split_whitespace().filter(|name| name.starts_with(prefix)) {
        mc(minio, &["admin", "group", "disable", "lake", group]).await;
    }
}

/// All that Lakepass does at MinIO, once; or the first thing that went wrong.
async fn a_life(minio: &MinioServer, world: &World, n: usize) -> Result<(), String> {
    let good = |what: &str, answer: Answer| {
        if answer.status < 300 { Ok(answer) } else { Err(format!("{what}: {} {}", answer.status, answer.json)) }
    };
    let (ada, ben) = (format!("ada{n}"), format!("ben{n}"));
    let (dana, [ada, ben]) = (world.admin().await, [&ada, &ben].map(|name| world.stranger(name, &["BERDL_USER"])));
    world.broker.prepare().await.map_err(|error| error.to_string())?;
    for person in [&ada, &ben] {
        good("session", world.post(person, "/sessions", json!({})).await)?;
    }
    let lake_key = async || good("lake key", world.post(&ada, &format!("/users/{}", ada.name), Value::Null).await);
    let old = Keys::of_lake_key(&lake_key().await?.json);
    lake_key().await?;
    // MinIO answers "not found" to who may not delete it.
    if world.can_list(&old, &format!("users-warehouse/{}/", ada.name)).await {
        return Err("a key lives on after its rotation".into());
    }
    let share = json!({"path": format!("users-warehouse/{}/x/", ada.name), "with_users": [ben.name]});
    good("share", world.post(&ada, &format!("/users/{}/share", ada.name), share).await)?;
    let group = format!("/groups/group{n}");
    let members =
        json!({"add_members": [{"username": ada.name, "role": "steward"}, {"username": ben.name, "role": "reader"}]});
    good("group", world.post(&dana, &group, members).await)?;
    good("member out", world.post(&dana, &group, json!({"remove_members": [ben.name]})).await)?;
    good("users", world.get(&dana, "/admin/users").await)?;
    good("sessions", world.get(&ada, "/sessions").await)?;
    good("revocation", world.delete(&ada, "/sessions").await)?;
    good("disabled", world.post(&dana, &format!("/admin/users/{}/disable", ben.name), Value::Null).await)?;
    good("enabled", world.post(&dana, &format!("/admin/users/{}/enable", ben.name), Value::Null).await)?;
    disable_groups(minio, &format!("lakepass-group{n}-")).await;
    let repairs = world.broker.reconcile().await.map_err(|error| error.to_string())?;
    // Lives that broke off may leave more to do.
    let of_this = |repair: &&Repair| repair.drift.at.starts_with(&format!("lakepass-group{n}-"));
    let repairs: Vec<&Repair> = repairs.iter().filter(of_this).collect();
    if repairs.len() != 2 || repairs.iter().any(|repair| !matches!(repair.mended, Mended::Done)) {
        return Err(format!("{repairs:?}"));
    }
    world.broker.check_listing().await.map_err(|error| error.to_string())?;
    good("group deleted", world.delete(&dana, &format!("/admin{group}?purge=true")).await)?;
    for person in [&ada, &ben] {
        good("user deleted", world.delete(&dana, &format!("/admin/users/{}?purge=true", person.name)).await)?;
    }
    Ok(())
}

#[tokio::test]
async fn a_minio_user_with_the_policy_of_deploy_is_enough_and_none_of_it_is_too_much() {
    let minio = start_minio().await;
    mc(&minio, &["admin", "user", "add", "lake", "broker", "broker-secret"]).await;
    let buckets = [("LAKEPASS_BUCKET", "a-lake"), ("LAKEPASS_LEDGER_BUCKET", "a-ledger")];
    let policy = POLICY.replace(":::cdm-lake", ":::a-lake").replace(":::lakepass", ":::a-ledger");
    let policy: Value = serde_json::from_str(&policy).unwrap();
    put_policy(&minio, &policy).await;
    mc(&minio, &["admin", "policy", "attach", "lake", "broker", "--user", "broker"]).await;
    let keys = [("LAKEPASS_MINIO_ROOT_USER", "broker"), ("LAKEPASS_MINIO_ROOT_PASSWORD", "broker-secret")];
    let world = World::on(&minio, &[buckets, keys].concat()).await;
    a_life(&minio, &world, 0).await.unwrap();
    let statements = policy["Statement"].as_array().unwrap();
    let all = statements
        .iter()
        .enumerate()
        .flat_map(|(s, statement)| (0..statement["Action"].as_array().unwrap().len()).map(move |a| (s, a)));
    let mut too_much = Vec::new();
    for (n, (s, a)) in all.enumerate() {
        let mut less = policy.clone();
        let dropped = less["Statement"][s]["Action"].as_array_mut().unwrap().remove(a);
        put_policy(&minio, &less).await;
        if a_life(&minio, &world, n + 1).await.is_ok() {
            too_much.push(format!("{dropped} of {}", statements[s]["Sid"]));
        }
    }
    // This build of MinIO deletes access keys for whoever may list them; its own code names this right for it.
    assert_eq!(too_much, [r#""admin:RemoveServiceAccount" of "LakeKeysAndSessions""#]);
}
