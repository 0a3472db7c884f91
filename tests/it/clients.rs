//! Ordinary clients use the keys: `mc`, and an AWS SDK of another language.

use std::{path::Path, process::Command};

use lakepass::dev::MC;
use serde_json::json;

use crate::support::{Keys, World, tools};

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
    let mc = MC.find_or_install(&tools()).unwrap();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("mc").join(&world.bucket);
    let said =
        Command::new(mc).arg("--config-dir").arg(folder).args(arguments).env("MC_HOST_lake", host).output().unwrap();
    let text = [said.stdout, said.stderr].concat();
    Said { ok: said.status.success(), text: String::from_utf8_lossy(&text).to_lowercase_errors() }
}

trait LowercaseErrors {
    fn to_lowercase_errors(&self) -> String;
}

impl LowercaseErrors for str {
    /// MinIO spells "Access Denied" in several ways.
    fn to_lowercase_errors(&self) -> String {
        self.replace("Denied", "denied")
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
        assert!(!said.ok && said.text.contains("denied"), "{refused:?}: {}", said.text);
    }
}

const BOTO: &str = r#"
import json, sys, boto3
from botocore.exceptions import ClientError
k = json.load(sys.stdin)
s3 = boto3.client("s3", endpoint_url=k["endpoint"], region_name="us-east-1", aws_access_key_id=k["access_key_id"],
                  aws_secret_access_key=k["secret_access_key"], aws_session_token=k["session_token"])
s3.put_object(Bucket=k["bucket"], Key="users-warehouse/bob/table/part-0", Body=b"x" * (6 << 20))
assert s3.get_object(Bucket=k["bucket"], Key="users-warehouse/bob/table/part-0")["ContentLength"] == 6 << 20
keys = [o["Key"] for o in s3.list_objects_v2(Bucket=k["bucket"], Prefix="users-warehouse/bob/table/")["Contents"]]
assert keys == ["users-warehouse/bob/table/part-0"], keys
s3.delete_objects(Bucket=k["bucket"], Delete={"Objects": [{"Key": keys[0]}]})
for call, kw in [(s3.get_object, {"Key": "users-warehouse/alice/seed"}), (s3.list_objects_v2, {"Prefix": "users-warehouse/"}),
                 (s3.put_object, {"Key": "users-warehouse/bobby/x", "Body": b""})]:
    try:
        call(Bucket=k["bucket"], **kw)
        sys.exit(f"{call.__name__} {kw} was allowed")
    except ClientError as error:
        assert error.response["Error"]["Code"] == "AccessDenied", error
print("as it should be")
"#;

#[tokio::test]
async fn boto3_uses_session_keys() {
    let world = World::new().await;
    world.seed("users-warehouse/alice/seed").await;
    let bob = world.person("bob").await;
    let mut keys = world.post(&bob, "/sessions", json!({})).await.json;
    keys["endpoint"] = json!(world.minio_url);
    keys["bucket"] = json!(world.bucket);
    let python = std::env::var("LAKEPASS_TEST_PYTHON").unwrap_or_else(|_| "python3".into());
    let mut child = Command::new(python)
        .args(["-c", BOTO])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("python3 is needed, with boto3: `pip install boto3==1.44.5`");
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), keys.to_string().as_bytes()).unwrap();
    let said = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&said.stderr);
    assert!(said.status.success(), "(boto3 is needed: `pip install boto3==1.44.5`) {text}");
}
