//! What a user may reach, remembered for a moment: for those who poll.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use moka::future::Cache;

use super::{Broker, Error, Standing};
use crate::{
    identity::Username,
    minio::{MinioError, ledger::UserDoc},
};

/// How old a snapshot may be: the longest that a change made by another replica goes unnoticed.
pub const FRESH_FOR: Duration = Duration::from_secs(1);

/// How long a snapshot is kept for the case that MinIO goes away. What it says may be old then; but MinIO decides about
/// each request by itself when it is back.
const KEEP_FOR: Duration = Duration::from_secs(12 * 3600);

const MAX_SNAPSHOTS: u64 = 20_000;

/// How long MinIO may take while there is an older snapshot to go on with: SDKs that wait for their keys give up after a second or
/// two.
const PATIENCE: Duration = Duration::from_millis(900);

pub(super) struct Snapshot {
    pub doc: UserDoc,
    pub standing: Vec<Standing>,
}

/// The snapshots of this process.
///
/// - There is one flight for a user.
/// - One that is older than [`FRESH_FOR`] is used only while MinIO is away, or slow.
/// - Settling a user forgets theirs; one that is being taken at that moment may still be seen for [`FRESH_FOR`].
pub(super) struct Snapshots(Cache<Username, Entry>);

#[derive(Clone)]
struct Entry {
    snapshot: Result<Arc<Snapshot>, Error>,
    taken_at: Timestamp,
}

impl Snapshots {
    pub fn new() -> Self {
        Self(Cache::builder().max_capacity(MAX_SNAPSHOTS).time_to_live(KEEP_FOR).build())
    }

    /// Called when something of the user was changed here: who asks next sees it.
    pub async fn forget(&self, user: &Username) {
        self.0.invalidate(user).await;
    }
}

impl Broker {
    pub(super) async fn snapshot(&self, user: &Username) -> Result<Arc<Snapshot>, Error> {
        let now = self.now();
        let fresh = |entry: &Entry| {
            // In either direction: a clock may be set back.
            entry.snapshot.is_ok() && now.duration_since(entry.taken_at).unsigned_abs() < FRESH_FOR
        };
        let before = self.snapshots.0.get(user).await;
        if let Some(entry) = before.as_ref().filter(|entry| fresh(entry)) {
            return entry.snapshot.clone();
        }
        let patience =
            if before.as_ref().is_some_and(|entry| entry.snapshot.is_ok()) { PATIENCE } else { Duration::MAX };
        let take = async {
            let late = |_| Err(MinioError::Unavailable { what: "snapshot".into(), reason: "slow".into() }.into());
            let taken = tokio::time::timeout(patience, self.take_snapshot(user)).await.unwrap_or_else(late);
            let snapshot = match (taken, before) {
                (Err(Error::Minio(MinioError::Unavailable { .. })), Some(before)) => before.snapshot,
                (snapshot, _) => snapshot.map(Arc::new),
            };
            Entry { snapshot, taken_at: now }
        };
        self.snapshots.0.entry_by_ref(user).or_insert_with_if(take, |entry| !fresh(entry)).await.into_value().snapshot
    }

    async fn take_snapshot(&self, user: &Username) -> Result<Snapshot, Error> {
        let doc = self.ensure_user(user).await?;
        Ok(Snapshot { standing: self.standing(&doc).await?, doc })
    }
}
