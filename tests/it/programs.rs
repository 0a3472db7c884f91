//! The program itself: `lakepass serve` and `lakepass dev`, as an operator starts and stops them.

use std::{
    fs,
    io::Read,
    os::unix::fs::PermissionsExt,
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

use secrecy::ExposeSecret;
use serde_json::{Value, json};

use crate::support::{CountingProxy, World, eventually, shared_minio, start_minio};

pub fn lakepass(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lakepass"));
    command.args(arguments).env_clear().env("PATH", std::env::var_os("PATH").unwrap());
    command.current_dir(env!("CARGO_MANIFEST_DIR")).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

pub fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill").args([&format!("-{name}"), &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
}

pub fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.as_slice(), &output.stderr].concat()).into_owned()
}

/// A port that was free a moment ago.
pub fn free_address() -> String {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

#[tokio::test]
async fn serve_works_from_a_file_and_secret_files_and_finishes_what_is_under_way() {
    let minio = start_minio().await;
    // Its auth service and its people are what is needed of it.
    let world = World::on(&minio, &[]).await;
    let alice = world.stranger("alice", &["BERDL_USER"]);
    let folder = tempfile::tempdir().unwrap();
    let (config, secret) = (folder.path().join("lakepass.toml"), folder.path().join("secret"));
    fs::write(&secret, format!("{}\n", minio.root_password.expose_secret())).unwrap();
    let listen = free_address();
    let auth = world.auth.as_ref().unwrap().url();
    fs::write(
        &config,
        format!(
            "listen = '{listen}'\nminio_url = '{}'\nminio_root_user = '{}'\nminio_root_password_file = '{}'\n\
             kbase_auth_url = '{auth}'\nrequired_roles = ['BERDL_USER']\nbucket = 'no-lake'\nledger_bucket = 'a-ledger'\n",
            minio.url(),
            minio.root_user,
            secret.display()
        ),
    )
    .unwrap();
    let mut command = lakepass(&["serve", "--config", config.to_str().unwrap()]);
    let mut serving = command.env("LAKEPASS_BUCKET", "lake-of-serve").spawn().unwrap();
    let url = format!("http://{listen}");
    eventually("it is ready", Duration::from_secs(10), async || {
        world.http.get(format!("{url}/readyz")).send().await.is_ok_and(|answer| answer.status() == 200)
    })
    .await;
    let ask = || world.http.post(format!("{url}/sessions")).header("authorization", &alice.token).send();
    let keys: Value = ask().await.unwrap().json().await.unwrap();
    assert_eq!(keys["spark"]["spark.sql.warehouse.dir"], "s3a://lake-of-serve/users-warehouse/alice/");
    // One is under way when the end is asked for.
    minio.signal("STOP").unwrap();
    let under_way = async {
        let answer = ask().await.unwrap();
        answer.status().as_u16()
    };
    let end = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        signal(&serving, "TERM");
        tokio::time::sleep(Duration::from_millis(300)).await;
        minio.signal("CONT").unwrap();
    };
    let (status, ()) = tokio::join!(under_way, end);
    assert_eq!(status, 200);
    eventually("it ends", Duration::from_secs(5), async || serving.try_wait().unwrap().is_some()).await;
    assert!(serving.wait().unwrap().success());
    let mut log = String::new();
    serving.stderr.take().unwrap().read_to_string(&mut log).unwrap();
    for secret in ["secret_access_key", "session_token"].map(|name| keys[name].as_str().unwrap()) {
        assert!(!log.contains(secret));
    }
    assert!(
        !log.contains(minio.root_password.expose_secret())
            && !log.contains(&alice.token)
            && log.contains("issue session")
    );
}

#[test]
fn serve_lists_every_mistake_and_quotes_no_secret() {
    let mut command = lakepass(&["serve"]);
    command.env("LAKEPASS_MINIO_ROOT_PASSWORD", "SHORT").env("LAKEPASS_LISTEN", "nowhere");
    let output = command.env("LAKEPASS_SESSION_MAX", "many").output().unwrap();
    let said = said(&output);
    assert!(!output.status.success());
    for name in ["MINIO_URL", "MINIO_ROOT_USER", "MINIO_ROOT_PASSWORD", "LISTEN", "SESSION_MAX", "KBASE_AUTH_URL"] {
        assert!(said.contains(&format!("LAKEPASS_{name}")), "{name} in {said}");
    }
    assert!(!said.contains("SHORT"), "{said}");
}

/// The pinned MinIO can be talked past its policies; behind something that takes the header away, it cannot.
#[tokio::test(flavor = "multi_thread")]
async fn check_tells_whether_listing_can_be_talked_past() {
    let minio = shared_minio();
    let stripping = CountingProxy::stripping(minio.address, "prefix").await;
    for (url, mended) in [(minio.url(), false), (stripping.url, true)] {
        let mut check = lakepass(&["check"]);
        let check = check
            .env("LAKEPASS_MINIO_URL", url)
            .env("LAKEPASS_MINIO_ROOT_USER", &minio.root_user)
            .env("LAKEPASS_MINIO_ROOT_PASSWORD", minio.root_password.expose_secret())
            .env("LAKEPASS_KBASE_AUTH_URL", "http://127.0.0.1:1/")
            .env("LAKEPASS_BUCKET", "lake-of-check")
            .env("LAKEPASS_LEDGER_BUCKET", "ledger-of-check");
        let output = tokio::process::Command::from(std::mem::replace(check, lakepass(&[]))).output().await.unwrap();
        assert_eq!(output.status.success(), mended, "{}", said(&output));
        assert_eq!(said(&output).contains("talked past"), !mended, "{}", said(&output));
    }
}

#[test]
fn dev_listens_on_loopback_only() {
    for option in ["--listen", "--minio-listen", "--console-listen"] {
        for address in ["0.0.0.0:0", "192.0.2.1:0", "[::]:0"] {
            let folder = tempfile::tempdir().unwrap();
            let dir = folder.path().join("lake");
            let output = lakepass(&["dev", "--dir", dir.to_str().unwrap(), option, address]).output().unwrap();
            assert!(!output.status.success() && said(&output).contains("loopback"), "{option} {address}");
            assert!(!dir.exists());
        }
    }
}

#[tokio::test]
async fn dev_is_ready_when_it_says_so_and_comes_back_with_everything() {
    shared_minio();
    let http = reqwest::Client::new();
    let folder = tempfile::tempdir().unwrap();
    let (dir, ready_file) = (folder.path().join("lake"), folder.path().join("ready.json"));
    let any = "127.0.0.1:0";
    let mut secrets = Vec::new();
    for (round, end) in ["TERM", "INT"].into_iter().enumerate() {
        // It installs nothing: what it needs is in the tools folder by now.
        let mut dev = lakepass(&["dev", "--dir", dir.to_str().unwrap(), "--ready-file", ready_file.to_str().unwrap()])
            .args(["--listen", any, "--minio-listen", any, "--console-listen", any])
            .spawn()
            .unwrap();
        eventually("a ready file", Duration::from_secs(30), async || ready_file.exists()).await;
        assert_eq!(fs::metadata(&ready_file).unwrap().permissions().mode() & 0o777, 0o600);
        let ready: Value = serde_json::from_slice(&fs::read(&ready_file).unwrap()).unwrap();
        let text = |name: &str| ready[name].as_str().unwrap_or_else(|| panic!("{name} in {ready}")).to_owned();
        for url in ["minio_url", "console_url", "auth_url", "url"].map(text) {
            http.get(&url).send().await.unwrap_or_else(|error| panic!("round {round}, {url} of {ready}: {error:?}"));
        }
        secrets.push((text("minio_root_password"), ready["tokens"].to_string()));
        let call = async |person: &str, method: &str, path: &str, body: Value| {
            let token = ready["tokens"][person].as_str().unwrap();
            let request = http.request(method.parse().unwrap(), format!("{}{path}", text("url")));
            let answer = request.header("authorization", token).json(&body).send().await.unwrap();
            (answer.status().as_u16(), answer.json::<Value>().await.unwrap_or_default())
        };
        for (person, groups) in [("alice", json!(["KBase"])), ("bob", json!(["KBase"])), ("carol", json!(["BER"]))] {
            let me = call(person, "GET", "/me", Value::Null).await.1;
            let names: Vec<&Value> = me["groups"].as_array().unwrap().iter().map(|group| &group["group"]).collect();
            assert_eq!(json!(names), groups, "{person}");
        }
        assert_eq!(call("alice", "GET", "/admin/groups", Value::Null).await.0, 403);
        let groups = call("dana", "GET", "/admin/groups", Value::Null).await.1;
        assert_eq!(groups["groups"], json!(["ber", "cdm_science", "kbase"]));
        if round == 0 {
            let share = json!({"path": "users-warehouse/alice/run7/", "with_users": ["carol"]});
            assert_eq!(call("alice", "POST", "/users/alice/share", share).await.0, 200);
        }
        let carol = call("carol", "GET", "/me", Value::Null).await.1;
        assert_eq!(carol["grants_received"][0]["given_by"], "alice", "round {round}");
        let minio = text("minio_url");
        signal(&dev, end);
        eventually("it ends", Duration::from_secs(10), async || dev.try_wait().unwrap().is_some()).await;
        assert!(dev.wait().unwrap().success());
        assert!(http.get(&minio).send().await.is_err(), "MinIO has ended as well");
        assert!(!ready_file.exists(), "nobody is sent to what has ended");
    }
    assert_eq!(secrets[0], secrets[1]);
}
