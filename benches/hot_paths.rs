//! What is done for each request: who is asking, and a sealed body there and back.

use std::{hint::black_box, sync::Arc, time::Duration};

use async_trait::async_trait;
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use jiff::Timestamp;
use lakepass::{
    identity::{
        AuthError, Authenticator, CacheLimits, CachedAuthenticator, Identity, KbaseAuthenticator, KbaseConfig, Token,
        Validated,
    },
    minio::seal::{Algorithm, open, seal},
};
use secrecy::SecretString;
use serde_json::json;
use tokio::runtime::Runtime;
use wiremock::{Mock, MockServer, ResponseTemplate, matchers::path};

const NOW: Timestamp = Timestamp::constant(1_767_225_600, 0);
const HOUR: Duration = Duration::from_secs(3600);

/// Believes everybody, for as long as it says.
struct Stub {
    identity: Identity,
    trust_for: Duration,
}

impl Stub {
    fn new(trust_for: Duration) -> Self {
        let username = "alice".parse().expect("a legal name");
        let identity = Identity { username, roles: Arc::default(), admin: false, expires_at: NOW + HOUR };
        Self { identity, trust_for }
    }
}

#[async_trait]
impl Authenticator for Stub {
    async fn authenticate(&self, _: &Token, _: Timestamp) -> Result<Validated, AuthError> {
        Ok(Validated { identity: self.identity.clone(), trust_for: self.trust_for })
    }
}

/// A KBase auth service on the loopback, and the authenticator that asks it. The service must be kept.
async fn kbase() -> (MockServer, KbaseAuthenticator) {
    let server = MockServer::start().await;
    let expires = (NOW + HOUR).as_millisecond();
    let token = json!({"user": "alice", "expires": expires, "cachefor": 300_000});
    let me = json!({"user": "alice", "customroles": []});
    for (endpoint, answer) in [("/api/V2/token", token), ("/api/V2/me", me)] {
        Mock::given(path(endpoint)).respond_with(ResponseTemplate::new(200).set_body_json(answer)).mount(&server).await;
    }
    let config = KbaseConfig {
        url: server.uri().parse().expect("a URL"),
        required_roles: [].into(),
        admin_roles: [].into(),
        require_mfa: false,
    };
    (server, KbaseAuthenticator::new(config).expect("an HTTP client"))
}

/// From the cache; past it, where the stub costs nothing and what is left is the cache's own work; and by asking KBase,
/// with no distance to it.
fn validation(c: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let token = Token::parse("SOMEOPAQUETOKENOFTHIRTYTWOLETTER").expect("a legal token");
    let (_server, kbase) = runtime.block_on(kbase());
    let cases: [(&str, Box<dyn Authenticator>); 3] = [
        ("cached", Box::new(CachedAuthenticator::new(Stub::new(HOUR), CacheLimits::default()))),
        ("missed", Box::new(CachedAuthenticator::new(Stub::new(Duration::ZERO), CacheLimits::default()))),
        ("uncached", Box::new(kbase)),
    ];
    let mut group = c.benchmark_group("token validation");
    for (name, authenticator) in &cases {
        runtime.block_on(authenticator.authenticate(&token, NOW)).expect("a good token");
        group.bench_function(*name, |b| {
            b.to_async(&runtime).iter(|| authenticator.authenticate(black_box(&token), NOW));
        });
    }
    group.finish();
}

/// 1 KiB, with the derivation that we send and with the one that MinIO answers with.
fn sealing(c: &mut Criterion) {
    let secret = SecretString::from("a secret of some forty characters length");
    let plaintext = [7; 1024];
    let mut group = c.benchmark_group("admin body of 1 KiB");
    for (name, algorithm) in [("PBKDF2", Algorithm::Pbkdf2Aes256Gcm), ("argon2id", Algorithm::Argon2idAes256Gcm)] {
        group.bench_function(BenchmarkId::new("seal", name), |b| {
            b.iter(|| seal(algorithm, &secret, black_box(&plaintext)));
        });
        let sealed = seal(algorithm, &secret, &plaintext).expect("sealed");
        group.bench_function(BenchmarkId::new("open", name), |b| {
            b.iter(|| open(&secret, black_box(&sealed)).expect("opened"));
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    targets = validation, sealing
}
criterion_main!(benches);
