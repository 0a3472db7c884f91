//! How much of the broker one user may have. Who polls for keys that are in memory is not counted.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use moka::sync::Cache;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{Broker, Error};
use crate::{
    identity::{Identity, Username},
    limits::{Allowances, count_refusal},
};

/// How many requests of one user are under way at once.
const PLACES: usize = 16;
/// How long a user's further requests wait for one of them: longer than most callers, who come again.
const PATIENCE: Duration = Duration::from_secs(10);
/// So many names in one request count as another request.
const NAMES: usize = 10;
/// How many users' places are kept. One that is not there any more has all of its places free.
const MAX_USERS: u64 = 20_000;
/// Longer than any request takes.
const KEEP_FOR: Duration = Duration::from_secs(300);

pub(super) struct Admission {
    requests: Allowances<Username>,
    places: Cache<Username, Arc<Semaphore>>,
}

impl Admission {
    /// So many requests a minute for each user; without limit with 0.
    pub fn new(per_minute: u32) -> Self {
        let places = Cache::builder().max_capacity(MAX_USERS).time_to_idle(KEEP_FOR).build();
        Self { requests: Allowances::new(per_minute), places }
    }
}

impl Broker {
    /// One of the user's places, for as long as it is held.
    pub async fn admit(&self, user: &Username) -> Result<OwnedSemaphorePermit, Error> {
        self.count(user)?;
        let places = self.admission.places.get_with_by_ref(user, || Arc::new(Semaphore::new(PLACES)));
        let place = tokio::time::timeout(PATIENCE, places.acquire_owned()).await;
        place.ok().and_then(Result::ok).ok_or_else(|| {
            count_refusal("user's requests at once");
            Error::TooMany { retry_after: Duration::from_secs(1) }
        })
    }

    /// Counts the names in a request, beyond the first ones. Who runs the broker is not counted.
    pub(super) fn count_names(&self, actor: &Identity, names: usize) -> Result<(), Error> {
        (0..names / NAMES).try_for_each(|_| self.count(&actor.username))
    }

    /// Counts something that asks MinIO for the user.
    pub fn count(&self, user: &Username) -> Result<(), Error> {
        self.admission.requests.take(user.clone(), Instant::now()).map_err(|retry_after| {
            count_refusal("user's requests");
            Error::TooMany { retry_after }
        })
    }
}
