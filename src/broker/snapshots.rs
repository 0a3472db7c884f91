//! What a user may reach, remembered: for those who poll.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use moka::future::Cache;
use tokio::sync::{Notify, futures::Notified};

use super::{Because, Broker, Error, Standing};
use crate::{
    identity::Username,
    lake::{GroupName, Principal},
    minio::{
        MinioError,
        ledger::{Etags, Ledger, UserDoc},
    },
};

/// How old a snapshot or a look at the ledger may be: the longest that a change made by another replica goes unnoticed.
pub const FRESH_FOR: Duration = Duration::from_secs(1);

/// So many users' documents are read each second rather than the ledger listed.
const FEW: usize = 16;

/// MinIO lists a thousand documents in the time that it needs for about 100 reads (measured); a user takes two reads or so.
const DOCUMENTS_LISTED_FOR_ONE_READ: usize = 20;

/// How long a snapshot is kept for the case that MinIO goes away. What it says may be old then; but MinIO decides about
/// each request by itself when it is back.
const KEEP_FOR: Duration = Duration::from_secs(12 * 3600);

const MAX_SNAPSHOTS: u64 = 20_000;

/// How long to wait before the notification stream is asked for again.
const RETRY_AFTER: Duration = Duration::from_secs(5);
/// How long MinIO may take while there is an older snapshot to go on with: SDKs that wait for their keys give up after a second or
/// two.
const PATIENCE: Duration = Duration::from_millis(900);

pub(super) struct Snapshot {
    pub doc: UserDoc,
    pub standing: Vec<Standing>,
    /// When the first of its grants ends.
    ends: Option<Timestamp>,
}

/// The snapshots of this process.
///
/// - There is one flight for a user, and one for the look at the ledger.
/// - One is used for [`FRESH_FOR`]. Then it is taken anew; or, when many ask, as soon as a look says that the documents that it was
///   made of have changed. Other ones are used only while MinIO is away, or slow.
/// - Settling a user or a group forgets theirs, and so does an event of MinIO's notification stream. That is for speed, and what
///   is right does not hang on it.
pub(super) struct Snapshots {
    entries: Cache<Username, Entry>,
    looks: Cache<(), Look>,
    asks: Mutex<Asks>,
    forgotten: Notify,
}

#[derive(Clone)]
struct Entry {
    snapshot: Result<Arc<Snapshot>, Error>,
    taken_at: Instant,
    /// What its documents were before, if there was a look.
    made_of: Option<Vec<Option<String>>>,
}

/// A look at the whole ledger.
#[derive(Clone)]
struct Look {
    etags: Result<Arc<Etags>, MinioError>,
    began: Instant,
}

/// How many snapshots were asked for that were no longer fresh, in this second and in the one before.
struct Asks {
    since: Instant,
    now: usize,
    before: usize,
    /// Of the ledger, at the last look.
    documents: usize,
}

impl Asks {
    /// One more. `true`: a look costs less than to take so many anew.
    fn are_many(&mut self) -> bool {
        let elapsed = self.since.elapsed();
        if elapsed >= FRESH_FOR {
            self.before = if elapsed < 2 * FRESH_FOR { self.now } else { 0 };
            (self.since, self.now) = (Instant::now(), 0);
        }
        self.now += 1;
        self.now.max(self.before) > FEW.max(self.documents / DOCUMENTS_LISTED_FOR_ONE_READ)
    }
}

impl Snapshots {
    pub fn new() -> Self {
        Self {
            entries: Cache::builder().max_capacity(MAX_SNAPSHOTS).time_to_live(KEEP_FOR).build(),
            looks: Cache::new(1),
            asks: Mutex::new(Asks { since: Instant::now(), now: 0, before: 0, documents: 0 }),
            forgotten: Notify::new(),
        }
    }

    /// Called when something of the user was changed: who asks next sees it.
    pub async fn forget(&self, user: &Username) {
        self.entries.invalidate(user).await;
        self.forgotten.notify_waiters();
    }

    /// Called when a group was changed: the same for everybody who may be a member.
    pub async fn forget_members(&self, group: &GroupName) {
        let may_be_in = |entry: &Entry| {
            entry.snapshot.as_ref().is_ok_and(|s| s.doc.groups.iter().any(|theirs| theirs.key() == group.key()))
        };
        for (user, _) in self.entries.iter().filter(|(_, entry)| may_be_in(entry)) {
            self.entries.invalidate(&*user).await;
        }
        self.forgotten.notify_waiters();
    }
}

impl Entry {
    fn is_current(&self, etags: Option<&Etags>, now: Timestamp) -> bool {
        self.snapshot.as_ref().is_ok_and(|snapshot| {
            let unchanged = || etags.is_some_and(|etags| self.made_of.as_ref() == Some(&etags.of(&snapshot.doc)));
            snapshot.ends.is_none_or(|end| now < end) && (self.taken_at.elapsed() < FRESH_FOR || unchanged())
        })
    }
}

impl Broker {
    pub(super) async fn snapshot(&self, user: &Username) -> Result<Arc<Snapshot>, Error> {
        let before = self.snapshots.entries.get(user).await.filter(|entry| entry.snapshot.is_ok());
        if let Some(entry) = before.as_ref().filter(|entry| entry.is_current(None, self.now())) {
            return entry.snapshot.clone();
        }
        let many = self.snapshots.asks.lock().expect("nothing panics in there").are_many();
        let look = if many { self.etags().await.map(Some) } else { Ok(None) };
        let etags = match (look, &before) {
            (Err(MinioError::Unavailable { .. }), Some(before)) => return before.snapshot.clone(),
            (etags, _) => etags?,
        };
        let (etags, now) = (etags.as_deref(), self.now());
        let take = async {
            let taken_at = Instant::now();
            let patience = if before.is_some() { PATIENCE } else { Duration::MAX };
            let late = |_| Err(MinioError::Unavailable { what: "snapshot".into(), reason: "slow".into() }.into());
            match (tokio::time::timeout(patience, self.take_snapshot(user)).await.unwrap_or_else(late), before) {
                (Err(Error::Minio(MinioError::Unavailable { .. })), Some(before)) => Entry { taken_at, ..before },
                (snapshot, _) => {
                    let snapshot = snapshot.map(Arc::new);
                    let made_of = etags.zip(snapshot.as_ref().ok()).map(|(etags, snapshot)| etags.of(&snapshot.doc));
                    Entry { snapshot, taken_at, made_of }
                }
            }
        };
        let entry = self.snapshots.entries.entry_by_ref(user);
        entry.or_insert_with_if(take, |entry| !entry.is_current(etags, now)).await.into_value().snapshot
    }

    async fn take_snapshot(&self, user: &Username) -> Result<Snapshot, Error> {
        let doc = self.ensure_user(user).await?;
        let standing = self.standing(&doc).await?;
        let end = |standing: &Standing| match &standing.because {
            Because::Own | Because::Unreadable(_) => None,
            Because::Given(grant) => grant.expires_at,
            Because::Member { given, .. } => given.as_ref().and_then(|grant| grant.expires_at),
        };
        Ok(Snapshot { ends: standing.iter().filter_map(end).min(), standing, doc })
    }

    /// What the ledger was within [`FRESH_FOR`].
    async fn etags(&self) -> Result<Arc<Etags>, MinioError> {
        let look = async {
            let began = Instant::now();
            let etags = self.ledger.etags().await.map(Arc::new);
            if let Ok(etags) = &etags {
                self.snapshots.asks.lock().expect("nothing panics in there").documents = etags.count();
            }
            Look { etags, began }
        };
        let is_old = |look: &Look| look.etags.is_err() || look.began.elapsed() >= FRESH_FOR;
        self.snapshots.looks.entry(()).or_insert_with_if(look, is_old).await.into_value().etags
    }

    /// Ends when somebody's snapshot is forgotten after this call. There may be other news without it.
    pub fn news(&self) -> Notified<'_> {
        self.snapshots.forgotten.notified()
    }

    /// Forgets snapshots as soon as MinIO tells of a change made by others, as long as the process lives.
    pub async fn follow_ledger(&self) {
        let is_up = metrics::gauge!("lakepass_ledger_stream_up");
        loop {
            is_up.set(0.0);
            match self.minio.events(self.ledger.bucket()).await {
                Ok(mut events) => {
                    is_up.set(1.0);
                    while let Ok(keys) = events.next().await {
                        self.heard(&keys).await;
                    }
                }
                Err(error) => tracing::debug!(%error, "no notification stream"),
            }
            tokio::time::sleep(RETRY_AFTER).await;
        }
    }

    async fn heard(&self, keys: &[String]) {
        for subject in keys.iter().filter_map(|key| Ledger::subject(key)) {
            match subject {
                Principal::User(user) => self.snapshots.forget(&user).await,
                Principal::Group(group) => self.snapshots.forget_members(&group).await,
            }
        }
    }
}
