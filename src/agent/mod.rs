//! What runs where the lake is used: `lakepass agent` and `lakepass credentials`.
//!
//! Knows the broker's `GET /aws/container-credentials`, as any client of it would. Must not know how the broker works:
//! nothing of `broker`, `http`, `lake`, `minio` and `policy`.
//!
//! - No secret is an argument, in a URL or in the log.
//! - Every file with a secret is for its owner only, and whole or not there.
//! - Keys are served as long as they live, whatever becomes of the broker.

mod cache;
mod client;
mod credentials;
mod env_file;
mod keys;
mod private_file;
mod renewal;
mod server;
mod token_source;

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Context, bail};
use secrecy::{ExposeSecret, SecretString};
use tokio::{net::TcpListener, sync::watch};

pub use self::{
    client::BrokerClient,
    credentials::{CredentialsOptions, UseOfCache, credentials},
    token_source::TokenSource,
};
use crate::{
    Clock,
    server::{HEADERS_LIMIT, Limits},
};

/// How long requests that are under way may go on after the end was asked for.
const GRACE: Duration = Duration::from_secs(2);
/// How many connections there may be. SDKs have one for a moment, each time that they want keys.
const MAX_CONNECTIONS: usize = 512;

/// Where the agent is found.
pub struct AgentOptions {
    /// On loopback. A port of 0 picks a free one.
    pub listen: SocketAddr,
    /// Where the token is written that callers of this agent have to send. By default, in the account's own folder.
    pub authorization_token_file: Option<PathBuf>,
    /// Where the environment is written that leads SDKs here.
    pub env_file: Option<PathBuf>,
}

/// The files that lead an account's SDKs to its agent. They are there as long as this value.
struct Signposts {
    written: Vec<PathBuf>,
    _lock: std::fs::File,
}

/// Runs the agent until `shutdown`.
pub async fn run(
    client: BrokerClient,
    tokens: TokenSource,
    options: AgentOptions,
    clock: Arc<dyn Clock>,
    env: &dyn Fn(&str) -> Option<String>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> anyhow::Result<()> {
    let listen = options.listen;
    if !listen.ip().is_loopback() {
        bail!("{listen} is not on loopback: keys would pass in the clear, and SDKs refuse it");
    }
    let listener = TcpListener::bind(listen).await.with_context(|| {
        format!("listening on {listen} (if another account's agent is there, `--listen 127.0.0.1:0` picks a free port)")
    })?;
    let address = listener.local_addr()?;
    let authorization = random_token()?;
    let _signposts = Signposts::put_up(&options, address, &authorization, env)?;
    tracing::info!(%address, broker = client.address(), "listening");
    let (held, seen) = (watch::Sender::default(), clock.clone());
    let desk = server::Desk { authorization, held: held.subscribe(), clock };
    let (connections, of_one_address) = (MAX_CONNECTIONS, MAX_CONNECTIONS);
    let limits = Limits { connections, of_one_address, headers: HEADERS_LIMIT, grace: GRACE };
    tokio::select! {
        () = crate::server::serve(listener, server::router(desk), limits, shutdown) => Ok(()),
        never = renewal::renew(client, tokens, seen, held) => match never {},
    }
}

impl Signposts {
    fn put_up(
        options: &AgentOptions,
        address: SocketAddr,
        authorization: &SecretString,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> anyhow::Result<Self> {
        let token_file = match &options.authorization_token_file {
            Some(path) => std::path::absolute(path)?,
            None => {
                let folder = private_file::runtime_folder(env)
                    .context("set XDG_RUNTIME_DIR or HOME, or give --authorization-token-file")?;
                private_file::make_folder(&folder)?;
                folder.join("authorization-token")
            }
        };
        let Some(lock) = private_file::try_lock(&token_file)? else {
            bail!(
                "another agent of this account uses {}: give this one its own --authorization-token-file",
                token_file.display()
            );
        };
        let mut signposts = Self { written: Vec::new(), _lock: lock };
        signposts.write(token_file.clone(), authorization.expose_secret())?;
        if let Some(path) = &options.env_file {
            let url = format!("http://{address}{}", server::PATH);
            signposts.write(path.clone(), &env_file::text(&url, &token_file)?)?;
        }
        Ok(signposts)
    }

    fn write(&mut self, path: PathBuf, text: &str) -> anyhow::Result<()> {
        private_file::write(&path, text.as_bytes())?;
        self.written.push(path);
        Ok(())
    }
}

impl Drop for Signposts {
    fn drop(&mut self) {
        for path in &self.written {
            if let Err(error) = private_file::remove(path) {
                tracing::warn!(file = %path.display(), %error, "a file is left behind");
            }
        }
    }
}

/// 256 random bits as hexadecimal digits, without the end of a line: SDKs send what is in the file as it is.
fn random_token() -> anyhow::Result<SecretString> {
    let mut bytes = zeroize::Zeroizing::new([0; 32]);
    aws_lc_rs::rand::fill(bytes.as_mut()).ok().context("no random numbers")?;
    Ok(SecretString::from(bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>()))
}
