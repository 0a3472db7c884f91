//! The demo lake: people, groups, a little data, and a word on what to try.

use std::{
    collections::BTreeMap,
    fs,
    io::Write,
    net::SocketAddr,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, bail};
use futures::FutureExt;
use jiff::{Timestamp, ToSpan};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use tokio::net::TcpListener;

use super::{
    kbase_auth::{AccountSpec, KbaseAuth, Mfa, TokenKind, TokenSpec},
    minio_server::MinioServer,
    tools::MINIO,
};
use crate::{
    SystemClock,
    broker::{Broker, GroupChange, Member},
    config::Config,
    http,
    identity::{Identity, Token, Username},
    lake::Role,
};

const REQUIRED_ROLE: &str = "BERDL_USER";
const ADMIN_ROLE: &str = "KBASE_ADMIN";
const PEOPLE: [&str; 4] = ["alice", "bob", "carol", "dana"];
const ROOT_USER: &str = "lakeroot";

/// Where and how `lakepass dev` runs.
pub struct DevOptions {
    pub dir: PathBuf,
    pub tools: PathBuf,
    pub listen: SocketAddr,
    pub minio_listen: SocketAddr,
    pub console_listen: SocketAddr,
    pub ready_file: Option<PathBuf>,
}

/// What the ready file says. It holds secrets: the file is for its owner only.
#[derive(Serialize)]
struct Ready<'a> {
    url: &'a str,
    sign_in_url: &'a str,
    minio_url: &'a str,
    console_url: &'a str,
    minio_root_user: &'a str,
    minio_root_password: &'a str,
    auth_url: &'a str,
    tokens: &'a BTreeMap<&'static str, String>,
    bucket: &'a str,
    ledger_bucket: &'a str,
}

/// All that runs. It ends with this value.
struct Demo {
    minio: MinioServer,
    auth: KbaseAuth,
    tokens: BTreeMap<&'static str, String>,
    bucket: String,
    ledger_bucket: String,
    app: http::App,
    listener: TcpListener,
    _lock: fs::File,
}

/// Runs the demo until `shutdown`, which may come at any time.
pub async fn run(options: DevOptions, shutdown: impl Future<Output = ()> + Send + 'static) -> anyhow::Result<()> {
    let shutdown = shutdown.shared();
    let demo = tokio::select! {
        demo = start(&options) => demo?,
        () = shutdown.clone() => return Ok(()),
    };
    let url = format!("http://{}", demo.listener.local_addr()?);
    let ready = Ready {
        url: &url,
        sign_in_url: &format!("{url}/console"),
        minio_url: &demo.minio.url(),
        console_url: &format!("http://{}", demo.minio.console),
        minio_root_user: &demo.minio.root_user,
        minio_root_password: demo.minio.root_password.expose_secret(),
        auth_url: &demo.auth.url(),
        tokens: &demo.tokens,
        bucket: &demo.bucket,
        ledger_bucket: &demo.ledger_bucket,
    };
    greet(&ready);
    if let Some(path) = &options.ready_file {
        // Whole or not at all: somebody waits for it.
        let unfinished = path.with_extension("unfinished");
        write_private(&unfinished, &serde_json::to_vec(&ready)?)?;
        fs::rename(&unfinished, path)?;
    }
    http::serve(demo.listener, demo.app, shutdown).await;
    options.ready_file.as_deref().map_or(Ok(()), remove_if_there)?;
    Ok(())
}

async fn start(options: &DevOptions) -> anyhow::Result<Demo> {
    for address in [options.listen, options.minio_listen, options.console_listen] {
        if !address.ip().is_loopback() {
            bail!("{address} is not on loopback: `dev` has known tokens, and is for this machine only");
        }
    }
    // One of an earlier run would send whoever waits for it to a server that is gone.
    options.ready_file.as_deref().map_or(Ok(()), remove_if_there)?;
    let binary = MINIO.find_or_install(&options.tools).await?;
    fs::create_dir_all(&options.dir)?;
    let dir = options.dir.canonicalize()?;
    let lock = fs::File::create(dir.join("lock"))?;
    if lock.try_lock().is_err() {
        bail!("another `lakepass dev` runs on {}: end it, or choose another --dir", dir.display());
    }
    let listener =
        TcpListener::bind(options.listen).await.with_context(|| format!("listening on {}", options.listen))?;
    let root_password = kept_secret(&dir.join("root-password"))?;
    let (minio_listen, console_listen) = (options.minio_listen, options.console_listen);
    let data = dir.join("minio");
    let minio = MinioServer::start(&binary, &data, minio_listen, console_listen, ROOT_USER, root_password);
    let minio = minio.await?;
    let (auth, tokens) = demo_auth(&dir).await?;
    let config = config(&minio, &auth)?;
    let (bucket, ledger_bucket) = (config.lake.bucket().to_owned(), config.ledger_bucket.clone());
    let reconcile_every = config.reconcile_every;
    let app = crate::app(config)?;
    app.broker.prepare().await?;
    fill(&app.broker).await?;
    crate::tend(app.broker.clone(), app.audit.clone(), reconcile_every);
    Ok(Demo { minio, auth, tokens, bucket, ledger_bucket, app, listener, _lock: lock })
}

fn config(minio: &MinioServer, auth: &KbaseAuth) -> anyhow::Result<Config> {
    let settings = BTreeMap::from([
        ("LAKEPASS_MINIO_URL", minio.url()),
        ("LAKEPASS_CONSOLE_URL", format!("http://{}", minio.console)),
        ("LAKEPASS_MINIO_ROOT_USER", minio.root_user.clone()),
        ("LAKEPASS_MINIO_ROOT_PASSWORD", minio.root_password.expose_secret().to_owned()),
        ("LAKEPASS_KBASE_AUTH_URL", auth.url()),
        ("LAKEPASS_REQUIRED_ROLES", REQUIRED_ROLE.to_owned()),
        ("LAKEPASS_ADMIN_ROLES", ADMIN_ROLE.to_owned()),
        // Suites ask more than people do, on machines that are slower than a lake's.
        ("LAKEPASS_USER_REQUESTS", "0".to_owned()),
        ("LAKEPASS_ANSWER_LIMIT", "20000".to_owned()),
    ]);
    Ok(Config::load(None, &|name| settings.get(name).cloned())?)
}

/// KBase's auth service, with the demo's people. Their tokens stay the same over restarts.
async fn demo_auth(dir: &Path) -> anyhow::Result<(KbaseAuth, BTreeMap<&'static str, String>)> {
    let auth = KbaseAuth::start_on_loopback(Arc::new(SystemClock)).await?;
    let mut tokens = BTreeMap::new();
    for person in PEOPLE {
        let roles = if person == "dana" { &[REQUIRED_ROLE, ADMIN_ROLE][..] } else { &[REQUIRED_ROLE] };
        auth.add_user(AccountSpec::new(name(person)).with_roles(roles.iter().copied()));
        let secret = kept_secret(&dir.join(format!("token-{person}")))?;
        let token = Token::parse(secret.expose_secret())?;
        let expires_at = Timestamp::now() + (14 * 24).hours();
        auth.put_token(&token, &name(person), TokenSpec { kind: TokenKind::Login, mfa: Mfa::Used, expires_at })?;
        tokens.insert(person, secret.expose_secret().to_owned());
    }
    Ok((auth, tokens))
}

/// People, groups and a small table in each home and workspace. All of it may be there already.
async fn fill(broker: &Broker) -> anyhow::Result<()> {
    for person in PEOPLE {
        broker.ensure_user(&name(person)).await?;
    }
    let admin = Identity {
        username: name("dana"),
        roles: Arc::default(),
        admin: true,
        expires_at: Timestamp::now() + 1.hour(),
    };
    for (group, members) in [("KBase", &["alice", "bob"][..]), ("BER", &["carol"]), ("CDM_Science", &[])] {
        let group = group.parse()?;
        // A group that is there keeps the members that it has by now.
        if broker.group(&admin, &group).await.is_err() {
            let member = |person: &&str| Member { username: name(person), role: Role::Writer };
            let add_members = members.iter().map(member).collect();
            broker.change_group(&admin, &group, &GroupChange { add_members, ..GroupChange::default() }).await?;
        }
        broker.put_example(&broker.lake().workspace(&group), "samples.csv", SAMPLES).await?;
    }
    for person in PEOPLE {
        broker.put_example(&broker.lake().home(&name(person)), "genomes.csv", GENOMES).await?;
    }
    Ok(())
}

const GENOMES: &str =
    "genome,organism,length_bp\nGCF_000005845.2,Escherichia coli,4641652\nGCF_000009045.1,Bacillus subtilis,4215606\n";
const SAMPLES: &str = "sample,site,depth_m\nS1,Hanford,12\nS2,Oak Ridge,7\n";

fn greet(ready: &Ready) {
    let Ready { url, sign_in_url, minio_url, auth_url, tokens, bucket, .. } = ready;
    println!(
        "Lakepass runs.\n\n  broker        {url}\n  MinIO         {minio_url}\n  KBase auth    {auth_url}\n\nIn the browser: click {sign_in_url} and paste a token. It leads into MinIO's console.\n"
    );
    println!("Tokens of the demo's people (dana is an administrator):\n");
    for (person, token) in tokens.iter() {
        println!("  {person:<6} {token}");
    }
    let alice = &tokens["alice"];
    let minio_host = minio_url.trim_start_matches("http://");
    println!(
        r#"
Three lines to paste: session keys for alice, what they open (with MinIO's client; any S3 client does), a folder shared.

  eval "$(curl -sS -X POST {url}/sessions -H 'Authorization: {alice}' | tr '{{,' '\n\n' | sed -n 's/^"access_key_id":/export AWS_ACCESS_KEY_ID=/p;s/^"secret_access_key":/export AWS_SECRET_ACCESS_KEY=/p;s/^"session_token":/export AWS_SESSION_TOKEN=/p')"
  export MC_HOST_lake="http://$AWS_ACCESS_KEY_ID:$AWS_SECRET_ACCESS_KEY:$AWS_SESSION_TOKEN@{minio_host}"; mc ls lake/{bucket}/users-warehouse/alice/
  curl -sS -X POST {url}/users/alice/share -H 'Authorization: {alice}' -d '{{"path":"s3a://{bucket}/users-warehouse/alice/run7/","with_groups":["KBase"]}}'

Ctrl-C ends everything; the lake stays for the next time."#
    );
}

/// A secret of the demo's own, made once.
fn kept_secret(path: &Path) -> anyhow::Result<SecretString> {
    if let Ok(text) = fs::read_to_string(path) {
        return Ok(SecretString::from(text));
    }
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let mut bytes = zeroize::Zeroizing::new([0; 32]);
    aws_lc_rs::rand::fill(bytes.as_mut()).map_err(|_| anyhow::anyhow!("no random numbers"))?;
    let text: String = bytes.iter().map(|byte| LETTERS[usize::from(byte % 32)] as char).collect();
    write_private(path, text.as_bytes())?;
    Ok(SecretString::from(text))
}

fn write_private(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    // A file that is there could be readable for others.
    remove_if_there(path)?;
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    Ok(file.write_all(bytes)?)
}

fn remove_if_there(path: &Path) -> std::io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// The demo's people are ordinary users: their names are checked as everybody's.
fn name(text: &str) -> Username {
    text.parse().expect("it is a legal name")
}
