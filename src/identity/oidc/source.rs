//! Where an issuer's keys come from, and when they are fetched again.
//!
//! The issuer is asked seldom, whatever callers send: on the first token, after an hour, and when a token may be signed
//! with a key that we have not seen, but then not more often than every ten seconds.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use reqwest::{Client, StatusCode, header};
use serde::Deserialize;
use tokio::sync;
use url::Url;

use super::{
    issuer::{self, IssuerUrl},
    keys::KeySet,
};
use crate::identity::{
    AuthError,
    fetch::{self, FetchError},
};

/// The longest that a refetch takes, discovery and keys together.
pub(super) const TIME_LIMIT: Duration = Duration::from_secs(2);

/// Older keys are fetched again before they are used: a key that the issuer withdrew ends here.
const FRESH_FOR: SignedDuration = SignedDuration::from_hours(1);

/// The shortest time between two fetches, while there are keys to go on with.
const REFETCH_AFTER: SignedDuration = SignedDuration::from_secs(10);

/// The same while there are none, and every token is answered with an outage.
const RETRY_AFTER: SignedDuration = SignedDuration::from_secs(1);

const MAX_DISCOVERY_BYTES: usize = 64 * 1024;
/// Certificate chains make key sets long.
const MAX_KEYS_BYTES: usize = 256 * 1024;

/// The keys of one issuer.
///
/// - A fetch that fails leaves the keys at hand in use.
/// - One fetch at a time; who waits for it takes its outcome, good or bad. No state is locked while it runs.
/// - A fetch is finished even if the request that began it goes away.
pub(super) struct KeySource {
    issuer: IssuerUrl,
    client: Client,
    state: Mutex<State>,
    flight: sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    keys: Option<Arc<KeySet>>,
    fetched_at: Option<Timestamp>,
    last_attempt: Option<Attempt>,
    attempts: u64,
}

struct Attempt {
    at: Timestamp,
    failure: Option<String>,
}

/// Why there are no keys from a fetch.
#[derive(Debug, thiserror::Error)]
enum SourceError {
    #[error("discovery: {0}")]
    Discovery(FetchError),
    #[error("the discovery document names another issuer")]
    OtherIssuer,
    #[error("the discovery document's jwks_uri is no https URL")]
    UnsafeKeysUrl,
    #[error("keys: {0}")]
    Keys(FetchError),
    #[error("no answer within the time limit")]
    TimedOut,
}

#[derive(Deserialize)]
struct DiscoveryDocument {
    issuer: String,
    jwks_uri: String,
}

impl KeySource {
    pub fn new(issuer: IssuerUrl, client: Client) -> Self {
        Self { issuer, client, state: Mutex::default(), flight: sync::Mutex::default() }
    }

    /// Keys not older than an hour; older ones only if the issuer cannot be asked.
    pub async fn current(self: &Arc<Self>, now: Timestamp) -> Result<Arc<KeySet>, AuthError> {
        if let Some(keys) = self.read(|state| state.fresh_keys(now)) {
            return Ok(keys);
        }
        self.refetch(now).await;
        self.read(|state| state.keys.clone().ok_or_else(|| self.unavailable(state)))
    }

    /// Keys as new as may be asked for, for a token that the ones at hand do not verify. If the issuer could not be asked
    /// the last time, nobody knows whether the token is good: that is an outage.
    pub async fn newer(self: &Arc<Self>, now: Timestamp) -> Result<Arc<KeySet>, AuthError> {
        self.refetch(now).await;
        self.read(|state| match (&state.keys, &state.last_attempt) {
            (Some(keys), Some(Attempt { failure: None, .. })) => Ok(Arc::clone(keys)),
            _ => Err(self.unavailable(state)),
        })
    }

    /// Fetches, unless it is too soon, or somebody else just did.
    async fn refetch(self: &Arc<Self>, now: Timestamp) {
        let attempts_before = self.read(|state| state.attempts);
        let this = Arc::clone(self);
        // A task of its own: else a caller who hangs up would take everybody's fetch away.
        let fetch = tokio::spawn(async move {
            let _flight = this.flight.lock().await;
            if this.read(|state| state.attempts != attempts_before || !state.may_fetch(now)) {
                return;
            }
            let outcome = match tokio::time::timeout(TIME_LIMIT, this.fetch()).await {
                Ok(outcome) => outcome,
                Err(_) => Err(SourceError::TimedOut),
            };
            if let Err(error) = &outcome {
                tracing::warn!(oidc.issuer = %this.issuer, error = %error, "the issuer's keys could not be fetched");
            }
            this.read(|state| state.record(outcome, now));
        });
        // It only fails by a panic or at shutdown. Then there is no new attempt, and the state says what there is.
        fetch.await.ok();
    }

    async fn fetch(&self) -> Result<KeySet, SourceError> {
        let document = self.get(&self.issuer.discovery(), MAX_DISCOVERY_BYTES).await.map_err(SourceError::Discovery)?;
        let document: DiscoveryDocument = fetch::json(&document).map_err(SourceError::Discovery)?;
        if document.issuer != self.issuer.as_str() {
            return Err(SourceError::OtherIssuer);
        }
        match Url::parse(&document.jwks_uri) {
            Ok(url) if issuer::is_safe(&url) => {}
            _ => return Err(SourceError::UnsafeKeysUrl),
        }
        let keys = self.get(&document.jwks_uri, MAX_KEYS_BYTES).await.map_err(SourceError::Keys)?;
        KeySet::parse(&keys).map_err(SourceError::Keys)
    }

    async fn get(&self, url: &str, max_bytes: usize) -> Result<Vec<u8>, FetchError> {
        let request = self.client.get(url).header(header::ACCEPT, "application/json");
        let response = request.send().await.map_err(fetch::transport)?;
        if response.status() != StatusCode::OK {
            return Err(FetchError::Status(response.status()));
        }
        fetch::body(response, max_bytes).await
    }

    fn unavailable(&self, state: &State) -> AuthError {
        let failure = state.last_attempt.as_ref().and_then(|attempt| attempt.failure.as_deref());
        let reason = format!("{}: {}", self.issuer, failure.unwrap_or("its keys are not there yet"));
        AuthError::Unavailable { service: "the OIDC issuer", reason }
    }

    /// The state is whole after each of these, so that a panic elsewhere under the lock costs nothing.
    fn read<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        look(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl State {
    fn fresh_keys(&self, now: Timestamp) -> Option<Arc<KeySet>> {
        let fetched_at = self.fetched_at?;
        if has_passed(FRESH_FOR, fetched_at, now) { None } else { self.keys.clone() }
    }

    fn may_fetch(&self, now: Timestamp) -> bool {
        let pause = if self.keys.is_some() { REFETCH_AFTER } else { RETRY_AFTER };
        self.last_attempt.as_ref().is_none_or(|attempt| has_passed(pause, attempt.at, now))
    }

    fn record(&mut self, outcome: Result<KeySet, SourceError>, now: Timestamp) {
        let failure = match outcome {
            Ok(keys) => {
                self.keys = Some(Arc::new(keys));
                self.fetched_at = Some(now);
                None
            }
            Err(error) => Some(error.to_string()),
        };
        self.last_attempt = Some(Attempt { at: now, failure });
        self.attempts += 1;
    }
}

/// Whether `period` lies between two times, in either direction: a clock that is set back must not stop the fetching, but
/// callers' times that are a little out of order must not begin it.
fn has_passed(period: SignedDuration, since: Timestamp, now: Timestamp) -> bool {
    now.duration_since(since).unsigned_abs() >= period.unsigned_abs()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn no_keys() -> KeySet {
        KeySet::parse(br#"{"keys":[]}"#).unwrap()
    }

    #[test]
    fn when_a_fetch_is_due() {
        let mut state = State::default();
        assert!(state.may_fetch(at(0)));
        state.record(Err(SourceError::OtherIssuer), at(1_000));
        assert!(!state.may_fetch(at(1_000)));
        assert!(state.may_fetch(at(1_001)), "without keys, soon");
        state.record(Ok(no_keys()), at(1_001));
        assert!(!state.may_fetch(at(1_010)));
        assert!(!state.may_fetch(at(1_000)), "a caller's time from before the fetch");
        assert!(state.may_fetch(at(1_011)));
        assert!(state.may_fetch(at(500)), "the clock was set back");
    }

    #[test]
    fn how_long_keys_are_fresh() {
        let mut state = State::default();
        assert!(state.fresh_keys(at(0)).is_none());
        state.record(Ok(no_keys()), at(1_000));
        assert!(state.fresh_keys(at(4_599)).is_some());
        assert!(state.fresh_keys(at(4_600)).is_none());
        state.record(Err(SourceError::OtherIssuer), at(4_600));
        assert!(state.keys.is_some(), "a failure leaves the keys");
    }
}
