//! `lakepass credentials`: the keys for an AWS `credential_process`, from the cache or the broker.

use std::{path::PathBuf, time::Duration};

use tokio::time::Instant;

use super::{
    cache::Cache,
    client::{BrokerClient, FetchError, Known},
    keys::Keys,
    private_file::{self, FileError},
    token_source::{NoToken, TokenSource},
};
use crate::Clock;

/// How long somebody else's fetch is waited for: longer than one takes.
const LOCK_LIMIT: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(25);
/// How long the broker is to wait for others than the kept keys: a replica may not know at once that they were revoked.
const NEWS_LIMIT: Duration = Duration::from_secs(2);

/// How the keys are had.
pub struct CredentialsOptions {
    /// Where they are kept. By default, in the account's folder for caches.
    pub cache_file: Option<PathBuf>,
    /// With less than this left, newer ones are asked for (or with half of their life left, if that is less).
    pub window: Duration,
    pub cached: UseOfCache,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UseOfCache {
    WhenFresh,
    /// The broker is asked for others, whatever is there: kept keys that were revoked do not tell.
    WhenTheBrokerIsAway,
}

#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    #[error(transparent)]
    NoToken(#[from] NoToken),
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error("no folder for the cache: set XDG_CACHE_HOME or HOME, or give --cache-file")]
    NoFolder,
    #[error("the broker answers that there is nothing new, but it was not asked that")]
    NoNews,
    #[error("another process has been fetching keys for too long: try again")]
    Locked,
}

/// Keys that live. Of many processes that ask at once, one asks the broker.
pub async fn credentials(
    client: &BrokerClient,
    tokens: &TokenSource,
    options: CredentialsOptions,
    clock: &dyn Clock,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Keys, CredentialsError> {
    let token = tokens.read()?;
    let path = match options.cache_file {
        Some(path) => path,
        None => {
            let folder = private_file::cache_folder(env).ok_or(CredentialsError::NoFolder)?;
            private_file::make_folder(&folder)?;
            Cache::default_path(&folder, client.address(), &tokens.place())
        }
    };
    let cache = Cache::new(path, client.address(), &token);
    let started = Instant::now();
    let _lock = loop {
        // Before reading: so that what another has just written is seen.
        let lock = cache.try_lock()?;
        let cached = cache.read()?.filter(|_| options.cached == UseOfCache::WhenFresh);
        let now = clock.now();
        match (cached, lock) {
            (Some(cached), _) if cached.are_fresh(now, options.window) => return Ok(cached.keys),
            // Somebody is fetching newer ones.
            (Some(cached), None) if cached.keys.are_alive(now) => return Ok(cached.keys),
            (_, Some(lock)) => break lock,
            (_, None) if started.elapsed() > LOCK_LIMIT => return Err(CredentialsError::Locked),
            (_, None) => tokio::time::sleep(LOOK_EVERY).await,
        }
    };
    let kept = cache.read()?.filter(|kept| kept.keys.are_alive(clock.now()));
    let known = kept.as_ref().filter(|_| options.cached == UseOfCache::WhenTheBrokerIsAway);
    let known = known.and_then(|kept| kept.tag.as_deref()).map(|tag| Known { tag, wait: NEWS_LIMIT });
    match (client.ask(&token, known).await, kept) {
        (Ok(Some(fetched)), _) => {
            if let Err(error) = cache.write(&fetched, clock.now()) {
                tracing::warn!(%error, "the keys are not kept for the next time");
            }
            Ok(fetched.keys)
        }
        (Ok(None), Some(kept)) => Ok(kept.keys),
        (Ok(None), None) => Err(CredentialsError::NoNews),
        (Err(FetchError::Away { reason, .. }), Some(kept)) => {
            tracing::warn!(reason, "the broker gives no keys now: the ones that are kept still live");
            Ok(kept.keys)
        }
        (Err(error), _) => Err(error.into()),
    }
}
