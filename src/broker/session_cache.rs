//! Session keys that are kept, so that a thousand executors need one AssumeRole.

use std::{
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use moka::{Expiry, future::Cache};

use super::{Error, IssuedSession};
use crate::minio::{MinioError, MinioUser};

/// What makes two requests want the same keys. A revocation makes another MinIO user and a change of grants another
/// policy: so nobody has to invalidate anything.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct SessionKey {
    pub user: MinioUser,
    pub policy: String,
    pub asked: Duration,
}

/// Kept session keys.
pub struct CachedSession {
    pub issued: IssuedSession,
    /// From when on newer ones are to be had.
    refresh_at: Timestamp,
}

impl CachedSession {
    fn ends(&self) -> Timestamp {
        self.issued.keys.expires_at
    }
}

/// The kept session keys of this process.
///
/// - Keys are given until half of their life is over, and up to a tenth more, so that not all are renewed at once. When no others are
///   to be had then (MinIO is away, the token ends too soon), they are given for as long as they live.
/// - They are never given to somebody whose token ends before they do.
/// - There is one flight for a key. A failure is not kept.
/// - It is bounded, and secrets are zeroized when they are dropped.
pub(super) struct SessionCache {
    entries: Cache<SessionKey, Entry>,
}

#[derive(Clone)]
struct Entry {
    session: Result<Arc<CachedSession>, Error>,
    keep_for: Duration,
}

/// How many different keys are kept.
const MAX_SESSIONS: u64 = 20_000;

impl SessionCache {
    pub fn new() -> Self {
        Self { entries: Cache::builder().max_capacity(MAX_SESSIONS).expire_after(KeepFor).build() }
    }

    pub async fn get(
        &self,
        key: SessionKey,
        now: Timestamp,
        token_ends: Timestamp,
        issue: impl Future<Output = Result<IssuedSession, Error>>,
    ) -> Result<Arc<CachedSession>, Error> {
        let is = |entry: &Entry, what: &dyn Fn(&CachedSession) -> bool| entry.session.as_deref().is_ok_and(what);
        let usable = |entry: &Entry| is(entry, &|session| now < session.ends() && session.ends() <= token_ends);
        let fresh = |entry: &Entry| usable(entry) && is(entry, &|session| now < session.refresh_at);
        let before = self.entries.get(&key).await.filter(|entry| is(entry, &|session| now < session.ends()));
        if let Some(entry) = before.as_ref().filter(|entry| fresh(entry)) {
            return entry.session.clone();
        }
        let (mut issue, mut is_ours, mut passing) = (pin!(issue), false, None);
        let renew = async {
            is_ours = true;
            match (issue.as_mut().await, before) {
                (Ok(issued), _) => Entry::new(issued, now),
                // They stay, be it for others.
                (Err(error), Some(before)) if is_passing(&error) => {
                    passing = Some(error);
                    before
                }
                (Err(error), _) => Entry { session: Err(error), keep_for: Duration::ZERO },
            }
        };
        let entry = self.entries.entry(key).or_insert_with_if(renew, |entry| !fresh(entry)).await.into_value();
        match (passing, &entry.session) {
            (Some(error), _) if !usable(&entry) => Err(error),
            // Of somebody's flight whose token ends at another time.
            (_, Ok(_) | Err(Error::TokenEnds(_))) if !is_ours && !usable(&entry) => {
                Entry::new(issue.await?, now).session
            }
            _ => entry.session,
        }
    }
}

/// Whether kept keys are better than this error: it is about new ones, and says nothing against these.
fn is_passing(error: &Error) -> bool {
    matches!(error, Error::Minio(MinioError::Unavailable { .. }) | Error::TooMany { .. } | Error::TokenEnds(_))
}

impl Entry {
    fn new(issued: IssuedSession, now: Timestamp) -> Self {
        let life = Duration::try_from(issued.keys.expires_at.duration_since(now)).unwrap_or_default();
        let refresh_at = now + life.mul_f64(rand::random_range(0.5..0.6));
        Self { session: Ok(Arc::new(CachedSession { issued, refresh_at })), keep_for: life }
    }
}

struct KeepFor;

impl Expiry<SessionKey, Entry> for KeepFor {
    fn expire_after_create(&self, _: &SessionKey, entry: &Entry, _: Instant) -> Option<Duration> {
        Some(entry.keep_for)
    }

    fn expire_after_update(&self, _: &SessionKey, entry: &Entry, _: Instant, _: Option<Duration>) -> Option<Duration> {
        Some(entry.keep_for)
    }
}

#[cfg(test)]
mod tests {
    use secrecy::SecretString;

    use super::*;
    use crate::{minio::SessionKeys, policy::SessionPolicy};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn key() -> SessionKey {
        let user = MinioUser::new(&"alice".parse().unwrap());
        SessionKey { user, policy: "{}".into(), asked: Duration::from_secs(3600) }
    }

    fn issued(id: &str, expires_at: Timestamp) -> Result<IssuedSession, Error> {
        let secret = || SecretString::from("secret");
        let keys =
            SessionKeys { access_key_id: id.into(), secret_access_key: secret(), session_token: secret(), expires_at };
        Ok(IssuedSession { keys, policy: SessionPolicy { json: "{}".into(), bytes: 2, exact: true } })
    }

    fn outage() -> Result<IssuedSession, Error> {
        Err(Error::Minio(MinioError::Unavailable { what: "AssumeRole".into(), reason: "away".into() }))
    }

    async fn id(
        cache: &SessionCache,
        key: &SessionKey,
        now: i64,
        token_ends: i64,
        issue: Result<IssuedSession, Error>,
    ) -> Result<String, String> {
        let got = cache.get(key.clone(), at(now), at(token_ends), async { issue }).await;
        got.map(|session| session.issued.keys.access_key_id.clone()).map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn keys_are_given_until_half_of_their_life_and_longer_only_in_an_outage() {
        let (cache, key) = (SessionCache::new(), key());
        let forever = 1_000_000;
        assert_eq!(id(&cache, &key, 0, forever, issued("one", at(3600))).await, Ok("one".into()));
        assert_eq!(id(&cache, &key, 1799, forever, issued("two", at(5399))).await, Ok("one".into()));
        assert_eq!(id(&cache, &key, 2160, forever, outage()).await, Ok("one".into()), "better than nothing");
        assert_eq!(id(&cache, &key, 2160, forever, issued("two", at(5760))).await, Ok("two".into()));
        assert!(id(&cache, &key, 5760, forever, outage()).await.is_err(), "dead keys are not given");
        assert_eq!(id(&cache, &key, 5760, forever, issued("three", at(9360))).await, Ok("three".into()));
    }

    #[tokio::test]
    async fn nobody_is_given_keys_that_outlive_their_token() {
        let (cache, key) = (SessionCache::new(), key());
        assert_eq!(id(&cache, &key, 0, 9000, issued("long", at(3600))).await, Ok("long".into()));
        assert_eq!(id(&cache, &key, 0, 1000, issued("short", at(1000))).await, Ok("short".into()));
        assert_eq!(id(&cache, &key, 0, 9000, issued("other", at(3600))).await, Ok("short".into()));
    }

    #[tokio::test]
    async fn a_token_that_ends_sooner_leaves_others_their_keys() {
        let (cache, key) = (SessionCache::new(), key());
        let ends = || Err(Error::TokenEnds("soon".into()));
        assert_eq!(id(&cache, &key, 0, 9000, issued("one", at(3600))).await, Ok("one".into()));
        for issue in [ends(), outage()] {
            assert!(id(&cache, &key, 10, 800, issue).await.is_err());
            assert_eq!(id(&cache, &key, 20, 9000, issued("two", at(3620))).await, Ok("one".into()));
        }
        assert_eq!(id(&cache, &key, 2900, 3600, ends()).await, Ok("one".into()), "its last minutes");
    }

    #[tokio::test]
    async fn who_waits_with_somebody_gets_keys_for_their_own_token() {
        let (cache, key) = (Arc::new(SessionCache::new()), key());
        let (begun, begin) = tokio::sync::oneshot::channel();
        let first = cache.get(key.clone(), at(0), at(9000), async {
            begin.await.unwrap();
            issued("long", at(3600))
        });
        let second = async {
            let own = cache.get(key.clone(), at(0), at(1000), async { issued("short", at(1000)) });
            let (own, _) = tokio::join!(own, async { begun.send(()) });
            own
        };
        let (first, second) = tokio::join!(first, second);
        let ids = [first, second].map(|session| session.unwrap().issued.keys.access_key_id.clone());
        assert_eq!(ids, ["long", "short"]);
    }

    #[tokio::test]
    async fn many_who_ask_at_once_need_one() {
        let (cache, key) = (Arc::new(SessionCache::new()), key());
        let count = Arc::new(std::sync::atomic::AtomicU32::new(0));
        let asks = (0..1000).map(|_| {
            let (cache, key, count) = (cache.clone(), key.clone(), count.clone());
            async move {
                let issue = async {
                    count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    tokio::task::yield_now().await;
                    issued("one", at(3600))
                };
                cache.get(key, at(0), at(9000), issue).await.unwrap();
            }
        });
        futures::future::join_all(asks).await;
        assert_eq!(count.load(std::sync::atomic::Ordering::Relaxed), 1);
    }
}
