//! A token is validated once, and what was found out is forgotten in time.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use jiff::Timestamp;
use lakepass::{
    Clock,
    dev::kbase_auth::{AccountSpec, KbaseAuth, Mfa, TokenKind},
    identity::{
        AuthError, Authenticator, CacheLimits, CachedAuthenticator, Identity, KbaseConfig, Token, Validated,
        authenticator,
    },
};
use tokio::task::JoinSet;

use super::{TestClock, opaque_token, seconds, set, start, status, user};

/// Counts how often it is asked, and takes a moment each time, so that callers meet.
struct Counting {
    asked: AtomicUsize,
    answer: Box<dyn Fn(Timestamp) -> Result<Validated, AuthError> + Send + Sync>,
}

impl Counting {
    fn new(answer: impl Fn(Timestamp) -> Result<Validated, AuthError> + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self { asked: AtomicUsize::new(0), answer: Box::new(answer) })
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl Authenticator for Counting {
    async fn authenticate(&self, _: &Token, now: Timestamp) -> Result<Validated, AuthError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(20)).await;
        (self.answer)(now)
    }
}

fn whee(expires_at: Timestamp, trust_for: Duration) -> Validated {
    let identity = Identity { username: user("whee"), roles: Arc::default(), admin: false, expires_at };
    Validated { identity, trust_for }
}

fn outage() -> AuthError {
    AuthError::Unavailable { service: "a test", reason: "down".to_owned() }
}

fn cached(inner: &Arc<Counting>) -> Arc<CachedAuthenticator> {
    Arc::new(CachedAuthenticator::new(Arc::clone(inner), CacheLimits::default()))
}

/// What 16 callers get who ask for one token at once.
async fn sixteen(cache: &Arc<CachedAuthenticator>, now: Timestamp) -> Vec<Result<Validated, AuthError>> {
    let mut callers = JoinSet::new();
    for _ in 0..16 {
        let cache = Arc::clone(cache);
        callers.spawn(async move { cache.authenticate(&opaque_token(), now).await });
    }
    callers.join_all().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn callers_of_one_token_share_one_validation() {
    let inner = Counting::new(|now| Ok(whee(now + seconds(3600), seconds(60))));
    let cache = cached(&inner);
    for answer in sixteen(&cache, start()).await {
        assert_eq!(answer.unwrap().identity.username, user("whee"));
    }
    assert_eq!(inner.asked(), 1);
    // Stale: again one, not sixteen, though the old entry is still there.
    for answer in sixteen(&cache, start() + seconds(60)).await {
        assert_eq!(answer.unwrap().trust_for, seconds(60));
    }
    assert_eq!(inner.asked(), 2);
}

#[tokio::test]
async fn each_token_has_its_own_entry() {
    let inner = Counting::new(|now| Ok(whee(now + seconds(3600), seconds(60))));
    let cache = cached(&inner);
    for text in ["one", "two", "one", "two"] {
        cache.authenticate(&Token::parse(text).unwrap(), start()).await.unwrap();
    }
    assert_eq!(inner.asked(), 2);
}

#[tokio::test]
async fn trust_ends_with_the_shortest_of_the_three() {
    // What the service allows, the token's lifetime, and how long it is kept under the limit of 300 s.
    for (allowed, lifetime, kept) in [(60, 3600, 60), (3600, 3600, 300), (3600, 40, 40)] {
        let expires_at = start() + seconds(lifetime);
        let inner = Counting::new(move |_| Ok(whee(expires_at, seconds(allowed))));
        let cache = cached(&inner);
        let ask = async |after: u64| cache.authenticate(&opaque_token(), start() + seconds(after)).await.unwrap();
        assert_eq!(ask(0).await.trust_for, seconds(kept));
        assert_eq!(ask(kept - 1).await.trust_for, seconds(1));
        assert_eq!(inner.asked(), 1);
        ask(kept).await;
        assert_eq!(inner.asked(), 2, "at {kept} s it is over");
    }
}

#[tokio::test]
async fn no_trust_no_entry() {
    let inner = Counting::new(|now| Ok(whee(now + seconds(3600), Duration::ZERO)));
    let cache = cached(&inner);
    for asked in 1..=3 {
        cache.authenticate(&opaque_token(), start()).await.unwrap();
        assert_eq!(inner.asked(), asked);
    }
}

#[tokio::test]
async fn a_refusal_is_remembered_shortly() {
    let inner = Counting::new(|_| Err(AuthError::Invalid("a test")));
    let cache = cached(&inner);
    for (after, asked) in [(0, 1), (9, 1), (10, 2), (19, 2), (20, 3)] {
        let error = cache.authenticate(&opaque_token(), start() + seconds(after)).await.unwrap_err();
        assert_eq!((status(&error), inner.asked()), (401, asked), "after {after} s");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_outage_is_shared_and_then_forgotten() {
    let inner = Counting::new(|_| Err(outage()));
    let cache = cached(&inner);
    for answer in sixteen(&cache, start()).await {
        assert_eq!(answer, Err(outage()));
    }
    assert_eq!(inner.asked(), 1, "one flight");
    assert_eq!(cache.authenticate(&opaque_token(), start()).await, Err(outage()));
    assert_eq!(inner.asked(), 2, "nothing was kept");
}

/// What the auth service says of a token, second by second, and what its user gets with a grace of 60 s.
#[tokio::test]
async fn while_nobody_can_be_asked_a_validation_serves_a_little_longer_if_so_configured() {
    let away = |from: u64, until: u64| {
        Counting::new(move |now| match now.duration_since(start()).as_secs() as u64 {
            second if (from..until).contains(&second) => Err(outage()),
            second if second >= until => Err(AuthError::Invalid("revoked meanwhile")),
            _ => Ok(whee(start() + seconds(200), seconds(100))),
        })
    };
    for (grace, until, expected) in [
        (60, 1000, [(0, 200), (99, 200), (100, 200), (159, 200), (160, 503), (100, 503)].as_slice()),
        (500, 1000, &[(0, 200), (199, 200), (200, 503)]),
        (60, 120, &[(0, 200), (119, 200), (120, 401), (121, 401)]),
        (0, 1000, &[(0, 200), (99, 200), (100, 503)]),
    ] {
        let inner = away(50, until);
        let limits = CacheLimits { grace: seconds(grace), ..CacheLimits::default() };
        let cache = CachedAuthenticator::new(Arc::clone(&inner), limits);
        for (second, wanted) in expected {
            let answer = cache.authenticate(&opaque_token(), start() + seconds(*second)).await;
            assert_eq!(answer.as_ref().map_or_else(status, |_| 200), *wanted, "grace {grace}, second {second}");
            if *wanted == 200 && *second >= 100 {
                assert_eq!(answer.unwrap().trust_for, Duration::ZERO);
            }
        }
    }
}

#[tokio::test]
async fn an_identity_does_not_outlive_its_token() {
    // The service trusts far beyond the expiry, and the test's clock runs while the cache's own stands still.
    let expires_at = start() + seconds(30);
    let inner = Counting::new(move |now| {
        if now < expires_at { Ok(whee(expires_at, seconds(86_400))) } else { Err(AuthError::Invalid("expired")) }
    });
    let cache = cached(&inner);
    assert!(cache.authenticate(&opaque_token(), start()).await.is_ok());
    assert!(cache.authenticate(&opaque_token(), start() + seconds(29)).await.is_ok());
    let error = cache.authenticate(&opaque_token(), start() + seconds(30)).await.unwrap_err();
    assert_eq!(status(&error), 401);
}

/// The token expires while a validation is under way: who came after that does not get its answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_shared_flight_gives_nobody_an_expired_identity() {
    let expires_at = start() + seconds(30);
    let inner = Counting::new(move |now| {
        if now < expires_at { Ok(whee(expires_at, seconds(60))) } else { Err(AuthError::Invalid("expired")) }
    });
    let cache = cached(&inner);
    let first = {
        let cache = Arc::clone(&cache);
        tokio::spawn(async move { cache.authenticate(&opaque_token(), start() + seconds(29)).await })
    };
    while inner.asked() == 0 {
        tokio::task::yield_now().await;
    }
    let late = cache.authenticate(&opaque_token(), expires_at).await;
    assert!(first.await.unwrap().is_ok());
    assert_eq!(late, Err(AuthError::Invalid("expired")));
}

#[tokio::test]
async fn the_cache_is_bounded() {
    let inner = Counting::new(|_| Err(AuthError::Invalid("a test")));
    let limits = CacheLimits { tokens: 8, ..CacheLimits::default() };
    let cache = Arc::new(CachedAuthenticator::new(Arc::clone(&inner), limits));
    let mut flood = JoinSet::new();
    for number in 0..400 {
        let cache = Arc::clone(&cache);
        let token = Token::parse(&format!("garbage-{number}")).unwrap();
        flood.spawn(async move { cache.authenticate(&token, start()).await.is_err() });
    }
    assert!(flood.join_all().await.into_iter().all(|refused| refused));
    // Had it kept them all, nobody would be asked again.
    let before = inner.asked();
    let mut again = JoinSet::new();
    for number in 0..400 {
        let cache = Arc::clone(&cache);
        let token = Token::parse(&format!("garbage-{number}")).unwrap();
        again.spawn(async move { cache.authenticate(&token, start()).await.is_err() });
    }
    again.join_all().await;
    assert!(inner.asked() - before > 300, "{}", inner.asked() - before);
}

/// The whole of it, with a KBase service that goes away and comes back.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_validation_for_many_callers_of_kbase() {
    let clock = TestClock::new();
    let auth = KbaseAuth::start_on_loopback(clock.clone()).await.unwrap();
    auth.add_user(AccountSpec::new(user("whee")).with_roles(["BERDL_USER"]));
    auth.set_cachefor(seconds(60));
    let token = auth.issue_token(&user("whee"), seconds(3600), TokenKind::Login, Mfa::Used).unwrap();
    let token = Arc::new(token);
    let config = KbaseConfig {
        url: auth.url().parse().unwrap(),
        required_roles: set(&["BERDL_USER"]),
        admin_roles: set(&[]),
        require_mfa: true,
    };
    let cache = Arc::new(authenticator(Some(config), Vec::new(), CacheLimits::default()).unwrap());

    let mut callers = JoinSet::new();
    for _ in 0..16 {
        let (cache, token, now) = (Arc::clone(&cache), Arc::clone(&token), clock.now());
        callers.spawn(async move { cache.authenticate(&token, now).await });
    }
    assert!(callers.join_all().await.iter().all(Result::is_ok));
    assert_eq!((auth.calls().token, auth.calls().me), (1, 1));

    // `cachefor` is honoured: a role that was taken away counts when it is over.
    auth.set_roles(&user("whee"), []).unwrap();
    assert!(cache.authenticate(&token, clock.advance(seconds(59))).await.is_ok());
    let missing = cache.authenticate(&token, clock.advance(seconds(1))).await;
    assert_eq!(missing, Err(AuthError::RolesMissing { user: user("whee"), roles: vec!["BERDL_USER".to_owned()] }));
    assert_eq!((auth.calls().token, auth.calls().me), (2, 2));

    // An outage counts only while it lasts.
    let address = auth.address();
    auth.stop().await;
    let down = cache.authenticate(&token, clock.advance(seconds(10))).await.unwrap_err();
    assert_eq!(status(&down), 503, "{down}");
    let listener = tokio::net::TcpListener::bind(address).await.unwrap();
    let auth = KbaseAuth::start(listener, clock.clone()).unwrap();
    let unknown = cache.authenticate(&token, clock.now()).await.unwrap_err();
    assert_eq!(status(&unknown), 401, "the same second, and it is asked again: {unknown}");
    assert_eq!(auth.calls().token, 1);
}
