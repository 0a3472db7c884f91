//! Lakepass: a credential broker for MinIO data lakes. See ARCHITECTURE.md for the map.
#![forbid(unsafe_code)]

pub mod broker;
pub mod config;
pub mod dev;
pub mod http;
pub mod identity;
pub mod lake;
pub mod minio;
pub mod policy;

use std::sync::Arc;

/// What the HTTP surface works with, as configured.
pub fn app(config: config::Config) -> anyhow::Result<http::App> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let authenticator = identity::authenticator(config.kbase, config.jwt_issuers, identity::CacheLimits::default())?;
    let s3_endpoint = config.minio.url.as_str().trim_end_matches('/').to_owned();
    let minio = Arc::new(minio::Minio::new(config.minio)?);
    let broker =
        broker::Broker::new(minio, config.ledger_bucket, config.lake, config.templates, config.sessions, clock.clone());
    Ok(http::App { broker: Arc::new(broker), authenticator: Arc::new(authenticator), clock, s3_endpoint })
}

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
