//! Lakepass: a credential broker for MinIO data lakes. See ARCHITECTURE.md for the map.
#![forbid(unsafe_code)]

pub mod agent;
pub mod broker;
pub mod config;
pub mod dev;
pub mod discretion;
pub mod http;
pub mod identity;
pub mod lake;
pub mod limits;
pub mod minio;
pub mod policy;
pub mod server;

use std::{sync::Arc, time::Duration};

/// What the HTTP surface works with, as configured.
pub fn app(config: config::Config) -> anyhow::Result<http::App> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let wanted = config.limits;
    let cache_limits = identity::CacheLimits {
        grace: wanted.token_grace,
        at_once: wanted.auth_calls,
        wrong_per_minute: wanted.wrong_tokens,
        ..Default::default()
    };
    let authenticator = identity::authenticator(config.kbase, config.jwt_issuers, cache_limits)?;
    let s3_endpoint = config.minio.url.as_str().trim_end_matches('/').to_owned();
    let minio = Arc::new(minio::Minio::new(config.minio)?);
    let console = config.console_url.map(http::Console::new).transpose()?;
    let broker = broker::Broker::new(
        minio,
        config.ledger_bucket,
        config.lake,
        config.templates,
        config.sessions,
        wanted.user_requests,
        clock.clone(),
    );
    Ok(http::App {
        broker: Arc::new(broker),
        authenticator: Arc::new(authenticator),
        clock,
        audit: Arc::new(config.audit),
        s3_endpoint,
        console,
        kbase: config.kbase_api.map(Arc::new),
        trusted_proxies: wanted.trusted_proxies,
        connections: wanted.connections,
        answer_limit: wanted.answer_limit,
        readiness: Default::default(),
        unknown_keys: limits::Allowances::new(wanted.wrong_tokens),
    })
}

/// Does what is due without a request, as long as the process lives: makes the buckets, takes back what has ended,
/// hears of what other replicas change, and repairs drift (unless the interval is zero).
pub fn tend(broker: Arc<broker::Broker>, audit: Arc<broker::Audit>, reconcile_every: Duration) {
    let follower = broker.clone();
    tokio::spawn(async move { follower.follow_ledger().await });
    tokio::spawn(async move {
        while let Err(error) = broker.prepare().await {
            tracing::warn!(%error, "the buckets cannot be made yet");
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        tracing::info!("both buckets are there");
        if !reconcile_every.is_zero() {
            tokio::spawn(broker::without_request(audit.clone(), reconcile(broker.clone(), reconcile_every)));
        }
        broker::without_request(audit, remove_ended(&broker)).await;
    });
}

async fn remove_ended(broker: &broker::Broker) {
    loop {
        if let Err(error) = broker.remove_ended_grants().await {
            tracing::warn!(%error, "grants that have ended cannot be removed yet");
        }
        if let Err(error) = broker.remove_ended_lake_keys().await {
            tracing::warn!(%error, "lake keys that have ended cannot be removed yet");
        }
        tokio::time::sleep(TEND_EVERY).await;
    }
}

/// The first time at once: a crash may have left something half done.
async fn reconcile(broker: Arc<broker::Broker>, every: Duration) {
    loop {
        if let Err(error) = broker.reconcile().await {
            tracing::warn!(%error, "drift cannot be looked for now");
        }
        tokio::time::sleep(every).await;
    }
}

/// How long after its end a lake key may work and a grant may be in the ledger. MinIO heeds a grant's end itself; see
/// [`broker::Broker::remove_ended_grants`].
const TEND_EVERY: Duration = Duration::from_secs(15);

/// Where the time comes from. Decisions take a timestamp as an argument; only what runs by itself holds a clock.
pub trait Clock: Send + Sync {
    fn now(&self) -> jiff::Timestamp;
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> jiff::Timestamp {
        jiff::Timestamp::now()
    }
}
