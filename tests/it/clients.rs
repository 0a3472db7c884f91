//! Ordinary clients use the keys: `mc`, and an AWS SDK of another language.

use std::{path::Path, process::Command};

use lakepass::dev::MC;
use serde_json::json;

use crate::{
    go::GoProgram,
    support::{Keys, World, tool},
};

pub struct Said {
    pub ok: bool,
    pub text: String,
}

/// The environment variable by which `mc` knows the alias `lake`: secrets are no arguments.
pub fn mc_host(world: &World, keys: &Keys) -> String {
    let token = keys.session_token.as_ref().map(|token| format!(":{token}")).unwrap_or_default();
    let address = world.minio_url.strip_prefix("http://").unwrap();
    format!("http://{}:{}{token}@{address}", keys.access_key, keys.secret_key)
}

pub fn mc(world: &World, host: &str, arguments: &[&str]) -> Said {
    let mc = tool(MC);
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("mc").join(&world.bucket);
    let said =
        Command::new(mc).arg("--config-dir").arg(folder).args(arguments).env("MC_HOST_lake", host).output().unwrap();
    let text = [said.stdout, said.stderr].concat();
    Said { ok: said.status.success(), text: String::from_utf8_lossy(&text).into_owned() }
}

impl Said {
    /// Refused for want of rights, however `mc` spells that.
    pub fn is_refusal(&self) -> bool {
        !self.ok && ["Access Denied", "Access denied", "Insufficient permissions"].iter().any(|s| self.text.contains(s))
    }
}

#[tokio::test]
async fn mc_uses_session_keys_and_sees_what_is_theirs() {
    let world = World::new().await;
    let (alice, bob) = (world.person("alice").await, world.person("bob").await);
    world.seed("users-warehouse/alice/x/seed").await;
    world.seed("users-warehouse/alice/private/seed").await;
    world.share(&alice, "users-warehouse/alice/x", &["bob"], &[], "read").await;
    let host = mc_host(&world, &world.session(&bob, json!("granted")).await);
    let lake = format!("lake/{}", world.bucket);
    let said = |arguments: &[&str]| mc(&world, &host, arguments);
    let seen = said(&["cat", &format!("{lake}/users-warehouse/alice/x/seed")]);
    assert!(seen.ok && seen.text == "seed", "{}", seen.text);
    let put = said(&["cp", file!(), &format!("{lake}/users-warehouse/bob/code.rs")]);
    assert!(put.ok, "{}", put.text);
    let list = said(&["ls", &format!("{lake}/users-warehouse/bob/")]);
    assert!(list.ok && list.text.contains("code.rs"), "{}", list.text);
    for refused in [
        &["ls", &format!("{lake}/users-warehouse/alice/private/")][..],
        &["cat", &format!("{lake}/users-warehouse/alice/private/seed")],
        &["cp", file!(), &format!("{lake}/users-warehouse/alice/x/code.rs")],
        &["rm", &format!("{lake}/users-warehouse/alice/x/seed")],
    ] {
        let said = said(refused);
        assert!(said.is_refusal(), "{refused:?}: {}", said.text);
    }
}

#[tokio::test]
async fn the_aws_sdk_of_go_uses_session_keys() {
    let world = World::new().await;
    world.seed("users-warehouse/alice/seed").await;
    let bob = world.person("bob").await;
    let mut input = world.post(&bob, "/sessions", json!({})).await.json;
    input["endpoint"] = json!(world.minio_url);
    input["bucket"] = json!(world.bucket);
    input["home"] = json!("users-warehouse/bob/");
    input["others"] = json!(["users-warehouse/alice/", "users-warehouse/", "users-warehouse/bobby/", ""]);
    let said = GoProgram::build("s3").run(&input.to_string());
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
}
