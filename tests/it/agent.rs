//! `lakepass agent`: keys on loopback for one account's SDKs, whatever becomes of the broker, the token and the rights.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use jiff::{Timestamp, ToSpan};
use serde_json::{Value, json};
use wiremock::{Mock, MockServer, ResponseTemplate, matchers::method};

use crate::{
    go::GoProgram,
    programs::{lakepass, said, signal},
    support::{Answer, CountingProxy, Keys, World, eventually},
};

/// What is to be so within seconds.
const SOON: Duration = Duration::from_secs(10);

/// An agent, with the folders of its account.
struct Agent {
    running: Child,
    folder: tempfile::TempDir,
    url: String,
    authorization: String,
    http: reqwest::Client,
}

fn agent(broker: &str, folder: &Path) -> Command {
    let [token, env] = ["token", "env"].map(|name| folder.join(name));
    let mut command = lakepass(&["agent", "--url", broker, "--listen", "127.0.0.1:0"]);
    command.arg("--token-file").arg(token).arg("--env-file").arg(env);
    command.env("XDG_RUNTIME_DIR", folder.join("run"));
    command.stderr(fs::File::create(folder.join("log")).unwrap());
    command
}

/// What an agent says that does not start.
async fn refusal(command: Command) -> String {
    let mut command = tokio::process::Command::from(command);
    let ends = command.stderr(Stdio::piped()).kill_on_drop(true).output();
    let output = tokio::time::timeout(SOON, ends).await.expect("it was not to start").unwrap();
    assert!(!output.status.success());
    said(&output)
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

impl Agent {
    async fn start(broker: &str, token: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("token"), token).unwrap();
        let running = agent(broker, folder.path()).spawn().unwrap();
        let env_file = folder.path().join("env");
        eventually("an environment file", SOON, async || env_file.exists()).await;
        let (url, authorization, http) = (String::new(), String::new(), reqwest::Client::new());
        let mut agent = Self { running, folder, url, authorization, http };
        agent.url = agent.env("AWS_CONTAINER_CREDENTIALS_FULL_URI");
        agent.authorization = fs::read_to_string(agent.authorization_file()).unwrap();
        agent
    }

    /// A variable, as a shell reads it from the environment file.
    fn env(&self, name: &str) -> String {
        let script = format!(". '{}'; printf %s \"${name}\"", self.folder.path().join("env").display());
        String::from_utf8(Command::new("/bin/sh").args(["-c", &script]).output().unwrap().stdout).unwrap()
    }

    fn authorization_file(&self) -> PathBuf {
        self.env("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE").into()
    }

    fn change_token(&self, token: &str) {
        fs::write(self.folder.path().join("token"), token).unwrap();
    }

    async fn asked_with(&self, authorization: &[&str]) -> Answer {
        let request = authorization
            .iter()
            .fold(self.http.get(&self.url), |request, value| request.header("authorization", *value));
        let answer = request.send().await.unwrap();
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        Answer { status, headers, json: answer.json().await.unwrap() }
    }

    async fn asked(&self) -> Answer {
        self.asked_with(&[&self.authorization]).await
    }

    async fn keys(&self) -> Keys {
        let answer = self.asked().await;
        assert_eq!(answer.status, 200, "{}: {}", answer.json, self.log());
        Keys::of_aws(&answer.json)
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    async fn end(&mut self, how: &str) {
        signal(&self.running, how);
        eventually("it ends", Duration::from_secs(5), async || self.running.try_wait().unwrap().is_some()).await;
        assert!(self.running.wait().unwrap().success(), "{}", self.log());
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // It may have ended already.
        self.running.kill().ok();
        self.running.wait().ok();
    }
}

#[tokio::test]
async fn who_shows_the_agents_own_token_gets_keys_that_work_and_nobody_else_does() {
    let world = World::new().await;
    let alice = world.person("alice").await;
    let mut agent = Agent::start(&world.url, &alice.token).await;
    let keys = agent.keys().await;
    assert!(world.can_put(&keys, "users-warehouse/alice/x").await);
    assert!(!world.can_put(&keys, "users-warehouse/bob/x").await);
    let answer = agent.asked().await;
    assert_eq!(answer.headers["cache-control"], "no-store");
    let left =
        answer.json["Expiration"].as_str().unwrap().parse::<Timestamp>().unwrap().duration_since(Timestamp::now());
    assert!(left.as_secs() > 3_500, "an hour");
    let right = agent.authorization.clone();
    assert_eq!(right.len(), 64);
    let bearer = format!("Bearer {right}");
    for wrong in [&[][..], &[""], &["wrong"], &[&right[1..]], &[&bearer], &[&right, &right], &[&alice.token]] {
        let refused = agent.asked_with(wrong).await;
        assert_eq!((refused.status, &refused.json["code"]), (403, &json!("NotAuthorized")));
        assert!(!refused.json.to_string().contains(&right));
    }
    let authorization_file = agent.authorization_file();
    assert_eq!(authorization_file, agent.folder.path().join("run/lakepass/authorization-token"));
    assert_eq!((mode(&authorization_file), mode(&agent.folder.path().join("env"))), (0o600, 0o600));
    assert_eq!(mode(authorization_file.parent().unwrap()), 0o700);
    agent.end("TERM").await;
    assert!(!authorization_file.exists() && !agent.folder.path().join("env").exists());
    let (log, session_token) = (agent.log(), keys.session_token.unwrap());
    for secret in [&alice.token, &right, &keys.secret_key, &session_token] {
        assert!(!log.contains(secret.as_str()), "{log}");
    }
    assert!(log.contains(&keys.access_key), "{log}");
}

#[tokio::test]
async fn keys_are_served_while_the_broker_is_away_and_renewed_when_it_is_back() {
    let world = World::new().await;
    let alice = world.person("alice").await;
    let way = CountingProxy::to_broker(&world).await;
    let agent = Agent::start(&way.url, &alice.token).await;
    let first = agent.keys().await;
    way.cut();
    eventually("it notices", SOON, async || agent.log().contains("no newer keys")).await;
    assert_eq!(agent.keys().await.access_key, first.access_key);
    assert!(world.can_put(&first, "users-warehouse/alice/x").await);
    // Meanwhile, other keys are due.
    assert_eq!(world.delete(&alice, "/sessions").await.status, 204);
    way.mend();
    eventually("other keys", Duration::from_secs(30), async || agent.keys().await.access_key != first.access_key).await;
    assert!(world.can_put(&agent.keys().await, "users-warehouse/alice/x").await);
}

#[tokio::test]
async fn an_agent_that_starts_without_a_broker_says_so_and_gets_keys_once_there_is_one() {
    let world = World::new().await;
    let alice = world.person("alice").await;
    let way = CountingProxy::to_broker(&world).await;
    way.cut();
    let agent = Agent::start(&way.url, &alice.token).await;
    let answer = agent.asked().await;
    assert_eq!((answer.status, &answer.json["code"]), (503, &json!("Unavailable")), "{}", answer.json);
    assert!(answer.headers.contains_key("retry-after"));
    way.mend();
    eventually("keys", Duration::from_secs(30), async || agent.asked().await.status == 200).await;
}

/// A broker whose keys live for seconds, and that then answers this.
async fn short_lived_then(answer: ResponseTemplate) -> MockServer {
    let broker = MockServer::start().await;
    let expiration = Timestamp::now() + 8.seconds();
    let keys = json!({"AccessKeyId": "ID", "SecretAccessKey": "s", "Token": "t", "Expiration": expiration});
    let keys = ResponseTemplate::new(200).set_body_json(keys).insert_header("etag", "\"ID\"");
    Mock::given(method("GET")).respond_with(keys).up_to_n_times(1).mount(&broker).await;
    Mock::given(method("GET")).respond_with(answer).mount(&broker).await;
    broker
}

#[tokio::test]
async fn keys_are_served_until_they_expire_and_then_the_brokers_own_words() {
    let refusal = json!({"code": "NotAdmitted", "message": "roles are missing"});
    let away = ResponseTemplate::new(503).set_body_json(json!({"code": "Unavailable", "message": "MinIO is away"}));
    let refuses = ResponseTemplate::new(403).set_body_json(refusal);
    let watch = async |answer, status, code: &str, message: &str| {
        let broker = short_lived_then(answer).await;
        let agent = Agent::start(&broker.uri(), "TOKEN").await;
        assert_eq!(agent.keys().await.access_key, "ID");
        eventually("it notices", SOON, async || agent.log().contains("no newer keys")).await;
        assert_eq!(agent.keys().await.access_key, "ID");
        eventually("they expire", SOON * 2, async || agent.asked().await.status != 200).await;
        let answer = agent.asked().await;
        assert_eq!((answer.status, answer.json["code"].as_str().unwrap()), (status, code));
        assert!(answer.json["message"].as_str().unwrap().contains(message), "{}", answer.json);
    };
    tokio::join!(
        watch(away, 503, "Unavailable", "MinIO is away"),
        watch(refuses, 403, "NotAdmitted", "roles are missing")
    );
}

#[tokio::test]
async fn a_changed_token_file_is_picked_up() {
    let world = World::new().await;
    let (alice, bob) = (world.person("alice").await, world.person("bob").await);
    let agent = Agent::start(&world.url, "A-TOKEN-THAT-HAS-EXPIRED").await;
    let refused = agent.asked().await;
    assert_eq!((refused.status, &refused.json["code"]), (401, &json!("Unauthenticated")));
    assert!(refused.json["message"].as_str().unwrap().contains("log in again"), "{}", refused.json);
    agent.change_token(&format!("{}\n", alice.token));
    eventually("alice's keys", SOON, async || agent.asked().await.status == 200).await;
    assert!(world.can_put(&agent.keys().await, "users-warehouse/alice/x").await);
    agent.change_token("");
    agent.change_token(&bob.token);
    eventually("bob's keys", SOON, async || world.can_put(&agent.keys().await, "users-warehouse/bob/x").await).await;
    assert!(!world.can_put(&agent.keys().await, "users-warehouse/alice/x").await);
}

#[tokio::test]
async fn a_revocation_and_a_share_bring_other_keys_at_once_and_nothing_asks_the_broker_all_the_time() {
    let world = World::new().await;
    let (alice, bob) = (world.person("alice").await, world.person("bob").await);
    let shared = "users-warehouse/alice/x/seed";
    world.seed(shared).await;
    let way = CountingProxy::to_broker(&world).await;
    let agent = Agent::start(&way.url, &bob.token).await;
    let first = agent.keys().await;
    assert!(!world.can_get(&first, shared).await);
    world.share(&alice, "users-warehouse/alice/x", &["bob"], &[], "read").await;
    eventually("the share", SOON, async || world.can_get(&agent.keys().await, shared).await).await;
    let second = agent.keys().await;
    assert_ne!(first.access_key, second.access_key);
    assert_eq!(world.delete(&bob, "/sessions").await.status, 204);
    assert!(!world.can_get(&second, shared).await);
    eventually("other keys", SOON, async || agent.keys().await.access_key != second.access_key).await;
    assert!(world.can_get(&agent.keys().await, shared).await);
    // One at first, one for each news, one that waits.
    assert!(way.requests() <= 5, "{}", way.requests());
}

#[tokio::test]
async fn two_accounts_have_their_agents_side_by_side_and_one_cannot_use_the_others() {
    let world = World::new().await;
    let (alice, bob) = (world.person("alice").await, world.person("bob").await);
    let (hers, mut his) = (Agent::start(&world.url, &alice.token).await, Agent::start(&world.url, &bob.token).await);
    assert!(world.can_put(&hers.keys().await, "users-warehouse/alice/x").await);
    assert!(world.can_put(&his.keys().await, "users-warehouse/bob/x").await);
    assert_eq!(hers.asked_with(&[&his.authorization]).await.status, 403);
    assert_eq!(his.asked_with(&[&hers.authorization]).await.status, 403);
    // A second agent does not take the files of the first away.
    let said = refusal(agent(&world.url, hers.folder.path())).await;
    assert!(said.contains("another agent of this account"), "{said}");
    assert_eq!(hers.asked().await.status, 200);
    assert_eq!(fs::read_to_string(hers.authorization_file()).unwrap(), hers.authorization);
    // The next one has another token.
    his.end("INT").await;
    let (broker, folder) = (&world.url, &his.folder);
    his.running = agent(broker, folder.path()).spawn().unwrap();
    eventually("an environment file", SOON, async || folder.path().join("env").exists()).await;
    let next = fs::read_to_string(his.authorization_file()).unwrap();
    assert!(next.len() == 64 && next != his.authorization);
}

#[tokio::test]
async fn it_listens_on_loopback_only_and_says_when_a_port_is_taken() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    for (listen, reason) in
        [("0.0.0.0:0", "loopback"), ("192.0.2.1:0", "loopback"), ("[::]:0", "loopback"), (&taken, "picks a free port")]
    {
        let folder = tempfile::tempdir().unwrap();
        let mut command = lakepass(&["agent", "--url", "http://127.0.0.1:1", "--listen", listen]);
        command.env("LAKEPASS_TOKEN", "SECRET").env("XDG_RUNTIME_DIR", folder.path());
        let said = refusal(command).await;
        assert!(said.contains(reason) && !said.contains("SECRET"), "{listen}: {said}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_aws_sdk_finds_its_keys_by_the_agent_and_by_a_credential_process() {
    let world = World::new().await;
    let alice = world.person("alice").await;
    let agent = Agent::start(&world.url, &alice.token).await;
    let folder = agent.folder.path();
    let profile = format!(
        "[profile lake]\ncredential_process = {} credentials --url {} --token-file {} --cache-file {}\n",
        env!("CARGO_BIN_EXE_lakepass"),
        world.url,
        folder.join("token").display(),
        folder.join("cache").display()
    );
    fs::write(folder.join("config"), profile).unwrap();
    let program = GoProgram::build("sdk");
    let by_agent = ["AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"]
        .map(|name| (name, agent.env(name)));
    let by_process = [("AWS_CONFIG_FILE", folder.join("config").display().to_string()), ("AWS_PROFILE", "lake".into())];
    for (way, environment) in [("agent", by_agent), ("credential_process", by_process)] {
        let mut sdk = program.command();
        sdk.args([&world.bucket, "users-warehouse/alice/"]).env_clear().envs(environment);
        sdk.env("PATH", std::env::var_os("PATH").unwrap()).env("HOME", folder);
        sdk.env("AWS_ENDPOINT_URL_S3", &world.minio_url).env("AWS_REGION", "us-east-1");
        sdk.env("AWS_EC2_METADATA_DISABLED", "true");
        let output = tokio::task::spawn_blocking(move || sdk.output().unwrap()).await.unwrap();
        assert!(output.status.success(), "{way}: {}", said(&output));
        // Both are given the same keys by the broker.
        assert_eq!(String::from_utf8(output.stdout).unwrap(), agent.keys().await.access_key, "{way}");
    }
    let cached: Value = serde_json::from_slice(&fs::read(folder.join("cache")).unwrap()).unwrap();
    assert_eq!(cached["keys"]["AccessKeyId"], agent.keys().await.access_key.as_str());
}
