//! MinIO: its admin API, STS, and the buckets that we keep things in.
//!
//! Knows how to speak to a MinIO server, as whom, and what its errors mean. Must not know HTTP requests of ours, tokens, or
//! what a policy says.

mod admin;
mod canary;
mod events;
mod fault;
mod inventory;
pub mod ledger;
mod names;
mod objects;
pub mod seal;
mod signing;
mod sts;

use std::time::Duration;

use aws_credential_types::Credentials;
use aws_lc_rs::hkdf;
use aws_sdk_s3::config::{BehaviorVersion, Region, retry::RetryConfig, timeout::TimeoutConfig};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::{Semaphore, SemaphorePermit};
use url::Url;

use crate::limits::Queue;

pub use self::{
    admin::{AccessKey, GroupInfo, KeyState, Status, UserInfo},
    canary::{CANARY_PREFIX, Canary, Listing},
    events::Events,
    inventory::{Inventory, canonical},
    names::{Incarnation, MinioGroup, MinioUser, PREFIX},
    sts::SessionKeys,
};

/// How long one call may take, retries included. Short, so that an outage shows within 3 s.
pub const CALL_LIMIT: Duration = Duration::from_secs(2);

/// Why MinIO did not do what it was asked. `Display` is for logs.
#[derive(Debug, Clone, thiserror::Error)]
pub enum MinioError {
    #[error("{what}: not found")]
    NotFound { what: String },
    /// It exists already, or is not in the state that the call was made for.
    #[error("{what}: exists, or was changed meanwhile")]
    Conflict { what: String },
    /// Something still hangs on it.
    #[error("{what}: in use")]
    InUse { what: String },
    /// MinIO does not let us: the credentials are wrong or lack a right.
    #[error("{what}: denied ({code})")]
    Denied { what: String, code: String },
    #[error("{what}: too large")]
    TooLarge { what: String },
    /// MinIO is away, overloaded, or answers what is no answer. Whether the call had an effect is not known.
    #[error("{what}: MinIO is not available: {reason}")]
    Unavailable { what: String, reason: String },
    /// A document of the ledger is not what one can be. It is not guessed at: neither served nor changed.
    #[error("the ledger's document {what} is damaged: {reason}")]
    Damaged { what: String, reason: String },
    /// MinIO understood and refuses.
    #[error("{what}: refused ({code})")]
    Refused { what: String, code: String },
}

/// Who we are at MinIO, and the key that users' secrets are derived from.
///
/// `Debug` shows neither secret.
#[derive(Debug)]
pub struct MinioConfig {
    pub url: Url,
    pub root_user: String,
    pub root_password: SecretString,
    /// By default the root password.
    pub derivation_key: Option<SecretString>,
    /// How many calls are under way at once.
    pub calls: usize,
}

/// A MinIO server, and everything that Lakepass asks of it.
pub struct Minio {
    config: MinioConfig,
    http: reqwest::Client,
    s3: aws_sdk_s3::Client,
    sts: aws_sdk_sts::Client,
    /// Every call takes its turn here, but those that ask whether MinIO is there.
    queue: Queue,
    /// How many sealed answers are asked for and opened at once: both sides work hard for each.
    sealed: Semaphore,
}

impl Minio {
    pub fn new(config: MinioConfig) -> Result<Self, MinioError> {
        let http = reqwest::Client::builder()
            .connect_timeout(CALL_LIMIT)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| MinioError::Unavailable { what: "HTTP client".into(), reason: error.to_string() })?;
        let root = Credentials::new(
            config.root_user.clone(),
            config.root_password.expose_secret(),
            None,
            None,
            "lakepass-configuration",
        );
        let endpoint = config.url.as_str().trim_end_matches('/').to_owned();
        let limits = TimeoutConfig::builder().operation_timeout(CALL_LIMIT).connect_timeout(CALL_LIMIT).build();
        let retries = RetryConfig::standard()
            .with_max_attempts(3)
            .with_initial_backoff(Duration::from_millis(50))
            .with_max_backoff(Duration::from_millis(400));
        let s3 = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .endpoint_url(&endpoint)
            .region(Region::from_static("us-east-1"))
            .credentials_provider(root.clone())
            .force_path_style(true)
            .timeout_config(limits.clone())
            .retry_config(retries.clone())
            .build();
        let sts = aws_sdk_sts::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .endpoint_url(&endpoint)
            .region(Region::from_static("us-east-1"))
            .credentials_provider(root)
            .timeout_config(limits)
            .retry_config(retries)
            .build();
        Ok(Self {
            s3: aws_sdk_s3::Client::from_conf(s3),
            sts: aws_sdk_sts::Client::from_conf(sts),
            queue: Queue::new("MinIO", config.calls),
            sealed: Semaphore::new(std::thread::available_parallelism().map_or(2, |cores| cores.get())),
            config,
            http,
        })
    }

    pub fn url(&self) -> &Url {
        &self.config.url
    }

    /// A place among the calls that are under way, for as long as it is held: from before a call until its answer is there.
    async fn turn(&self, what: &str) -> Result<SemaphorePermit<'_>, MinioError> {
        let busy = || MinioError::Unavailable { what: what.into(), reason: "too many calls are under way".into() };
        self.queue.turn().await.ok_or_else(busy)
    }

    /// The secret of one of our MinIO users. Nobody is given it and nothing stores it.
    fn derived_secret(&self, user: &MinioUser) -> SecretString {
        self.derived(b"lakepass/minio-user/1", user.as_str())
    }

    /// HKDF-SHA256 (RFC 5869) of the derivation key and a name. The label keeps secrets of different powers apart.
    fn derived(&self, label: &[u8], name: &str) -> SecretString {
        let key = self.config.derivation_key.as_ref().unwrap_or(&self.config.root_password);
        let extracted = hkdf::Salt::new(hkdf::HKDF_SHA256, label).extract(key.expose_secret().as_bytes());
        let info = [name.as_bytes()];
        let mut secret = zeroize::Zeroizing::new([0; 30]);
        extracted
            .expand(&info, Thirty)
            .and_then(|okm| okm.fill(secret.as_mut()))
            .expect("30 bytes are fewer than HKDF can give");
        SecretString::from(URL_SAFE_NO_PAD.encode(secret.as_ref()))
    }
}

/// The length of a derived secret, in bytes.
struct Thirty;

impl hkdf::KeyType for Thirty {
    fn len(&self) -> usize {
        30
    }
}

/// What an error of the AWS SDK means.
fn sdk_error<E>(what: &str, error: aws_sdk_s3::error::SdkError<E>) -> MinioError
where
    E: aws_sdk_s3::error::ProvideErrorMetadata,
{
    let what = what.to_owned();
    let status = error.raw_response().map(|response| response.status().as_u16());
    let code = error.as_service_error().and_then(|error| error.code()).unwrap_or_default().to_owned();
    match (status, code.as_str()) {
        // MinIO says why. What does not is something else that answers in its place.
        (Some(status), "") => MinioError::Unavailable { what, reason: format!("status {status} without a code") },
        // A missing bucket is no missing object: somebody has to make it first.
        (_, "NoSuchBucket") => MinioError::Unavailable { what, reason: "its bucket does not exist".into() },
        (Some(404), _) => MinioError::NotFound { what },
        (Some(409 | 412), _) => MinioError::Conflict { what },
        (Some(403), _) => MinioError::Denied { what, code },
        (Some(413), _) | (_, "EntityTooLarge") => MinioError::TooLarge { what },
        (Some(400..=499), _) => MinioError::Refused { what, code },
        (Some(status), _) => MinioError::Unavailable { what, reason: format!("status {status} {code}") },
        // Without a response; the error's own text could quote a request.
        (None, _) => MinioError::Unavailable { what, reason: "no answer".into() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minio(key: Option<&str>) -> Minio {
        let config = MinioConfig {
            url: Url::parse("http://127.0.0.1:1").unwrap(),
            root_user: "root".into(),
            root_password: SecretString::from("ROOTSECRET"),
            derivation_key: key.map(SecretString::from),
            calls: 1,
        };
        assert!(!format!("{config:?}").contains("ROOTSECRET"));
        Minio::new(config).unwrap()
    }

    #[test]
    fn secrets_are_derived_from_the_key_and_the_name() {
        let user = |name: &str| MinioUser::from(name.to_owned());
        let secret = |key, name| minio(key).derived_secret(&user(name)).expose_secret().to_owned();
        assert_eq!(secret(None, "a"), secret(None, "a"));
        assert_eq!(secret(None, "a"), secret(Some("ROOTSECRET"), "a"));
        assert_ne!(secret(None, "a"), secret(None, "b"));
        assert_ne!(secret(None, "a"), secret(Some("another"), "a"));
        assert_eq!(secret(None, "a").len(), 40);
        assert_ne!(secret(None, "a"), minio(None).lake_key_secret("a").expose_secret());
    }
}
