//! Validations, remembered. Knows tokens only by their digest.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use jiff::Timestamp;
use moka::{Expiry, future::Cache};

use super::{AuthError, Authenticator, Identity, Token, TokenDigest, Validated, time_until};

/// How much is remembered, and for how long at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheLimits {
    /// The longest that a validation is trusted, whatever the auth service allows.
    pub trust: Duration,
    /// How long a refusal is remembered. Short: a role just given, or an account just enabled, should count soon.
    pub refusal: Duration,
    /// How many tokens are remembered.
    pub tokens: u64,
}

impl Default for CacheLimits {
    fn default() -> Self {
        Self { trust: Duration::from_secs(300), refusal: Duration::from_secs(10), tokens: 10_000 }
    }
}

/// An [`Authenticator`] that asks another one, and then remembers what it said.
///
/// - The key is the token's SHA-256; neither the token nor a part of it is kept.
/// - A validation is kept for the shortest of what its authenticator allows, the token's expiry and the configured limit.
/// - A refusal is kept for a short time. An outage is not kept at all.
/// - There is one flight a token: whoever asks while it is under way gets its answer, an outage included.
/// - An identity from here never outlives its token, by the asker's clock.
/// - Nobody invalidates an entry: that a token was revoked shows when its time of trust is over.
pub struct CachedAuthenticator {
    inner: Box<dyn Authenticator>,
    limits: CacheLimits,
    entries: Cache<TokenDigest, Entry>,
}

#[derive(Debug, Clone)]
struct Entry {
    answer: Result<Identity, AuthError>,
    /// From when on the answer must not be used again; for an outage, from the beginning of time.
    fresh_until: Timestamp,
    /// The same as a time to live, which only bounds memory: `fresh_until` is what counts.
    keep_for: Duration,
}

impl CachedAuthenticator {
    pub fn new(inner: impl Authenticator + 'static, limits: CacheLimits) -> Self {
        let entries = Cache::builder().max_capacity(limits.tokens).expire_after(KeepFor).build();
        Self { inner: Box::new(inner), limits, entries }
    }
}

#[async_trait]
impl Authenticator for CachedAuthenticator {
    async fn authenticate(&self, token: &Token, now: Timestamp) -> Result<Validated, AuthError> {
        let entry = self
            .entries
            .entry(token.sha256())
            .or_insert_with_if(
                async { Entry::new(self.inner.authenticate(token, now).await, now, self.limits) },
                |entry| entry.is_stale(now),
            )
            .await;
        let own_flight = entry.is_fresh();
        let entry = entry.into_value();
        // Somebody else's flight may have begun before the token's expiry, and landed after it.
        if !own_flight && entry.answer.as_ref().is_ok_and(|identity| identity.expires_at <= now) {
            return self.inner.authenticate(token, now).await;
        }
        let trust_for = time_until(entry.fresh_until, now);
        entry.answer.map(|identity| Validated { identity, trust_for })
    }

    async fn is_ready(&self, now: Timestamp) -> Result<(), AuthError> {
        self.inner.is_ready(now).await
    }
}

impl Entry {
    fn new(answer: Result<Validated, AuthError>, now: Timestamp, limits: CacheLimits) -> Self {
        let keep_for = match &answer {
            Ok(validated) => {
                let lifetime = time_until(validated.identity.expires_at, now);
                validated.trust_for.min(limits.trust).min(lifetime)
            }
            Err(
                AuthError::Invalid(_)
                | AuthError::UnknownIssuer(_)
                | AuthError::AccountDisabled
                | AuthError::RolesMissing(_)
                | AuthError::MfaMissing
                | AuthError::UnusableUsername { .. },
            ) => limits.refusal,
            Err(AuthError::Unavailable { .. }) => Duration::ZERO,
        };
        let fresh_until =
            if keep_for.is_zero() { Timestamp::MIN } else { now.checked_add(keep_for).unwrap_or(Timestamp::MIN) };
        Self { answer: answer.map(|validated| validated.identity), fresh_until, keep_for }
    }

    fn is_stale(&self, now: Timestamp) -> bool {
        self.fresh_until <= now
    }
}

struct KeepFor;

impl Expiry<TokenDigest, Entry> for KeepFor {
    fn expire_after_create(&self, _: &TokenDigest, entry: &Entry, _: std::time::Instant) -> Option<Duration> {
        Some(entry.keep_for)
    }

    // Without this, an entry that replaces another one would inherit what was left of the old one's time.
    fn expire_after_update(
        &self,
        _: &TokenDigest,
        entry: &Entry,
        _: std::time::Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        Some(entry.keep_for)
    }
}

/// Sharing one authenticator between a cache and whoever else holds it.
#[async_trait]
impl<A: Authenticator + ?Sized> Authenticator for Arc<A> {
    async fn authenticate(&self, token: &Token, now: Timestamp) -> Result<Validated, AuthError> {
        self.as_ref().authenticate(token, now).await
    }

    async fn is_ready(&self, now: Timestamp) -> Result<(), AuthError> {
        self.as_ref().is_ready(now).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let refusals = [
            AuthError::Invalid("no"),
            AuthError::UnknownIssuer("https://x".into()),
            AuthError::AccountDisabled,
            AuthError::RolesMissing(vec!["A".into()]),
            AuthError::MfaMissing,
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
