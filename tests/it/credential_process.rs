//! `lakepass credentials`: what an AWS profile's `credential_process` prints, from a cache that is for one account only.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};

use jiff::{Timestamp, ToSpan};
use serde_json::{Value, json};
use wiremock::{Mock, MockServer, ResponseTemplate, matchers::method};

use crate::{
    programs::{lakepass, said},
    support::{CountingProxy, Keys, Person, World, eventually},
};

/// An account with a token, and its folders.
struct Account {
    folder: tempfile::TempDir,
    broker: String,
}

impl Account {
    fn new(broker: &str, person: &Person) -> Self {
        let account = Self { folder: tempfile::tempdir().unwrap(), broker: broker.to_owned() };
        fs::write(account.folder.path().join("token"), &person.token).unwrap();
        account
    }

    fn command(&self, options: &[&str]) -> Command {
        let mut command = lakepass(&["credentials"]);
        command.args(options).env("LAKEPASS_URL", &self.broker).env("HOME", self.folder.path());
        command.env("LAKEPASS_TOKEN_FILE", self.folder.path().join("token"));
        command
    }

    async fn run(&self, options: &[&str]) -> Output {
        let mut command = self.command(options);
        tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
    }

    /// What it prints, which must be keys.
    async fn printed(&self, options: &[&str]) -> Value {
        let output = self.run(options).await;
        assert!(output.status.success(), "{}", said(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    async fn key(&self, options: &[&str]) -> String {
        Keys::of_aws(&self.printed(options).await).access_key
    }

    /// Why it prints nothing.
    async fn refusal(&self, options: &[&str]) -> String {
        let output = self.run(options).await;
        assert!(!output.status.success() && output.stdout.is_empty(), "{}", said(&output));
        String::from_utf8(output.stderr).unwrap()
    }

    /// The one file that keeps keys.
    fn cache(&self) -> PathBuf {
        let files = fs::read_dir(self.folder.path().join(".cache/lakepass")).unwrap();
        let mut files = files.map(|file| file.unwrap().path()).filter(|path| path.extension().unwrap() == "json");
        let cache = files.next().unwrap();
        assert_eq!(files.next(), None);
        cache
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test(flavor = "multi_thread")]
async fn it_prints_keys_that_work_keeps_them_for_its_account_and_asks_again_only_for_a_reason() {
    let world = World::new().await;
    let (alice, bob) = (world.person("alice").await, world.person("bob").await);
    let way = CountingProxy::to_broker(&world).await;
    let account = Account::new(&way.url, &alice);
    let output = account.run(&[]).await;
    let printed: Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut names: Vec<&String> = printed.as_object().unwrap().keys().collect();
    names.sort();
    assert_eq!(names, ["AccessKeyId", "Expiration", "SecretAccessKey", "SessionToken", "Version"]);
    assert_eq!(printed["Version"], 1);
    let keys = Keys::of_aws(&printed);
    assert!(world.can_put(&keys, "users-warehouse/alice/x").await);
    assert_eq!((mode(&account.cache()), mode(account.cache().parent().unwrap())), (0o600, 0o700));
    assert!(!fs::read_to_string(account.cache()).unwrap().contains(&alice.token));
    let log = String::from_utf8(output.stderr).unwrap();
    for secret in [&alice.token, &keys.secret_key, keys.session_token.as_ref().unwrap()] {
        assert!(!log.contains(secret.as_str()), "{log}");
    }
    assert_eq!(way.requests(), 1);
    assert_eq!(account.printed(&[]).await, printed);
    assert_eq!(way.requests(), 1, "the second call makes no request");
    // Keys that were revoked are printed until somebody says so.
    assert_eq!(world.delete(&alice, "/sessions").await.status, 204);
    assert_eq!(account.key(&[]).await, keys.access_key);
    let refreshed = account.key(&["--refresh"]).await;
    assert_ne!(refreshed, keys.access_key);
    assert_eq!((account.key(&[]).await, way.requests()), (refreshed, 2));
    // Another request and another token have other keys.
    let home = r#"[{"path":"users-warehouse/alice/only/","access":"read"}]"#;
    let narrow = account.folder.path().join("narrow");
    let narrow = ["--scope", home, "--duration", "900", "--cache-file", narrow.to_str().unwrap()];
    let narrow = Keys::of_aws(&account.printed(&narrow).await);
    assert!(!world.can_put(&narrow, "users-warehouse/alice/x").await);
    fs::write(account.folder.path().join("token"), &bob.token).unwrap();
    let bobs = Keys::of_aws(&account.printed(&[]).await);
    assert!(world.can_put(&bobs, "users-warehouse/bob/x").await);
    account.cache();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_away_is_borne_with_as_long_as_keys_live() {
    let world = World::new().await;
    let alice = world.person("alice").await;
    let way = CountingProxy::to_broker(&world).await;
    let account = Account::new(&way.url, &alice);
    way.cut();
    let refusal = account.refusal(&[]).await;
    assert!(refusal.contains("no keys now") && !refusal.contains(&alice.token), "{refusal}");
    way.mend();
    let key = account.key(&[]).await;
    way.cut();
    assert_eq!(account.key(&[]).await, key);
    assert_eq!(account.key(&["--refresh"]).await, key, "better than nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_keys_are_not_printed() {
    let broker = MockServer::start().await;
    let keys = |life: i64| {
        let expiration = Timestamp::now() + life.seconds();
        let keys = json!({"AccessKeyId": "ID", "SecretAccessKey": "s", "Token": "t", "Expiration": expiration});
        ResponseTemplate::new(200).set_body_json(keys)
    };
    Mock::given(method("GET")).respond_with(keys(6)).up_to_n_times(1).mount(&broker).await;
    Mock::given(method("GET")).respond_with(ResponseTemplate::new(503)).mount(&broker).await;
    let account = Account::new(&broker.uri(), &Person { name: "alice".into(), token: "TOKEN".into() });
    assert_eq!(account.key(&[]).await, "ID");
    eventually("they die", Duration::from_secs(15), async || !account.run(&[]).await.status.success()).await;
    let asked = broker.received_requests().await.unwrap().len();
    assert!(asked >= 3, "{asked}: newer ones were asked for before, and in vain");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_told_in_the_brokers_words() {
    let world = World::new().await;
    let account = Account::new(&world.url, &world.stranger("alice", &[]));
    let refusal = account.refusal(&[]).await;
    assert!(refusal.contains("NotAdmitted") && refusal.contains("BERDL_USER"), "{refusal}");
    fs::remove_file(account.folder.path().join("token")).unwrap();
    assert!(account.refusal(&[]).await.contains("token file"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cache_that_others_can_reach_is_refused() {
    let world = World::new().await;
    let account = Account::new(&world.url, &world.person("alice").await);
    let key = account.key(&[]).await;
    let cache = account.cache();
    for bad in [0o644, 0o640, 0o602] {
        fs::set_permissions(&cache, fs::Permissions::from_mode(bad)).unwrap();
        let refusal = account.refusal(&[]).await;
        assert!(refusal.contains("open to others") && refusal.contains(cache.to_str().unwrap()), "{refusal}");
    }
    fs::set_permissions(&cache, fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(account.key(&[]).await, key);
    let elsewhere = account.folder.path().join("elsewhere");
    fs::rename(&cache, &elsewhere).unwrap();
    symlink(&elsewhere, &cache).unwrap();
    let refusal = account.refusal(&[]).await;
    assert!(refusal.contains("symbolic link"), "{refusal}");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_at_once_ask_the_broker_once() {
    let world = World::new().await;
    let way = CountingProxy::to_broker(&world).await;
    let account = Account::new(&way.url, &world.person("alice").await);
    let keys = futures::future::join_all((0..8).map(|_| account.key(&[]))).await;
    assert!(keys.iter().all(|key| *key == keys[0]), "{keys:?}");
    assert_eq!(way.requests(), 1);
}
