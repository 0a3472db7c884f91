//! Validations, remembered. Knows tokens only by their digest.

use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use jiff::Timestamp;
use moka::{Expiry, future::Cache};

use super::{AuthError, Authenticator, Identity, Token, TokenDigest, Validated, time_until};
use crate::limits::{Allowances, Queue, count_refusal};

/// How much is remembered, for how long at most, and how much is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheLimits {
    /// The longest that a validation is trusted, whatever the auth service allows.
    pub trust: Duration,
    /// How long a refusal is remembered. Short: a role just given, or an account just enabled, should count soon.
    pub refusal: Duration,
    /// How much longer a validation is trusted while the auth service cannot be asked.
    pub grace: Duration,
    /// How many tokens are remembered.
    pub tokens: u64,
    /// How many tokens are asked about at once.
    pub at_once: usize,
    /// How many wrong tokens a minute are asked about for one address; 0: all of them.
    pub wrong_per_minute: u32,
}

impl Default for CacheLimits {
    fn default() -> Self {
        Self {
            trust: Duration::from_secs(300),
            refusal: Duration::from_secs(10),
            grace: Duration::ZERO,
            tokens: 10_000,
            at_once: 32,
            wrong_per_minute: 600,
        }
    }
}

/// An [`Authenticator`] that asks another one, and then remembers what it said.
///
/// - The key is the token's SHA-256; neither the token nor a part of it is kept.
/// - A validation is kept for the shortest of what its authenticator allows, the token's expiry and the configured limit.
/// - A refusal is kept for a short time. An outage is not kept at all.
/// - While the auth service cannot be asked, a validation may serve a little longer (`grace`), if so configured. A refusal ends it.
/// - So many tokens are asked about at once. Who comes late waits for a moment, and then it is an outage.
/// - Of one address, so many wrong tokens a minute are asked about. What is remembered is not counted, and a good token neither.
/// - There is one flight a token: whoever asks while it is under way gets its answer, an outage included.
/// - An identity from here never outlives its token, by the asker's clock.
/// - Nobody invalidates an entry: that a token was revoked shows when its time of trust is over.
pub struct CachedAuthenticator {
    inner: Box<dyn Authenticator>,
    limits: CacheLimits,
    entries: Cache<TokenDigest, Entry>,
    queue: Queue,
    wrong: Allowances<IpAddr>,
}

#[derive(Debug, Clone)]
struct Entry {
    answer: Result<Identity, AuthError>,
    /// From when on the answer must not be used again; for an outage, from the beginning of time.
    fresh_until: Timestamp,
    /// A time to live, with grace, which only bounds memory: `fresh_until` is what counts.
    keep_for: Duration,
}

impl CachedAuthenticator {
    pub fn new(inner: impl Authenticator + 'static, limits: CacheLimits) -> Self {
        let entries = Cache::builder().max_capacity(limits.tokens).expire_after(KeepFor).build();
        let (queue, wrong) = (Queue::new("auth", limits.at_once), Allowances::new(limits.wrong_per_minute));
        Self { inner: Box::new(inner), limits, entries, queue, wrong }
    }

    async fn look_up(&self, token: &Token, now: Timestamp, from: Option<IpAddr>) -> Result<Validated, AuthError> {
        let digest = token.sha256();
        let before = self.entries.get(&digest).await.filter(|entry| entry.may_serve(now, self.limits.grace));
        let entry = async {
            match (self.ask(token, now, from).await, before) {
                (Err(AuthError::Unavailable { .. }), Some(before)) => before,
                (answer, _) => Entry::new(answer, now, self.limits),
            }
        };
        let entry = self.entries.entry(digest).or_insert_with_if(entry, |entry| entry.is_stale(now)).await;
        let own_flight = entry.is_fresh();
        let entry = entry.into_value();
        // Somebody else's flight may have begun before the token's expiry, and landed after it.
        if !own_flight && entry.answer.as_ref().is_ok_and(|identity| identity.expires_at <= now) {
            return self.ask(token, now, from).await;
        }
        let trust_for = time_until(entry.fresh_until, now);
        entry.answer.map(|identity| Validated { identity, trust_for })
    }

    async fn ask(&self, token: &Token, now: Timestamp, from: Option<IpAddr>) -> Result<Validated, AuthError> {
        if let Some(from) = from {
            self.wrong.take(from, Instant::now()).map_err(|retry_after| {
                count_refusal("wrong tokens of an address");
                AuthError::TooManyWrong { retry_after }
            })?;
        }
        let answer = match self.queue.turn().await {
            Some(_turn) => self.inner.authenticate(token, now).await,
            None => {
                let reason = "too many tokens are asked about at once".to_owned();
                Err(AuthError::Unavailable { service: "the auth service", reason })
            }
        };
        let is_wrong = matches!(answer, Err(AuthError::Invalid(_) | AuthError::UnknownIssuer(_)));
        if let Some(from) = from.filter(|_| !is_wrong) {
            self.wrong.give_back(&from);
        }
        answer
    }
}

#[async_trait]
impl Authenticator for CachedAuthenticator {
    async fn authenticate(&self, token: &Token, now: Timestamp) -> Result<Validated, AuthError> {
        self.look_up(token, now, None).await
    }

    async fn authenticate_from(&self, token: &Token, now: Timestamp, from: IpAddr) -> Result<Validated, AuthError> {
        self.look_up(token, now, Some(from)).await
    }

    async fn is_ready(&self, now: Timestamp) -> Result<(), AuthError> {
        self.inner.is_ready(now).await
    }
}

impl Entry {
    fn new(answer: Result<Validated, AuthError>, now: Timestamp, limits: CacheLimits) -> Self {
        let fresh_for = match &answer {
            Ok(validated) => {
                let lifetime = time_until(validated.identity.expires_at, now);
                validated.trust_for.min(limits.trust).min(lifetime)
            }
            Err(
                AuthError::Invalid(_)
                | AuthError::UnknownIssuer(_)
                | AuthError::AccountDisabled
                | AuthError::RolesMissing { .. }
                | AuthError::MfaMissing { .. }
                | AuthError::UnusableUsername { .. },
            ) => limits.refusal,
            Err(AuthError::Unavailable { .. } | AuthError::TooManyWrong { .. }) => Duration::ZERO,
        };
        let fresh_until =
            if fresh_for.is_zero() { Timestamp::MIN } else { now.checked_add(fresh_for).unwrap_or(Timestamp::MIN) };
        let keep_for = if answer.is_ok() && !fresh_for.is_zero() { fresh_for + limits.grace } else { fresh_for };
        Self { answer: answer.map(|validated| validated.identity), fresh_until, keep_for }
    }

    fn is_stale(&self, now: Timestamp) -> bool {
        self.fresh_until <= now
    }

    /// Whether this is a validation that may serve while nobody can be asked. Never past the token's own end.
    fn may_serve(&self, now: Timestamp, grace: Duration) -> bool {
        let graced = self.fresh_until.checked_add(grace).is_ok_and(|end| now < end);
        graced && self.answer.as_ref().is_ok_and(|identity| now < identity.expires_at)
    }
}

struct KeepFor;

impl Expiry<TokenDigest, Entry> for KeepFor {
    fn expire_after_create(&self, _: &TokenDigest, entry: &Entry, _: Instant) -> Option<Duration> {
        Some(entry.keep_for)
    }

    // Without this, an entry that replaces another one would inherit what was left of the old one's time.
    fn expire_after_update(&self, _: &TokenDigest, entry: &Entry, _: Instant, _: Option<Duration>) -> Option<Duration> {
        Some(entry.keep_for)
    }
}

/// Sharing one authenticator between a cache and whoever else holds it.
#[async_trait]
impl<A: Authenticator + ?Sized> Authenticator for Arc<A> {
    async fn authenticate(&self, token: &Token, now: Timestamp) -> Result<Validated, AuthError> {
        self.as_ref().authenticate(token, now).await
    }

    async fn authenticate_from(&self, token: &Token, now: Timestamp, from: IpAddr) -> Result<Validated, AuthError> {
        self.as_ref().authenticate_from(token, now, from).await
    }

    async fn is_ready(&self, now: Timestamp) -> Result<(), AuthError> {
        self.as_ref().is_ready(now).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Username;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn validated(expires_at: Timestamp, trust_for: u64) -> Validated {
        let identity = Identity { username: "whee".parse().unwrap(), roles: Arc::default(), admin: false, expires_at };
        Validated { identity, trust_for: Duration::from_secs(trust_for) }
    }

    #[test]
    fn the_shortest_of_three_limits_counts() {
        let limits = CacheLimits { trust: Duration::from_secs(300), ..CacheLimits::default() };
        for (expires_at, trust_for, fresh_until) in [
            (at(10_000), 60, at(1_060)),
            (at(10_000), 3_600, at(1_300)),
            (at(1_030), 60, at(1_030)),
            (at(1_000), 60, Timestamp::MIN),
            (at(999), 60, Timestamp::MIN),
            (at(10_000), 0, Timestamp::MIN),
            (Timestamp::MAX, u64::MAX, at(1_300)),
        ] {
            let entry = Entry::new(Ok(validated(expires_at, trust_for)), at(1_000), limits);
            assert_eq!(entry.fresh_until, fresh_until);
        }
    }

    #[test]
    fn refusals_are_kept_shortly_and_outages_never() {
        let limits = CacheLimits::default();
        let user: Username = "whee".parse().unwrap();
        let refusals = [
            AuthError::Invalid("no"),
            AuthError::UnknownIssuer("https://x".into()),
            AuthError::AccountDisabled,
            AuthError::RolesMissing { user: user.clone(), roles: vec!["A".into()] },
            AuthError::MfaMissing { user },
            AuthError::UnusableUsername { claim: "sub".into(), reason: "no".into() },
        ];
        for refusal in refusals {
            assert_eq!(Entry::new(Err(refusal), at(1_000), limits).fresh_until, at(1_010));
        }
        let outage = AuthError::Unavailable { service: "KBase", reason: "down".into() };
        let entry = Entry::new(Err(outage), at(1_000), limits);
        assert_eq!((entry.fresh_until, entry.keep_for), (Timestamp::MIN, Duration::ZERO));
        assert!(entry.is_stale(at(1_000)));
    }
}
