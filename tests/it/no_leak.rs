//! No secret leaks: every route, asked well and badly, with logs at `trace`; the agent and the credential process as well.
//!
//! A route that is not in [`calls`] or [`endings`] makes the test fail.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::{fs::PermissionsExt, process::ExitStatusExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use aws_lc_rs::hkdf;
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD},
};
use jiff::{Timestamp, ToSpan};
use lakepass::identity::Token;
use reqwest::{Method, RequestBuilder, header::HeaderMap};
use serde_json::{Value, json};

use crate::{
    identity::issuer::{FakeIssuer, SigningKey},
    programs::{free_address, lakepass, signal},
    support::{CountingProxy, Keys, World, eventually, start_minio},
};

const SOON: Duration = Duration::from_secs(20);
const DERIVATION_KEY: &str = "the key of this test that secrets are derived from";
const WRONG_PASSWORD: &str = "a wrong password of root";

/// Of longer ones this much is looked for, of both ends: a log may cut a line off.
const PIECE: usize = 24;

/// What must be nowhere, by what it is.
#[derive(Default)]
struct Secrets(BTreeMap<String, BTreeSet<String>>);

impl Secrets {
    fn add(&mut self, what: &str, secret: &str) {
        // The header of a JWT is everybody's.
        let secret = secret.strip_prefix("eyJ").and_then(|rest| rest.split_once('.')).map_or(secret, |(_, rest)| rest);
        assert!(secret.len() >= 8, "{what}: nothing is proved by so short a secret: {secret:?}");
        let bytes = secret.as_bytes();
        let piece = PIECE.min(bytes.len());
        let ends = [&bytes[..piece], &bytes[bytes.len() - piece..]];
        self.0.entry(what.to_owned()).or_default().extend(ends.into_iter().flat_map(forms));
    }

    fn add_token(&mut self, what: &str, token: &str) {
        self.add(what, token);
        let digest = *Token::parse(token).unwrap().sha256().as_bytes();
        let digests = [hex(&digest), STANDARD.encode(digest), URL_SAFE.encode(digest), format!("{digest:?}")];
        self.0.entry(format!("the SHA-256 of {what}")).or_default().extend(digests);
    }

    /// The derived secret of each MinIO user of ours that there is now.
    async fn add_users(&mut self, world: &World) {
        let users = world.minio().users().await.unwrap();
        let ours: Vec<&String> = users.keys().filter(|name| name.starts_with("lakepass-")).collect();
        assert!(!ours.is_empty());
        ours.into_iter().for_each(|name| self.add(&format!("the secret of {name}"), &derived_secret(name)));
    }

    /// Those that are in a text.
    fn within(&self, text: &str) -> Vec<&str> {
        let is_there = |forms: &BTreeSet<String>| forms.iter().any(|form| text.contains(form.as_str()));
        self.0.iter().filter(|(_, forms)| is_there(forms)).map(|(what, _)| what.as_str()).collect()
    }
}

/// How bytes may be spelled.
fn forms(secret: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(secret).into_owned();
    let json = serde_json::to_string(&text).unwrap();
    let debug = format!("{text:?}");
    let mut forms = vec![
        hex(secret),
        format!("{secret:?}").trim_matches(['[', ']']).to_owned(),
        percent_encoding::utf8_percent_encode(&text, percent_encoding::NON_ALPHANUMERIC).to_string(),
        url::form_urlencoded::byte_serialize(secret).collect(),
        json[1..json.len() - 1].to_owned(),
        debug[1..debug.len() - 1].to_owned(),
        text,
    ];
    // Behind none, one or two other bytes; the letters that are made of the neighbours too are left out.
    for before in 0..3_usize {
        let shifted = [&vec![0; before], secret].concat();
        for engine in [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
            let encoded = engine.encode(&shifted);
            forms.push(encoded[(before * 8).div_ceil(6)..shifted.len() * 8 / 6].to_owned());
        }
    }
    forms
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn the_search_finds_every_spelling() {
    let secret = "a \"secret\"/of+24 letters?";
    let mut secrets = Secrets::default();
    secrets.add("it", secret);
    for text in [
        format!("GET /?token={}", percent_encoding::utf8_percent_encode(secret, percent_encoding::NON_ALPHANUMERIC)),
        json!({"log": {"inner": secret}}).to_string(),
        format!("{:?}", Some(secret)),
        format!("Basic {}", STANDARD.encode(format!("user:{secret}"))),
        URL_SAFE.encode(format!("me:{secret}")),
        STANDARD.encode(secret),
        hex(format!("x{secret}").as_bytes()),
        format!("{:?}", secret.as_bytes()),
    ] {
        assert_eq!(secrets.within(&text), ["it"], "{text}");
    }
    assert!(secrets.within("nothing of a secret").is_empty());
}

const WORDS: &str = "words that were made at run time: a-secret-of-somebodys";

/// Run in a process of its own, whose output is the test: see [`a_panic_and_a_library_say_nothing_of_what_they_hold`].
#[test]
#[ignore = "the test below runs it"]
fn a_process_that_panics() {
    lakepass::discretion::set_up().unwrap();
    tracing::debug!(target: "hyper::proto::h1", "authorization: {WORDS}");
    std::thread::spawn(|| panic!("words of the source")).join().unwrap_err();
    std::thread::spawn(|| panic!("{}", [WORDS, "!"].concat())).join().unwrap_err();
}

#[test]
fn a_panic_and_a_library_say_nothing_of_what_they_hold() {
    let mut process = Command::new(std::env::current_exe().unwrap());
    let process = process.args(["--ignored", "--exact", "no_leak::a_process_that_panics"]).env("RUST_LOG", "trace");
    let output = process.env("RUST_BACKTRACE", "full").output().unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{said}");
    assert_eq!(said.matches("\"message\":\"panic\"").count(), 2, "{said}");
    assert!(said.contains("words of the source") && said.contains("no_leak.rs"), "{said}");
    assert!(!said.contains("somebodys"), "{said}");
}

/// As whom something is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Who {
    Nobody,
    Alice,
    Admin,
    /// With a JWT.
    Jwt,
}

/// A call that succeeds. The operation is spelled as in the OpenAPI document, or is none of it.
pub struct Call {
    pub operation: &'static str,
    pub who: Who,
    path: String,
    body: Body,
    /// It answers with a secret, as it should.
    pub gives_secret: bool,
}

pub enum Body {
    None,
    Json(Value),
    Form(Vec<(&'static str, String)>),
}

impl Call {
    fn new(operation: &'static str, who: Who, body: Body) -> Self {
        let path = filled(operation.split_once(' ').unwrap().1, "alice", "KBase");
        Self { operation, who, path, body, gives_secret: false }
    }

    fn gives_secret(self) -> Self {
        Self { gives_secret: true, ..self }
    }

    fn at(self, path: &str) -> Self {
        Self { path: path.to_owned(), ..self }
    }
}

/// A path, as the OpenAPI document has it, with names in it.
fn filled(template: &str, user: &str, group: &str) -> String {
    let users = template.replace("{user}", user).replace("{username}", user);
    users.replace("{group}", group).replace("{group_name}", group)
}

/// Every route, but for those that end something.
pub fn calls(bucket: &str, token: &str) -> Vec<Call> {
    use Who::*;
    let url = format!("s3a://{bucket}/users-warehouse/alice/x");
    let folder = "users-warehouse/alice/x";
    let web_identity = || {
        let [action, role, name] = ["AssumeRoleWithWebIdentity", "arn:lakepass:iam:::role/granted", "job"];
        let form = [("Action", action), ("RoleArn", role), ("RoleSessionName", name), ("WebIdentityToken", token)];
        Body::Form(form.map(|(key, value)| (key, value.to_owned())).to_vec())
    };
    vec![
        Call::new("GET /healthz", Nobody, Body::None),
        Call::new("GET /readyz", Nobody, Body::None),
        Call::new("GET /openapi.json", Nobody, Body::None),
        Call::new("GET /me", Alice, Body::None),
        Call::new("GET /me", Jwt, Body::None),
        Call::new("POST /users/{user}", Alice, Body::None).gives_secret(),
        Call::new("GET /users/{user}", Alice, Body::None),
        Call::new(
            "POST /groups/{group}",
            Admin,
            Body::Json(json!({"add_members": [{"username": "alice", "role": "steward"}]})),
        ),
        Call::new("GET /groups/{group}", Alice, Body::None),
        Call::new(
            "POST /users/{user}/share",
            Alice,
            Body::Json(json!({"path": folder, "with_groups": ["KBase"], "with_users": ["dana"]})),
        ),
        Call::new("GET /access", Alice, Body::None).at(&format!("/access?path={folder}")),
        Call::new("POST /users/{user}/unshare", Alice, Body::Json(json!({"path": folder, "from_users": ["dana"]}))),
        Call::new("POST /sessions", Alice, Body::Json(json!({"scope": "lake"}))).gives_secret(),
        Call::new("POST /sessions", Jwt, Body::None).gives_secret(),
        Call::new("GET /sessions", Alice, Body::None),
        Call::new("GET /aws/container-credentials", Alice, Body::None).gives_secret(),
        Call::new("POST /sts", Nobody, web_identity()).gives_secret(),
        Call::new("POST /", Nobody, web_identity()).gives_secret(),
        Call::new("GET /console", Nobody, Body::None),
        Call::new("POST /console-login", Alice, Body::None).gives_secret(),
        Call::new("POST /console-login", Nobody, Body::Form(vec![("token", token.to_owned())])).gives_secret(),
        Call::new("GET /admin/users", Admin, Body::None),
        Call::new("GET /admin/groups", Admin, Body::None),
        Call::new("GET /health", Nobody, Body::None),
        Call::new("GET /credentials/", Alice, Body::None).gives_secret(),
        Call::new("POST /credentials/rotate", Alice, Body::None).gives_secret(),
        Call::new("GET /workspaces/me", Alice, Body::None),
        Call::new("GET /workspaces/me/groups", Alice, Body::None),
        Call::new("GET /workspaces/me/sql-warehouse-prefix", Alice, Body::None),
        Call::new("GET /workspaces/me/groups/{group_name}/sql-warehouse-prefix", Alice, Body::None),
        Call::new("GET /workspaces/me/namespace-prefix", Alice, Body::None),
        Call::new("GET /workspaces/me/accessible-paths", Alice, Body::None),
        Call::new(
            "POST /sharing/share",
            Alice,
            Body::Json(json!({"path": url, "with_users": ["dana"], "with_groups": []})),
        ),
        Call::new("POST /sharing/get_path_access_info", Alice, Body::Json(json!({ "path": url }))),
        Call::new(
            "POST /sharing/unshare",
            Alice,
            Body::Json(json!({"path": url, "from_users": ["dana"], "from_groups": []})),
        ),
        Call::new("POST /management/groups/{group_name}/members/{username}", Admin, Body::None),
        Call::new("GET /management/groups/names", Admin, Body::None),
        Call::new("GET /admin/drift", Admin, Body::None),
        Call::new("POST /admin/reconcile", Admin, Body::None),
        Call::new("POST /admin/users/{user}/disable", Admin, Body::None),
        Call::new("POST /admin/users/{user}/enable", Admin, Body::None),
    ]
}

/// The routes that end something.
pub fn endings() -> Vec<Call> {
    use Who::*;
    vec![
        Call::new("DELETE /management/groups/{group_name}/members/{username}", Admin, Body::None),
        Call::new("DELETE /sessions", Alice, Body::None),
        Call::new("DELETE /admin/users/{user}/sessions", Admin, Body::None)
            .at("/admin/users/alice/sessions?lake_keys=true"),
        Call::new("DELETE /admin/groups/{group}", Admin, Body::None),
        Call::new("DELETE /admin/users/{user}", Admin, Body::None).at("/admin/users/alice?purge=true"),
    ]
}

/// An answer, and what was asked.
pub struct Answer {
    asked: String,
    pub status: u16,
    pub headers: HeaderMap,
    pub text: String,
}

pub struct Broker {
    pub url: String,
    pub http: reqwest::Client,
    pub tokens: BTreeMap<Who, String>,
}

impl Broker {
    fn request(&self, method: &str, path: &str) -> RequestBuilder {
        // A page of the broker's own asks, as far as that matters.
        self.http.request(method.parse::<Method>().unwrap(), format!("{}{path}", self.url)).header("origin", &self.url)
    }

    pub async fn call(&self, call: &Call) -> Answer {
        let method = call.operation.split_once(' ').unwrap().0;
        let request = self.request(method, &call.path);
        let request = match self.tokens.get(&call.who) {
            Some(token) => request.bearer_auth(token),
            None => request,
        };
        let request = match &call.body {
            Body::None => request,
            Body::Json(json) => request.json(json),
            Body::Form(form) => request.form(form),
        };
        said(call.operation, request).await
    }
}

async fn said(asked: &str, request: RequestBuilder) -> Answer {
    let answer = request.send().await.unwrap();
    let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
    Answer { asked: asked.to_owned(), status, headers, text: answer.text().await.unwrap() }
}

impl Answer {
    /// Everything of it.
    fn all(&self) -> String {
        format!("{:?} {}", self.headers, self.text)
    }

    /// Keeps the secrets that it gives, and says whether there are any.
    fn collect(&self, secrets: &mut Secrets) -> bool {
        const NAMES: [&str; 6] =
            ["s3_secret_key", "secret_access_key", "session_token", "secret_key", "SecretAccessKey", "Token"];
        let json: Value = serde_json::from_str(&self.text).unwrap_or_default();
        // KBase's earlier service says so in the place of a secret.
        let in_json = NAMES.iter().filter_map(|name| json[name].as_str()).filter(|secret| *secret != "<redacted>");
        let in_xml = ["SecretAccessKey", "SessionToken"].iter().filter_map(|name| {
            let (_, rest) = self.text.split_once(&format!("<{name}>"))?;
            rest.split_once('<').map(|(secret, _)| secret)
        });
        let cookie = self.cookie();
        let found: Vec<&str> =
            in_json.chain(in_xml).chain(cookie.as_deref().map(|cookie| &cookie["token=".len()..])).collect();
        found.iter().for_each(|secret| secrets.add(&format!("what {} gives", self.asked), secret));
        !found.is_empty()
    }

    fn cookie(&self) -> Option<String> {
        let cookie = self.headers.get("set-cookie")?.to_str().unwrap().split(';').next().unwrap();
        (cookie != "token=").then(|| cookie.to_owned())
    }
}

/// The secret of a MinIO user of ours. Checked against MinIO: else this test could look for the wrong thing.
fn derived_secret(user: &str) -> String {
    struct Thirty;
    impl hkdf::KeyType for Thirty {
        fn len(&self) -> usize {
            30
        }
    }
    let extracted = hkdf::Salt::new(hkdf::HKDF_SHA256, b"lakepass/minio-user/1").extract(DERIVATION_KEY.as_bytes());
    let mut secret = [0; 30];
    extracted.expand(&[user.as_bytes()], Thirty).unwrap().fill(&mut secret).unwrap();
    URL_SAFE_NO_PAD.encode(secret)
}

/// A folder with everything that the programs have: what they are given, and what they write.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        fs::create_dir(place.path("given")).unwrap();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn given(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path("given").join(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// A program at home here, that says all that it can say to a file of that name; and that would leave a core behind.
    fn program(&self, log: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", r#"ulimit -c unlimited; exec "$@""#, "sh", env!("CARGO_BIN_EXE_lakepass")]).args(arguments);
        let like = lakepass(&[]);
        command.env_clear().envs(like.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.env("RUST_LOG", "trace").env("RUST_BACKTRACE", "full").current_dir(self.0.path());
        for name in ["HOME", "TMPDIR", "XDG_RUNTIME_DIR", "XDG_CACHE_HOME"] {
            command.env(name, self.0.path());
        }
        let log = fs::File::create(self.path(log)).unwrap();
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        command
    }

    fn read(&self, name: &str) -> String {
        String::from_utf8_lossy(&fs::read(self.path(name)).unwrap()).into_owned()
    }
}

/// All files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// It ends with this value, however the test ends.
struct Running(Child);

impl Running {
    fn start(command: &mut Command) -> Self {
        Self(command.spawn().unwrap())
    }

    fn arguments(&self) -> String {
        fs::read_to_string(format!("/proc/{}/cmdline", self.0.id())).unwrap()
    }

    /// As a crash would end it. Says whether its memory was written to a file, or given to somebody.
    async fn crash(&mut self) -> bool {
        signal(&self.0, "ABRT");
        eventually("it ends", SOON, async || self.0.try_wait().unwrap().is_some()).await;
        self.0.wait().unwrap().core_dumped()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Somebody's tokens, and all that is none.
struct Tokens {
    good: BTreeMap<Who, String>,
    bad: Vec<String>,
}

impl Tokens {
    fn new(world: &World, issuer: &FakeIssuer, key: &SigningKey) -> Self {
        let jwt = |key: &SigningKey, hours: i64| {
            let end = (Timestamp::now() + hours.hours()).as_second();
            let claims = json!({"iss": issuer.url, "aud": "lakepass", "preferred_username": "judith", "exp": end,
                "roles": ["BERDL_USER"]});
            key.sign(&json!({"alg": key.algorithm(), "kid": "k", "typ": "JWT"}), &claims)
        };
        let person = |name, roles: &[&str]| world.stranger(name, roles).token;
        let (alice, admin) = (person("alice", &["BERDL_USER"]), person("dana", &["BERDL_USER", "KBASE_ADMIN"]));
        Self {
            good: BTreeMap::from([(Who::Alice, alice), (Who::Admin, admin), (Who::Jwt, jwt(key, 20))]),
            bad: vec![
                "NOTOKENOFANYBODYATALL".to_owned(),
                jwt(key, -1),
                jwt(&SigningKey::ec(), 20),
                jwt(&SigningKey::Hmac(b"x".to_vec()), 20),
                jwt(&SigningKey::Nothing, 20),
            ],
        }
    }
}

/// Everything asked in ways that are refused.
async fn ask_badly(broker: &Broker, operations: &BTreeSet<String>, bad: &[String]) -> Vec<Answer> {
    let alice = &broker.tokens[&Who::Alice];
    let basic = format!("Basic {}", STANDARD.encode(format!("alice:{alice}")));
    let mut asked = Vec::new();
    for operation in operations {
        let (method, template) = operation.split_once(' ').unwrap();
        let path = filled(template, "alice", "KBase");
        let ask = |path: &str| broker.request(method, path);
        asked.push(ask(&path));
        asked.extend(bad.iter().map(|token| ask(&path).bearer_auth(token)));
        asked.push(ask(&path).header("authorization", &basic));
        asked.push(ask(&path).bearer_auth(alice).bearer_auth(alice));
        asked.push(ask(&format!("{path}?token={alice}")));
        asked.push(ask(&format!("{path}?access_token={alice}")).bearer_auth(alice));
        asked.push(ask(&filled(template, alice, &bad[1])).bearer_auth(alice));
        asked.push(ask(&format!("/nowhere/{alice}")).bearer_auth(alice));
        asked.push(ask(&path).bearer_auth(alice).body(format!("\"{alice}\"")));
    }
    for token in bad {
        let form = [
            ("Action", "AssumeRoleWithWebIdentity"),
            ("RoleArn", "arn:lakepass:iam:::role/lake"),
            ("RoleSessionName", "x"),
            ("WebIdentityToken", token),
        ];
        asked.push(broker.request("POST", "/sts").form(&form));
        asked.push(broker.request("POST", "/console-login").form(&[("token", token)]));
    }
    asked.push(broker.request("POST", "/console-login").form(&[("path", alice)]));
    let share = json!({"path": "users-warehouse/alice/x", "with_users": [alice]});
    for path in ["/users/alice/share", "/sharing/share"] {
        asked.push(broker.request("POST", path).bearer_auth(alice).json(&share));
    }
    let answers = asked.into_iter().map(|request| said("a bad request", request));
    futures::future::join_all(answers).await
}

/// The console's pages and API, and who one is, with what the sessions are kept by.
async fn use_sessions(broker: &Broker, bucket: &str, cookie: &str, keys: &Keys) -> Vec<Answer> {
    let mut answers = Vec::new();
    for path in [
        "/minio-ui/",
        "/minio-ui/api/v1/session",
        &format!("/minio-ui/api/v1/buckets/{bucket}/objects?prefix=users-warehouse/alice/"),
    ] {
        answers.push(said(path, broker.request("GET", path).header("cookie", cookie)).await);
    }
    let signed = format!("AWS4-HMAC-SHA256 Credential={}/20260101/us-east-1/sts/aws4_request", keys.access_key);
    let request =
        broker.request("POST", "/sts").form(&[("Action", "GetCallerIdentity")]).header("authorization", signed);
    answers
        .push(said("who one is", request.header("x-amz-security-token", keys.session_token.as_ref().unwrap())).await);
    let ends = broker.request("POST", "/minio-ui/api/v1/logout").header("cookie", cookie).json(&json!({}));
    answers.push(said("the way out", ends).await);
    for answer in &answers {
        assert_eq!(answer.status / 100, 2, "{}: {}", answer.asked, answer.text);
    }
    answers
}

/// Where the lake is used: an agent, asked well and badly, and a credential process.
async fn run_on_a_node(place: &Place, broker: &Broker, bad: &str, secrets: &mut Secrets) {
    let token = place.given("token", &broker.tokens[&Who::Alice]);
    let token = token.to_str().unwrap();
    let mut agent = place
        .program("log of agent", &["agent", "--url", &broker.url, "--listen", "127.0.0.1:0", "--token-file", token]);
    let mut agent = Running::start(agent.args(["--env-file", "env"]));
    eventually("the agent's environment", SOON, async || place.path("env").exists()).await;
    let file = place.path("lakepass/authorization-token");
    let authorization = fs::read_to_string(&file).unwrap();
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    secrets.add("the agent's own token", &authorization);
    let env = place.read("env");
    let url = env.split_once("http://").unwrap().1.split(['\'', '"', '\n']).next().unwrap().to_owned();
    for header in [&authorization, bad, &broker.tokens[&Who::Alice]] {
        let answer = said("the agent", broker.http.get(format!("http://{url}")).header("authorization", header)).await;
        assert_eq!(answer.collect(secrets), *header == authorization, "{} {}", answer.status, answer.text);
        assert_eq!(answer.headers["cache-control"], "no-store");
    }
    assert_eq!(secrets.within(&agent.arguments()), [""; 0], "the agent's arguments");
    assert!(!agent.crash().await, "the agent leaves a core behind");
    for (log, token, is_good) in [
        ("log of credentials", token, true),
        ("log of bad credentials", place.given("bad", bad).to_str().unwrap(), false),
    ] {
        let mut command = place.program(log, &["credentials", "--url", &broker.url, "--token-file", token]);
        let output =
            tokio::process::Command::from(std::mem::replace(command.stdout(Stdio::piped()), Command::new("true")))
                .output()
                .await
                .unwrap();
        assert_eq!(output.status.success(), is_good, "{}", place.read(log));
        if is_good {
            let keys = Keys::of_aws(&serde_json::from_slice(&output.stdout).unwrap());
            secrets.add("what the credential process prints", &keys.secret_key);
        } else {
            assert!(output.stdout.is_empty());
        }
    }
}

/// What operators start, with a wrong password and with the right one. What it comes to is no matter here.
async fn operate(place: &Place, settings: &[(String, String)]) {
    let wrong =
        ("LAKEPASS_MINIO_ROOT_PASSWORD_FILE".to_owned(), place.given("wrong", WRONG_PASSWORD).display().to_string());
    for program in ["check", "ledger export", "drift", "reconcile --dry-run", "import"] {
        let arguments: Vec<&str> = program.split(' ').collect();
        for (log, more) in
            [(format!("log of {program}"), None), (format!("log of {program}, wrong"), Some(wrong.clone()))]
        {
            let mut command = place.program(&log, &arguments);
            command.envs(settings.iter().cloned().chain(more));
            let code = tokio::process::Command::from(command).status().await.unwrap().code().unwrap();
            // 2 is said to who misspells a program.
            assert!(code != 2 && !place.read(&log).is_empty(), "{log}: {code}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_in_a_log_an_error_a_metric_a_file_or_an_argument() {
    let minio = start_minio().await;
    let mut world = World::on(&minio, &[]).await;
    let proxy = CountingProxy::to(minio.address).await;
    let key = SigningKey::ec();
    let issuer = FakeIssuer::start(&[("k", &key)]).await;
    let tokens = Tokens::new(&world, &issuer, &key);
    let mut secrets = Secrets::default();
    secrets.add("the root password", &world.root().secret_key);
    secrets.add("a wrong root password", WRONG_PASSWORD);
    secrets.add("the derivation key", DERIVATION_KEY);
    tokens.good.iter().for_each(|(who, token)| secrets.add_token(&format!("the token of {who:?}"), token));
    tokens.bad.iter().for_each(|token| secrets.add_token("a bad token", token));

    let place = Place::new();
    let (listen, metrics) = (free_address(), free_address());
    let settings = [
        ("LISTEN", listen.clone()),
        ("METRICS_LISTEN", metrics.clone()),
        ("MINIO_URL", proxy.url.clone()),
        ("MINIO_ROOT_USER", world.root().access_key),
        ("MINIO_ROOT_PASSWORD_FILE", place.given("root", &world.root().secret_key).display().to_string()),
        ("KEY_FILE", place.given("key", DERIVATION_KEY).display().to_string()),
        ("CONSOLE_URL", format!("http://{}", minio.console)),
        ("KBASE_AUTH_URL", world.auth.as_ref().unwrap().url()),
        ("JWT_ISSUERS", json!([{"issuer": issuer.url, "audience": "lakepass"}]).to_string()),
        ("REQUIRED_ROLES", "BERDL_USER".into()),
        ("ADMIN_ROLES", "KBASE_ADMIN".into()),
        ("BUCKET", world.bucket.clone()),
        ("LEDGER_BUCKET", world.ledger_bucket.clone()),
    ];
    let settings = settings.map(|(name, value)| (format!("LAKEPASS_{name}"), value));
    let mut serving = Running::start(place.program("log of serve", &["serve"]).envs(settings.clone()));
    let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let broker = Broker { url: format!("http://{listen}"), http, tokens: tokens.good.clone() };
    let is_ready = async || broker.request("GET", "/readyz").send().await.is_ok_and(|answer| answer.status() == 200);
    eventually("it is ready", SOON, is_ready).await;

    let api: Value = broker.request("GET", "/openapi.json").send().await.unwrap().json().await.unwrap();
    let methods = |(path, item): (&String, &Value)| -> Vec<String> {
        item.as_object().unwrap().keys().map(|method| format!("{} {path}", method.to_uppercase())).collect()
    };
    let operations: BTreeSet<String> = api["paths"].as_object().unwrap().iter().flat_map(methods).collect();
    let calls = calls(&world.bucket, &tokens.good[&Who::Alice]);
    let called = calls.iter().chain(&endings()).map(|call| call.operation.to_owned()).collect();
    let forgotten: Vec<_> = operations.difference(&called).collect();
    assert!(forgotten.is_empty(), "add these to `calls`: {forgotten:?}");

    // What gives a secret gives it to nobody on the way. What else is answered has none.
    let mut answers = Vec::new();
    let (mut cookie, mut keys) = (None, None);
    for call in &calls {
        let answer = broker.call(call).await;
        assert!(answer.status < 400, "{}: {} {}", call.operation, answer.status, answer.text);
        assert_eq!(answer.collect(&mut secrets), call.gives_secret, "{}: {}", call.operation, answer.text);
        cookie = cookie.or(answer.cookie());
        if call.operation == "POST /sessions" {
            keys = Some(Keys::of_session(&serde_json::from_str(&answer.text).unwrap()));
        }
        assert_eq!(answer.headers["cache-control"], "no-store", "{}", call.operation);
        if !call.gives_secret {
            answers.push(answer);
        }
    }
    for user in ["session_user", "key_user"] {
        let object =
            world.s3(&world.root()).get_object().bucket(&world.ledger_bucket).key("users/alice.json").send().await;
        let doc: Value = serde_json::from_slice(&object.unwrap().body.collect().await.unwrap().to_vec()).unwrap();
        let access_key = doc[user]["user"].as_str().unwrap().to_owned();
        let derived = Keys { secret_key: derived_secret(&access_key), access_key, session_token: None };
        assert!(world.can_list(&derived, "users-warehouse/alice/").await, "this test derives secrets as Lakepass does");
        secrets.add(&format!("the secret of the {user}"), &derived.secret_key);
    }
    secrets.add_users(&world).await;
    answers.extend(use_sessions(&broker, &world.bucket, &cookie.unwrap(), &keys.unwrap()).await);
    let mut all = operations.clone();
    all.insert("POST /".into());
    // Some of it is nothing bad for some routes.
    for answer in ask_badly(&broker, &all, &tokens.bad).await {
        if answer.status >= 400 {
            answers.push(answer);
        } else {
            answer.collect(&mut secrets);
        }
    }
    operate(&place, &settings).await;
    run_on_a_node(&place, &broker, &tokens.bad[0], &mut secrets).await;

    // MinIO is away.
    proxy.cut();
    let uncached =
        Call::new("GET /aws/container-credentials", Who::Alice, Body::None).at("/aws/container-credentials?scope=lake");
    answers.push(broker.call(&uncached).await);
    answers.extend(
        futures::future::join_all(calls.iter().map(|call| broker.call(call)))
            .await
            .into_iter()
            .filter(|answer| answer.status >= 400),
    );
    assert!(answers.iter().any(|answer| answer.status == 503));
    proxy.mend();
    eventually("it is ready again", SOON, is_ready).await;
    for call in endings() {
        let answer = broker.call(&call).await;
        assert!(answer.status < 300, "{}: {} {}", call.operation, answer.status, answer.text);
        answers.push(answer);
        // An ending may be the beginning of another generation.
        secrets.add_users(&world).await;
    }
    // The auth service is away.
    drop(world.auth.take());
    secrets.add_token("a token that nobody can check", "NOBODYCANCHECKTHISTOKEN");
    let unchecked = broker.request("GET", "/me").bearer_auth("NOBODYCANCHECKTHISTOKEN");
    answers.push(said("GET /me without an auth service", unchecked).await);
    assert_eq!(answers.last().unwrap().status, 503);

    answers.push(said("the metrics", broker.http.get(format!("http://{metrics}/metrics"))).await);
    assert!(answers.last().unwrap().text.contains("lakepass_requests_total"));
    let arguments = serving.arguments();
    assert!(arguments.contains("serve"));
    assert_eq!(secrets.within(&arguments), [""; 0], "the arguments");
    assert!(!serving.crash().await, "a core is left behind");
    let log = place.read("log of serve");
    for said in ["\"lakepass::audit\"", "\"request\"", "MinIO did not do", "a token cannot be checked"] {
        assert!(log.contains(said), "this test looks at the log: {said}");
    }
    // Each leak at once, so that one look is enough.
    let is_given = |path: &Path| path.starts_with(place.path("given"));
    let is_private = |path: &Path| {
        let name = path.file_name().unwrap().to_str().unwrap();
        let excepted = name == "authorization-token" || (name.starts_with("credentials-") && name.ends_with(".json"));
        excepted && fs::metadata(path).unwrap().permissions().mode() & 0o777 == 0o600
    };
    let leak = |answer: &Answer| {
        let found = secrets.within(&answer.all());
        (!found.is_empty()).then(|| format!("{found:?} in {}: {} {}", answer.asked, answer.status, answer.all()))
    };
    let mut leaks: Vec<String> = answers.iter().filter_map(leak).collect();
    for file in files(place.0.path()).into_iter().filter(|file| !is_given(file) && !is_private(file)) {
        let text = String::from_utf8_lossy(&fs::read(&file).unwrap()).into_owned();
        for what in secrets.within(&text) {
            let line = text.lines().find(|line| secrets.0[what].iter().any(|form| line.contains(form.as_str())));
            let line = line.unwrap_or_default();
            leaks.push(format!("{what} in {}: {line:.600}", file.display()));
        }
    }
    assert!(leaks.is_empty(), "{}", leaks.join("\n"));
}
