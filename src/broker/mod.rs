//! The use cases. Knows who may do what, and in which order the ledger and MinIO are changed.
//!
//! Must not know HTTP. A change is always: change the ledger document, then settle ([`settle`]): make MinIO what the ledger
//! says, and look again.

mod access;
mod admission;
mod audit;
mod backup;
mod check;
mod deletion;
mod derived_keys;
mod drift;
mod groups;
mod import;
mod lake_keys;
mod policies;
mod reconcile;
mod session_cache;
mod sessions;
mod settle;
mod sharing;
mod snapshots;
mod standing;
mod turns;
mod users;

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};

use futures::{
    StreamExt, TryFuture, TryStreamExt,
    stream::{self, Buffered, TryCollect},
};
use jiff::Timestamp;

use crate::{
    Clock,
    identity::{Identity, Username},
    lake::{Lake, Principal, Scope},
    minio::{
        Minio, MinioError,
        ledger::{AccountState, GroupDoc, Ledger, UserDoc},
    },
    policy::{Templates, TooLarge},
};

pub use self::{
    access::AccessReport,
    audit::{
        Actor, Audit, Sink, audited, for_request, for_same_request, legible, note_caller, note_subject, record_given,
        record_refusal, without_request,
    },
    backup::{Export, Record, Restored, Run},
    drift::{Drift, Kind},
    groups::{GroupChange, GroupView, Member},
    import::{Import, Note},
    lake_keys::IssuedLakeKey,
    reconcile::{Mended, Repair},
    session_cache::CachedSession,
    sessions::{IssuedSession, SessionRequest},
    sharing::{MAX_FROM_ONE, Outcome, Share, SharedPath, Unshare},
    standing::{Because, Standing},
    users::{GivenGrant, UserPage, UserSummary, UserView},
};

/// Why a use case did nothing. `Display` is for the caller as well: it says what to do, and nothing that they may not know.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    #[error("{0}")]
    Forbidden(String),
    #[error("{0}")]
    NotFound(String),
    #[error("{0}")]
    Invalid(String),
    #[error("{0}")]
    Conflict(String),
    #[error("the account `{0}` is disabled: ask an administrator to enable it")]
    Disabled(Username),
    #[error("{0}: log in again for a new one")]
    TokenEnds(String),
    #[error("`{0}` is not yours to that extent: list only what GET /users/{{you}} shows")]
    ScopeExceeds(String),
    #[error("{0}")]
    PolicyTooLarge(TooLarge),
    #[error("these are too many requests: ask again in a moment")]
    TooMany { retry_after: std::time::Duration },
    #[error("the policy has no meaning in MinIO: a condition in it does not go with its actions, for example")]
    PolicyRefused,
    #[error("what is decided cannot be recorded now, and nothing may be decided unrecorded: ask again later")]
    Unaudited,
    #[error("the lake's record `{0}` is damaged: an administrator has to restore it (`lakepass ledger restore`)")]
    Damaged(String),
    /// `Display` is for logs alone.
    #[error(transparent)]
    Minio(MinioError),
}

impl From<MinioError> for Error {
    fn from(error: MinioError) -> Self {
        match error {
            MinioError::Damaged { what, reason } => {
                tracing::error!(document = what, reason, "a document of the ledger is damaged");
                Self::Damaged(what)
            }
            error => Self::Minio(error),
        }
    }
}

/// How sessions are issued.
#[derive(Debug, Clone)]
pub struct SessionLimits {
    pub default: std::time::Duration,
    pub max: std::time::Duration,
    pub default_scope: Scope,
}

/// Whether data goes with its owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Data {
    Keep,
    Purge,
}

/// What a revocation ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Revoke {
    Sessions,
    SessionsAndLakeKeys,
}

pub struct Broker {
    minio: Arc<Minio>,
    ledger: Ledger,
    lake: Lake,
    templates: Templates,
    limits: SessionLimits,
    admission: admission::Admission,
    turns: turns::Turns,
    snapshots: snapshots::Snapshots,
    session_cache: session_cache::SessionCache,
    /// Whose ended grants are being removed, or could not be.
    ending: Mutex<BTreeSet<Principal>>,
    clock: Arc<dyn Clock>,
}

impl Broker {
    pub fn new(
        minio: Arc<Minio>,
        ledger_bucket: String,
        lake: Lake,
        templates: Templates,
        limits: SessionLimits,
        requests_per_minute: u32,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let ledger = Ledger::new(minio.clone(), ledger_bucket);
        Self {
            minio,
            ledger,
            lake,
            templates,
            limits,
            admission: admission::Admission::new(requests_per_minute),
            turns: turns::Turns::default(),
            snapshots: snapshots::Snapshots::new(),
            session_cache: session_cache::SessionCache::new(),
            ending: Mutex::default(),
            clock,
        }
    }

    /// Makes the two buckets, if they are missing, and has MinIO keep every version of the ledger's documents.
    pub async fn prepare(&self) -> Result<(), Error> {
        self.minio.ensure_bucket(self.lake.bucket()).await?;
        self.minio.ensure_bucket(self.ledger.bucket()).await?;
        Ok(self.minio.keep_versions(self.ledger.bucket()).await?)
    }

    /// Whether MinIO does what we ask of it.
    pub async fn is_ready(&self) -> Result<(), Error> {
        Ok(self.minio.is_ready(self.ledger.bucket()).await?)
    }

    pub fn lake(&self) -> &Lake {
        &self.lake
    }

    pub fn minio_url(&self) -> &url::Url {
        self.minio.url()
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Who is disabled decides nothing for others.
    async fn require_enabled(&self, actor: &Identity) -> Result<(), Error> {
        if actor.admin {
            return Ok(());
        }
        match self.ledger.read::<UserDoc>(&actor.username).await? {
            Some(doc) if doc.state == AccountState::Disabled => Err(Error::Disabled(doc.username)),
            Some(_) | None => Ok(()),
        }
    }

    async fn known_user(&self, user: &Username) -> Result<UserDoc, Error> {
        self.ledger.read::<UserDoc>(user).await?.ok_or_else(|| unknown_user(user))
    }

    /// The group of exactly this name.
    async fn known_group(&self, group: &crate::lake::GroupName) -> Result<GroupDoc, Error> {
        let found = self.ledger.read::<GroupDoc>(group).await?;
        found.filter(|doc| doc.group == *group && !doc.deleting).ok_or_else(|| unknown_group(group))
    }
}

/// How many calls to MinIO one use case makes side by side.
const SIDE_BY_SIDE: usize = 16;

/// All answers in their order, or the first error; some of the calls at a time.
///
/// The future's type is named, so that it holds nothing of the iterator that it was made from: else rustc could not tell
/// that it is `Send`.
fn all<F>(calls: impl IntoIterator<Item = F>) -> All<F>
where
    F: TryFuture + Future<Output = Result<F::Ok, F::Error>>,
{
    stream::iter(calls.into_iter().collect::<Vec<F>>()).buffered(SIDE_BY_SIDE).try_collect()
}

type All<F> = TryCollect<Buffered<stream::Iter<std::vec::IntoIter<F>>>, Vec<<F as TryFuture>::Ok>>;

/// What was read; nothing if the document is damaged.
fn if_readable<T>(read: Result<T, impl Into<Error>>) -> Result<Option<T>, Error> {
    match read.map_err(Into::into) {
        Err(Error::Damaged(_)) => Ok(None),
        read => read.map(Some),
    }
}

/// Refuses everybody but the user and administrators.
fn require_self(actor: &Identity, user: &Username) -> Result<(), Error> {
    if actor.admin || actor.username == *user {
        return Ok(());
    }
    Err(Error::Forbidden("only the user themselves and administrators may do this".into()))
}

/// Refuses everybody but administrators.
fn require_admin(actor: &Identity) -> Result<(), Error> {
    if actor.admin { Ok(()) } else { Err(Error::Forbidden("only administrators may do this".into())) }
}

fn unknown_user(user: &Username) -> Error {
    Error::NotFound(format!("there is no user `{user}` here: they appear when they sign in for the first time"))
}

fn unknown_group(group: &crate::lake::GroupName) -> Error {
    Error::NotFound(format!("there is no group `{group}`, or you are not a member of it"))
}
