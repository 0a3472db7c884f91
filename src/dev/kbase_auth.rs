//! KBase's auth service in this process, with accounts and tokens from whoever started it: for `lakepass dev` and tests.
//!
//! It answers as the real one does (kbase/auth2, API V2): the same paths, the same codes, compact JSON. It knows nothing
//! of Lakepass but its words for a username and a token, and it must never serve anything but a loopback demonstration.

mod answers;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use serde::Serialize;
use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle};

use crate::{
    Clock,
    identity::{Token, TokenDigest, Username},
};

/// A KBase auth service that runs until it is dropped.
pub struct KbaseAuth {
    address: SocketAddr,
    shared: Arc<Shared>,
    shutdown: Option<oneshot::Sender<()>>,
    server: Option<JoinHandle<io::Result<()>>>,
}

/// A person, as an administrator of KBase would set them up.
#[derive(Debug, Clone)]
pub struct AccountSpec {
    pub username: Username,
    pub display: String,
    pub email: String,
    pub customroles: BTreeSet<String>,
}

/// What a token is, and until when.
#[derive(Debug, Clone, Copy)]
pub struct TokenSpec {
    pub kind: TokenKind,
    pub mfa: Mfa,
    pub expires_at: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum TokenKind {
    Login,
    Agent,
    Developer,
    Service,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Mfa {
    Used,
    NotUsed,
    Unknown,
}

/// How often each endpoint was asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Calls {
    pub root: u64,
    pub token: u64,
    pub me: u64,
    pub users: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("there is no such account")]
pub struct NoSuchAccount;

struct Shared {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

struct State {
    accounts: BTreeMap<Username, Account>,
    tokens: HashMap<TokenDigest, IssuedToken>,
    cachefor: Duration,
    calls: Calls,
}

struct Account {
    spec: AccountSpec,
    created: Timestamp,
    standing: Standing,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    Enabled,
    Disabled,
}

struct IssuedToken {
    id: String,
    username: Username,
    created: Timestamp,
    spec: TokenSpec,
}

impl AccountSpec {
    /// An account with a display name made of the username, and no roles.
    pub fn new(username: Username) -> Self {
        Self {
            display: format!("{username} of the demonstration"),
            email: format!("{username}@example.org"),
            customroles: BTreeSet::new(),
            username,
        }
    }

    pub fn with_roles<'a>(mut self, roles: impl IntoIterator<Item = &'a str>) -> Self {
        self.customroles = roles.into_iter().map(str::to_owned).collect();
        self
    }
}

impl KbaseAuth {
    /// Serves on a free port of the loopback interface.
    pub async fn start_on_loopback(clock: Arc<dyn Clock>) -> io::Result<Self> {
        Self::start(TcpListener::bind("127.0.0.1:0").await?, clock)
    }

    /// Serves on this listener. Must be called within a tokio runtime.
    pub fn start(listener: TcpListener, clock: Arc<dyn Clock>) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let state = State {
            accounts: BTreeMap::new(),
            tokens: HashMap::new(),
            cachefor: Duration::from_secs(300),
            calls: Calls::default(),
        };
        let shared = Arc::new(Shared { clock, state: Mutex::new(state) });
        let (shutdown, stopped) = oneshot::channel();
        let server = axum::serve(listener, answers::router(Arc::clone(&shared))).with_graceful_shutdown(async {
            // An error is the sender having gone: the same news.
            stopped.await.ok();
        });
        let server = tokio::spawn(server.into_future());
        Ok(Self { address, shared, shutdown: Some(shutdown), server: Some(server) })
    }

    /// Without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Adds an account, enabled; one of the same username is replaced and keeps its tokens.
    pub fn add_user(&self, spec: AccountSpec) {
        let created = self.shared.clock.now();
        self.with_state(|state| {
            state.accounts.insert(spec.username.clone(), Account { spec, created, standing: Standing::Enabled })
        });
    }

    /// Makes a token of 32 random characters, as KBase does.
    pub fn issue_token(
        &self,
        username: &Username,
        lifetime: Duration,
        kind: TokenKind,
        mfa: Mfa,
    ) -> Result<Token, NoSuchAccount> {
        let token = random_token();
        let expires_at = self.shared.clock.now().checked_add(lifetime).unwrap_or(Timestamp::MAX);
        self.put_token(&token, username, TokenSpec { kind, mfa, expires_at })?;
        Ok(token)
    }

    /// Takes a token that is already known, so that it survives a restart. Only its digest is kept.
    pub fn put_token(&self, token: &Token, username: &Username, spec: TokenSpec) -> Result<(), NoSuchAccount> {
        let issued =
            IssuedToken { id: random_id(), username: username.clone(), created: self.shared.clock.now(), spec };
        self.with_state(|state| {
            if !state.accounts.contains_key(username) {
                return Err(NoSuchAccount);
            }
            state.tokens.insert(token.sha256(), issued);
            Ok(())
        })
    }

    pub fn revoke_token(&self, token: &Token) {
        self.with_state(|state| state.tokens.remove(&token.sha256()));
    }

    pub fn disable(&self, username: &Username) -> Result<(), NoSuchAccount> {
        self.with_account(username, |account| account.standing = Standing::Disabled)
    }

    pub fn enable(&self, username: &Username) -> Result<(), NoSuchAccount> {
        self.with_account(username, |account| account.standing = Standing::Enabled)
    }

    pub fn set_roles<'a>(
        &self,
        username: &Username,
        roles: impl IntoIterator<Item = &'a str>,
    ) -> Result<(), NoSuchAccount> {
        let roles = roles.into_iter().map(str::to_owned).collect();
        self.with_account(username, |account| account.spec.customroles = roles)
    }

    /// What `/token` answers as `cachefor`, from now on. Five minutes at first.
    pub fn set_cachefor(&self, cachefor: Duration) {
        self.with_state(|state| state.cachefor = cachefor);
    }

    pub fn calls(&self) -> Calls {
        self.with_state(|state| state.calls)
    }

    /// Stops, and returns when the port is closed and connections that were idle are gone.
    pub async fn stop(mut self) {
        self.shutdown.take();
        if let Some(server) = self.server.take() {
            server.await.ok();
        }
    }

    fn with_state<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        self.shared.with_state(work)
    }

    fn with_account(&self, username: &Username, work: impl FnOnce(&mut Account)) -> Result<(), NoSuchAccount> {
        self.with_state(|state| state.accounts.get_mut(username).map(work).ok_or(NoSuchAccount))
    }
}

// Dropping the sender in it is what shuts the server down.
impl std::fmt::Debug for KbaseAuth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KbaseAuth").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Shared {
    fn with_state<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        work(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// 32 characters of base32, from the system's random numbers.
fn random_token() -> Token {
    const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let text: String = random_bytes::<32>().iter().map(|byte| char::from(BASE32[usize::from(byte % 32)])).collect();
    Token::parse(&text).expect("base32 is visible ASCII")
}

/// A UUID of version 4.
fn random_id() -> String {
    let mut bytes = random_bytes::<16>();
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).expect("the system has random numbers");
    bytes
}
