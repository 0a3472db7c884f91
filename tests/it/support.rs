//! A world for each test: its own buckets, people and broker, on one MinIO for all.

use std::{
    collections::HashMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use aws_sdk_s3::{
    Client,
    config::{BehaviorVersion, Credentials, Region, retry::RetryConfig},
    error::SdkError,
};
use jiff::{Timestamp, ToSpan};
use lakepass::{
    SystemClock,
    broker::Broker,
    config::Config,
    dev::{
        MINIO, Tool,
        kbase_auth::{AccountSpec, KbaseAuth, Mfa, TokenKind, TokenSpec},
        minio_server::MinioServer,
    },
    identity::{Token, Username},
    minio::{Minio, MinioConfig},
};
use reqwest::Method;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::watch,
};

/// How often a world's making is tried: see [`World::person`].
const SETUP_TRIES: u32 = 5;

/// Where programs that are not ours are, or are installed.
fn tools() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(".tools/bin")
}

/// A program that is not ours.
pub fn tool(tool: Tool) -> PathBuf {
    // A runtime of its own: tests come and go with theirs.
    let find = move || tokio::runtime::Runtime::new().unwrap().block_on(tool.find_or_install(&tools()));
    std::thread::spawn(find).join().unwrap().unwrap()
}

/// The MinIO that all tests share. It ends with the process.
pub fn shared_minio() -> &'static MinioServer {
    static SERVER: OnceLock<MinioServer> = OnceLock::new();
    SERVER.get_or_init(|| {
        // A runtime of its own: tests come and go with theirs.
        let start = || tokio::runtime::Runtime::new().unwrap().block_on(start_minio());
        std::thread::spawn(start).join().unwrap()
    })
}

pub async fn start_minio() -> MinioServer {
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    start_minio_in(&minio_folder(), any).await
}

/// A folder for a MinIO that is to be started again on what it has.
pub fn minio_folder() -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let name = format!("{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("minio").join(name)
}

pub async fn start_minio_in(folder: &Path, address: SocketAddr) -> MinioServer {
    let binary = MINIO.find_or_install(&tools()).await.unwrap();
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    MinioServer::start(&binary, folder, address, any, "lakeroot", SecretString::from("lakeroot-secret")).await.unwrap()
}

/// A broker with its lake, and people who can sign in.
pub struct World {
    pub url: String,
    pub minio_url: String,
    pub bucket: String,
    pub ledger_bucket: String,
    /// Nothing, once a test has taken it away.
    pub auth: Option<KbaseAuth>,
    pub broker: Arc<Broker>,
    pub http: reqwest::Client,
    /// By access key: to make one costs more than to use it.
    clients: Mutex<HashMap<String, Client>>,
    settings: HashMap<String, String>,
}

/// Starts a broker, and says where it is.
async fn serve(settings: &HashMap<String, String>) -> (String, Arc<Broker>) {
    let app = lakepass::app(Config::load(None, &|name| settings.get(name).cloned()).unwrap()).unwrap();
    let broker = app.broker.clone();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(lakepass::http::serve(listener, app, std::future::pending()));
    (url, broker)
}

/// A way to a server, on which requests are counted, and which can be cut, or hold some back.
pub struct CountingProxy {
    pub url: String,
    requests: Arc<AtomicU32>,
    cut: watch::Sender<bool>,
    /// A part of the requests that are held back.
    hold: watch::Sender<Option<String>>,
    /// How many were.
    held: watch::Receiver<u32>,
}

impl CountingProxy {
    pub async fn to(server: SocketAddr) -> Self {
        Self::stripping(server, "").await
    }

    /// One that takes a header away, as something in front of MinIO should.
    pub async fn stripping(server: SocketAddr, header: &'static str) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(AtomicU32::new(0));
        let count = requests.clone();
        let (cut, is_cut) = watch::channel(false);
        let (hold, to_hold) = watch::channel(None::<String>);
        let (holding, held) = watch::channel(0);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (count, mut is_cut) = (count.clone(), is_cut.clone());
                let (mut to_hold, holding) = (to_hold.clone(), holding.clone());
                let pass = async move {
                    let server = tokio::net::TcpStream::connect(server).await.unwrap();
                    let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
                        (client.into_split(), server.into_split());
                    let there = async {
                        let mut chunk = vec![0; 64 << 10];
                        while let Ok(n @ 1..) = from_client.read(&mut chunk).await {
                            // Requests of these tests begin a chunk, and their bodies hold no such line.
                            let ends = chunk[..n].windows(11).filter(|w| w == b" HTTP/1.1\r\n").count();
                            count.fetch_add(ends as u32, Ordering::Relaxed);
                            let text = String::from_utf8_lossy(&chunk[..n]).into_owned();
                            let passes = |held: &Option<String>| held.as_ref().is_none_or(|held| !text.contains(held));
                            if !passes(&to_hold.borrow()) {
                                holding.send_modify(|n| *n += 1);
                            }
                            to_hold.wait_for(passes).await.ok();
                            to_server.write_all(&without(header, &chunk[..n])).await.unwrap();
                        }
                        to_server.shutdown().await.ok();
                    };
                    tokio::join!(there, async { tokio::io::copy(&mut from_server, &mut to_client).await.ok() });
                };
                tokio::spawn(async move {
                    tokio::select! {
                        biased;
                        _ = is_cut.wait_for(|cut| *cut) => {}
                        () = pass => {}
                    }
                });
            }
        });
        Self { url, requests, cut, hold, held }
    }

    /// To the world's broker.
    pub async fn to_broker(world: &World) -> Self {
        Self::to(world.url.strip_prefix("http://").unwrap().parse().unwrap()).await
    }

    /// Ends all connections, and takes no others.
    pub fn cut(&self) {
        self.cut.send_replace(true);
    }

    pub fn mend(&self) {
        self.cut.send_replace(false);
    }

    /// Holds requests back in which this text is.
    pub fn hold(&self, text: &str) {
        self.hold.send_replace(Some(text.to_owned()));
    }

    /// Waits until one is held back.
    pub async fn holds(&mut self) {
        self.held.changed().await.unwrap();
    }

    pub fn release(&self) {
        self.hold.send_replace(None);
    }

    pub fn requests(&self) -> u32 {
        self.requests.load(Ordering::Relaxed)
    }
}

fn without<'a>(header: &str, chunk: &'a [u8]) -> std::borrow::Cow<'a, [u8]> {
    let name = format!("\r\n{header}: ");
    let at = |from: usize, what: &[u8]| chunk[from..].windows(what.len()).position(|w| w == what).map(|at| from + at);
    match at(0, name.as_bytes()).and_then(|start| Some((start, at(start + 2, b"\r\n")?))) {
        Some((start, end)) if !header.is_empty() => [&chunk[..start], &chunk[end..]].concat().into(),
        _ => chunk.into(),
    }
}

/// Somebody with a token.
#[derive(Clone)]
pub struct Person {
    pub name: String,
    pub token: String,
}

/// Keys, of whatever kind.
#[derive(Clone)]
pub struct Keys {
    pub access_key: String,
    pub secret_key: String,
    pub session_token: Option<String>,
}

pub struct Answer {
    pub status: u16,
    pub json: Value,
    pub headers: reqwest::header::HeaderMap,
}

impl World {
    pub async fn new() -> Self {
        Self::on(shared_minio(), &[]).await
    }

    pub async fn on(minio: &MinioServer, settings: &[(&str, &str)]) -> Self {
        let console = format!("http://{}", minio.console);
        let (url, root_password) = (minio.url(), minio.root_password.expose_secret());
        let of_minio = [
            ("LAKEPASS_MINIO_URL", url.as_str()),
            ("LAKEPASS_CONSOLE_URL", &console),
            ("LAKEPASS_MINIO_ROOT_USER", &minio.root_user),
            ("LAKEPASS_MINIO_ROOT_PASSWORD", root_password),
        ];
        Self::with(url.clone(), &[&of_minio, settings].concat()).await
    }

    /// With settings of which the last ones count.
    pub async fn with(minio_url: String, settings: &[(&str, &str)]) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let n = format!("{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let auth = KbaseAuth::start_on_loopback(Arc::new(SystemClock)).await.unwrap();
        let (auth_url, bucket, ledger_bucket) = (auth.url(), format!("lake-{n}"), format!("ledger-{n}"));
        let by_default = [
            ("LAKEPASS_KBASE_AUTH_URL", auth_url.as_str()),
            // A busy machine may take longer than the default; that is no test's matter but those of outages.
            ("LAKEPASS_ANSWER_LIMIT", "20000"),
            ("LAKEPASS_REQUIRED_ROLES", "BERDL_USER"),
            ("LAKEPASS_ADMIN_ROLES", "KBASE_ADMIN"),
            ("LAKEPASS_BUCKET", &bucket),
            ("LAKEPASS_LEDGER_BUCKET", &ledger_bucket),
        ];
        let settings = by_default.iter().chain(settings).map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let settings: HashMap<String, String> = settings.collect();
        let (url, broker) = serve(&settings).await;
        let mut tries = 0..SETUP_TRIES;
        while let Err(error) = broker.prepare().await {
            assert!(tries.next().is_some(), "{error}");
        }
        Self {
            url,
            minio_url,
            bucket,
            ledger_bucket,
            auth: Some(auth),
            broker,
            http: reqwest::Client::new(),
            clients: Mutex::default(),
            settings,
        }
    }

    /// Another broker of this lake, with caches of its own. People are made by the first world.
    pub async fn replica(&self, settings: &[(&str, &str)]) -> Self {
        let mut of_replica = self.settings.clone();
        of_replica.extend(settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let (url, broker) = serve(&of_replica).await;
        Self {
            url,
            broker,
            minio_url: self.minio_url.clone(),
            bucket: self.bucket.clone(),
            ledger_bucket: self.ledger_bucket.clone(),
            auth: None,
            http: reqwest::Client::new(),
            clients: Mutex::default(),
            settings: of_replica,
        }
    }

    /// Somebody who has signed in once.
    pub async fn person(&self, name: &str) -> Person {
        let (person, username) = (self.stranger(name, &["BERDL_USER"]), name.parse().unwrap());
        // A busy machine may not keep the broker's time limits; that is no test's matter but those of outages.
        let mut tries = 0..SETUP_TRIES;
        while let Err(error) = self.broker.ensure_user(&username).await {
            assert!(tries.next().is_some(), "{error}");
        }
        person
    }

    pub async fn admin(&self) -> Person {
        self.stranger("dana", &["BERDL_USER", "KBASE_ADMIN"])
    }

    /// Somebody with a token, who was never here.
    pub fn stranger(&self, name: &str, roles: &[&str]) -> Person {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let username: Username = name.parse().unwrap();
        let token = format!("TOKEN{}OF{}", COUNT.fetch_add(1, Ordering::Relaxed), name.to_uppercase());
        let auth = self.auth.as_ref().unwrap();
        auth.add_user(AccountSpec::new(username.clone()).with_roles(roles.iter().copied()));
        let expires_at = Timestamp::now() + 24.hours();
        let spec = TokenSpec { kind: TokenKind::Login, mfa: Mfa::Used, expires_at };
        auth.put_token(&Token::parse(&token).unwrap(), &username, spec).unwrap();
        Person { name: name.to_owned(), token }
    }

    pub async fn call(&self, who: &Person, method: Method, path: &str, body: Value) -> Answer {
        let request = self.http.request(method, format!("{}{path}", self.url)).header("authorization", &who.token);
        let request = if body.is_null() { request } else { request.json(&body) };
        let answer = request.send().await.unwrap();
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let text = answer.text().await.unwrap();
        Answer { status, headers, json: serde_json::from_str(&text).unwrap_or(Value::Null) }
    }

    pub async fn get(&self, who: &Person, path: &str) -> Answer {
        self.call(who, Method::GET, path, Value::Null).await
    }

    pub async fn post(&self, who: &Person, path: &str, body: Value) -> Answer {
        self.call(who, Method::POST, path, body).await
    }

    pub async fn delete(&self, who: &Person, path: &str) -> Answer {
        self.call(who, Method::DELETE, path, Value::Null).await
    }

    /// Shares a folder, which must succeed.
    pub async fn share(&self, who: &Person, path: &str, users: &[&str], groups: &[&str], access: &str) {
        let body = json!({"path": path, "with_users": users, "with_groups": groups, "access": access});
        let answer = self.post(who, &format!("/users/{}/share", who.name), body).await;
        assert_eq!(answer.status, 200, "{}", answer.json);
    }

    pub async fn unshare(&self, who: &Person, path: &str, users: &[&str], groups: &[&str]) -> Answer {
        let body = json!({"path": path, "from_users": users, "from_groups": groups});
        self.post(who, &format!("/users/{}/unshare", who.name), body).await
    }

    /// Makes or changes a group as an administrator, which must succeed.
    pub async fn members(&self, group: &str, add: &[(&str, &str)], remove: &[&str]) {
        let add: Vec<Value> = add.iter().map(|(name, role)| json!({"username": name, "role": role})).collect();
        let admin = self.admin().await;
        let body = json!({"add_members": add, "remove_members": remove});
        let answer = self.post(&admin, &format!("/groups/{group}"), body).await;
        assert_eq!(answer.status, 200, "{}", answer.json);
    }

    /// Session keys, which must be given.
    pub async fn session(&self, who: &Person, scope: Value) -> Keys {
        let answer = self.post(who, "/sessions", json!({"scope": scope})).await;
        assert_eq!(answer.status, 200, "{}", answer.json);
        Keys::of_session(&answer.json)
    }

    /// A lake key, which must be given.
    pub async fn lake_key(&self, who: &Person) -> Keys {
        let answer = self.post(who, &format!("/users/{}", who.name), Value::Null).await;
        assert_eq!(answer.status, 200, "{}", answer.json);
        Keys::of_lake_key(&answer.json)
    }

    pub fn root(&self) -> Keys {
        Keys { access_key: "lakeroot".into(), secret_key: "lakeroot-secret".into(), session_token: None }
    }

    /// MinIO as root.
    pub fn minio(&self) -> Minio {
        let root = self.root();
        let config = MinioConfig {
            url: self.minio_url.parse().unwrap(),
            root_user: root.access_key,
            root_password: SecretString::from(root.secret_key),
            derivation_key: None,
            calls: 64,
        };
        Minio::new(config).unwrap()
    }

    /// Puts an object as root, for others to find.
    pub async fn seed(&self, key: &str) {
        let put = self.s3(&self.root()).put_object().bucket(&self.bucket).key(key).body(b"seed".to_vec().into());
        put.send().await.unwrap();
    }

    pub fn s3(&self, keys: &Keys) -> Client {
        let mut clients = self.clients.lock().unwrap();
        clients.entry(keys.access_key.clone()).or_insert_with(|| self.new_s3(keys)).clone()
    }

    fn new_s3(&self, keys: &Keys) -> Client {
        let token = keys.session_token.clone();
        let config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .endpoint_url(&self.minio_url)
            .region(Region::from_static("us-east-1"))
            .credentials_provider(Credentials::new(&keys.access_key, &keys.secret_key, token, None, "test"))
            .retry_config(RetryConfig::disabled())
            .force_path_style(true);
        Client::from_conf(config.build())
    }

    pub async fn can_get(&self, keys: &Keys, key: &str) -> bool {
        allowed(self.s3(keys).get_object().bucket(&self.bucket).key(key).send().await)
    }

    pub async fn can_put(&self, keys: &Keys, key: &str) -> bool {
        allowed(self.s3(keys).put_object().bucket(&self.bucket).key(key).body(b"put".to_vec().into()).send().await)
    }

    pub async fn can_delete(&self, keys: &Keys, key: &str) -> bool {
        allowed(self.s3(keys).delete_object().bucket(&self.bucket).key(key).send().await)
    }

    pub async fn can_list(&self, keys: &Keys, prefix: &str) -> bool {
        allowed(self.s3(keys).list_objects_v2().bucket(&self.bucket).prefix(prefix).send().await)
    }

    /// The status of a signed GET on the bucket, with a query that no SDK would send.
    pub async fn signed_get(&self, keys: &Keys, query: &[(&str, &str)]) -> u16 {
        use aws_sigv4::{http_request::*, sign::v4};
        let mut url = url::Url::parse(&format!("{}/{}", self.minio_url, self.bucket)).unwrap();
        url.query_pairs_mut().extend_pairs(query);
        let token = keys.session_token.clone();
        let identity = Credentials::new(&keys.access_key, &keys.secret_key, token, None, "test").into();
        let mut settings = SigningSettings::default();
        settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        let (name, time) = ("s3", std::time::SystemTime::now());
        let params = v4::SigningParams::builder().identity(&identity).region("us-east-1").name(name).time(time);
        let params = params.settings(settings).build().unwrap().into();
        let host = self.minio_url.strip_prefix("http://").unwrap();
        let signable =
            SignableRequest::new("GET", url.as_str(), [("host", host)].into_iter(), SignableBody::Bytes(b""));
        let (signature, _) = sign(signable.unwrap(), &params).unwrap().into_parts();
        let request =
            signature.headers().fold(self.http.get(url), |request, (name, value)| request.header(name, value));
        request.send().await.unwrap().status().as_u16()
    }
}

impl Keys {
    /// As the container credentials protocol and a `credential_process` spell them.
    pub fn of_aws(json: &Value) -> Self {
        let text = |name: &str| json[name].as_str().map(str::to_owned);
        let needed = |name: &str| text(name).unwrap_or_else(|| panic!("{name} in {json}"));
        let (access_key, secret_key) = (needed("AccessKeyId"), needed("SecretAccessKey"));
        Self { access_key, secret_key, session_token: text("Token").or_else(|| text("SessionToken")) }
    }

    pub fn of_lake_key(json: &Value) -> Self {
        let text = |name: &str| json[name].as_str().unwrap().to_owned();
        Self { access_key: text("access_key"), secret_key: text("secret_key"), session_token: None }
    }

    pub fn of_session(json: &Value) -> Self {
        let text = |name: &str| json[name].as_str().unwrap_or_else(|| panic!("{name} in {json}")).to_owned();
        Self {
            access_key: text("access_key_id"),
            secret_key: text("secret_access_key"),
            session_token: Some(text("session_token")),
        }
    }
}

/// Done, or refused for want of rights. Anything else is a failure of the test.
fn allowed<T, E>(answer: Result<T, SdkError<E>>) -> bool
where
    E: aws_sdk_s3::error::ProvideErrorMetadata + std::fmt::Debug,
    SdkError<E>: std::fmt::Debug,
{
    match answer {
        Ok(_) => true,
        Err(error) => {
            let status = error.raw_response().map(|response| response.status().as_u16());
            assert_eq!(status, Some(403), "neither done nor refused: {error:?}");
            false
        }
    }
}

/// Waits for something that becomes so, and no longer than it takes.
pub async fn eventually(what: &str, limit: Duration, mut is_so: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !is_so().await {
        assert!(started.elapsed() < limit, "{what}: not within {limit:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
