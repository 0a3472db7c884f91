//! Taking turns in one process, so that many changes to one document do not outrun each other.

use std::{
    hash::{BuildHasher, RandomState},
    time::Duration,
};

use tokio::sync::{Mutex, MutexGuard};

/// How long somebody waits for their turn. Then they go anyway: the ledger's compare-and-swap is what keeps order, turns
/// only save work. Short, so that a MinIO that stalls shows as such within 3 s.
const PATIENCE: Duration = Duration::from_millis(500);

/// A fixed number of locks, of which each name has one.
pub(super) struct Turns {
    locks: [Mutex<()>; 256],
    hasher: RandomState,
}

impl Default for Turns {
    fn default() -> Self {
        Self { locks: std::array::from_fn(|_| Mutex::new(())), hasher: RandomState::new() }
    }
}

impl Turns {
    pub async fn wait(&self, name: &str) -> Option<MutexGuard<'_, ()>> {
        let at = usize::from(self.hasher.hash_one(name).to_le_bytes()[0]);
        tokio::time::timeout(PATIENCE, self.locks[at].lock()).await.ok()
    }
}
