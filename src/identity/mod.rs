//! Who is asking. Turns a [`Token`] into an [`Identity`], or says why not.
//!
//! Knows the auth services (KBase, OIDC issuers) and their rules about roles. Must not know the lake, policies, MinIO, or
//! how an error becomes an HTTP answer.
//!
//! - [`kbase`] and [`oidc`] are two implementations of [`Authenticator`], [`Dispatcher`] chooses between them by the
//!   token's shape, [`CachedAuthenticator`] wraps any of them.
//! - Nothing here reads a clock: the caller passes the time.
//! - An outage is [`AuthError::Unavailable`], never [`AuthError::Invalid`].

mod cache;
pub(crate) mod fetch;
pub mod kbase;
pub mod oidc;
mod roles;
mod token;
mod username;

use std::{collections::BTreeSet, net::IpAddr, sync::Arc, time::Duration};

use async_trait::async_trait;
use jiff::Timestamp;

pub use self::{
    cache::{CacheLimits, CachedAuthenticator},
    kbase::{KbaseAuthenticator, KbaseConfig, KbaseUrl},
    oidc::{IssuerUrl, JwtIssuer, OidcAuthenticator},
    token::{MAX_TOKEN_BYTES, Token, TokenDigest, TokenError},
    username::{MAX_USERNAME_BYTES, Username, UsernameError},
};

/// Who a token says is asking, believed. Cheap to clone.
///
/// - It was made from an answer of the auth service or a verified signature, never from the token's own word.
/// - It has every role that the configuration requires.
/// - `expires_at` is the token's own expiry. Nothing issued on its account may outlive it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    pub username: Username,
    pub roles: Arc<BTreeSet<String>>,
    pub admin: bool,
    pub expires_at: Timestamp,
}

/// An [`Identity`], and for how long from the time of asking it may be believed without asking again. Never past the
/// token's expiry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Validated {
    pub identity: Identity,
    pub trust_for: Duration,
}

/// Why a token makes no [`Identity`]. `Display` is for logs and never holds the token; a caller sees a problem document.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// 401: forged, malformed, expired, not for us, or unknown to the auth service.
    #[error("the token is not valid: {0}")]
    Invalid(&'static str),
    /// 401: a JWT, but from nobody who is configured. The issuer is the token's own, unverified word.
    #[error("the token's issuer {0:?} is not configured")]
    UnknownIssuer(String),
    /// 403
    #[error("the account is disabled")]
    AccountDisabled,
    /// 403: a good token of a person without the roles that the configuration requires.
    #[error("required roles are missing: {}", .roles.join(", "))]
    RolesMissing { user: Username, roles: Vec<String> },
    /// 403: a good token, got without multi-factor authentication while the configuration requires it.
    #[error("the token was made without multi-factor authentication, which is required")]
    MfaMissing { user: Username },
    /// 403: a good JWT that does not say who its bearer is in a way that we can use.
    #[error("the claim {claim:?} holds no usable username: {reason}")]
    UnusableUsername { claim: String, reason: String },
    /// 429: too many wrong tokens came from the same address. Says nothing about this one.
    #[error("too many wrong tokens from one address")]
    TooManyWrong { retry_after: Duration },
    /// 503: nobody can say now whether the token is good. Says nothing about the token.
    #[error("{service} cannot be asked: {reason}")]
    Unavailable { service: &'static str, reason: String },
}

/// Something that can tell who a token belongs to.
#[async_trait]
pub trait Authenticator: Send + Sync {
    async fn authenticate(&self, token: &Token, now: Timestamp) -> Result<Validated, AuthError>;

    /// The same for a caller at an address, within the limits for one. By default, there are none.
    async fn authenticate_from(&self, token: &Token, now: Timestamp, _from: IpAddr) -> Result<Validated, AuthError> {
        self.authenticate(token, now).await
    }

    /// Whether everybody who has to be asked can be. By default, nobody has to.
    async fn is_ready(&self, _now: Timestamp) -> Result<(), AuthError> {
        Ok(())
    }
}

/// The configuration cannot make an authenticator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SetupError {
    #[error("neither a KBase auth service nor an OIDC issuer is configured: nobody could ever be recognised")]
    NobodyToAsk,
    #[error("the OIDC issuer {0} is configured twice")]
    IssuerTwice(IssuerUrl),
    #[error("the OIDC issuer {issuer} has an empty {setting}")]
    EmptySetting { issuer: IssuerUrl, setting: &'static str },
    #[error("the HTTP client cannot be made: {0}")]
    HttpClient(String),
}

/// The authenticator that a server runs with: KBase and the OIDC issuers as configured, behind one cache.
pub fn authenticator(
    kbase: Option<KbaseConfig>,
    issuers: Vec<JwtIssuer>,
    limits: CacheLimits,
) -> Result<CachedAuthenticator, SetupError> {
    let kbase = match kbase {
        Some(config) => Some(Box::new(KbaseAuthenticator::new(config)?) as Box<dyn Authenticator>),
        None => None,
    };
    let jwt = if issuers.is_empty() {
        None
    } else {
        Some(Box::new(OidcAuthenticator::new(issuers)?) as Box<dyn Authenticator>)
    };
    Ok(CachedAuthenticator::new(Dispatcher::new(kbase, jwt)?, limits))
}

/// Sends a token to the authenticator that can know it, by its shape alone.
///
/// - There is at least one authenticator.
/// - With both, a token that looks like a JWT never reaches KBase, whoever issued it, and an opaque one never reaches OIDC.
pub struct Dispatcher(Route);

enum Route {
    Kbase(Box<dyn Authenticator>),
    Jwt(Box<dyn Authenticator>),
    Both { kbase: Box<dyn Authenticator>, jwt: Box<dyn Authenticator> },
}

impl Dispatcher {
    pub fn new(kbase: Option<Box<dyn Authenticator>>, jwt: Option<Box<dyn Authenticator>>) -> Result<Self, SetupError> {
        match (kbase, jwt) {
            (Some(kbase), Some(jwt)) => Ok(Self(Route::Both { kbase, jwt })),
            (Some(kbase), None) => Ok(Self(Route::Kbase(kbase))),
            (None, Some(jwt)) => Ok(Self(Route::Jwt(jwt))),
            (None, None) => Err(SetupError::NobodyToAsk),
        }
    }
}

#[async_trait]
impl Authenticator for Dispatcher {
    async fn authenticate(&self, token: &Token, now: Timestamp) -> Result<Validated, AuthError> {
        let looks_like_jwt = oidc::looks_like_jwt(token);
        match &self.0 {
            Route::Kbase(kbase) => kbase.authenticate(token, now).await,
            Route::Both { kbase, .. } if !looks_like_jwt => kbase.authenticate(token, now).await,
            Route::Jwt(jwt) | Route::Both { jwt, .. } if looks_like_jwt => jwt.authenticate(token, now).await,
            Route::Jwt(_) | Route::Both { .. } => Err(AuthError::Invalid("it is no JWT, and nothing else is accepted")),
        }
    }

    async fn is_ready(&self, now: Timestamp) -> Result<(), AuthError> {
        match &self.0 {
            Route::Kbase(only) | Route::Jwt(only) => only.is_ready(now).await,
            Route::Both { kbase, jwt } => tokio::try_join!(kbase.is_ready(now), jwt.is_ready(now)).map(|_| ()),
        }
    }
}

/// The time from `now` until `then`; nothing if it is over.
fn time_until(then: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(then.duration_since(now)).unwrap_or(Duration::ZERO)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers with its own name as the reason, so that a test sees who was asked.
    struct Named(&'static str);

    #[async_trait]
    impl Authenticator for Named {
        async fn authenticate(&self, _: &Token, _: Timestamp) -> Result<Validated, AuthError> {
            Err(AuthError::Invalid(self.0))
        }
    }

    fn named(name: &'static str) -> Option<Box<dyn Authenticator>> {
        Some(Box::new(Named(name)))
    }

    #[tokio::test]
    async fn the_shape_decides_who_is_asked() {
        // `{"alg":"none"}`, with an empty signature: a JWT to be refused as one, not to be sent to KBase.
        let jwt = Token::parse("eyJhbGciOiJub25lIn0.e30.").unwrap();
        let opaque = Token::parse("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567").unwrap();
        let neither = "it is no JWT, and nothing else is accepted";
        let cases = [
            (named("kbase"), named("jwt"), &jwt, "jwt"),
            (named("kbase"), named("jwt"), &opaque, "kbase"),
            (named("kbase"), None, &jwt, "kbase"),
            (named("kbase"), None, &opaque, "kbase"),
            (None, named("jwt"), &jwt, "jwt"),
            (None, named("jwt"), &opaque, neither),
        ];
        for (kbase, jwt, token, asked) in cases {
            let dispatcher = Dispatcher::new(kbase, jwt).unwrap();
            let answer = dispatcher.authenticate(token, Timestamp::UNIX_EPOCH).await;
            assert_eq!(answer, Err(AuthError::Invalid(asked)));
        }
    }

    #[test]
    fn somebody_must_be_asked() {
        assert_eq!(Dispatcher::new(None, None).err(), Some(SetupError::NobodyToAsk));
        let error = authenticator(None, Vec::new(), CacheLimits::default()).err();
        assert_eq!(error, Some(SetupError::NobodyToAsk));
    }

    #[test]
    fn time_that_is_over_is_nothing() {
        let now = Timestamp::from_second(1_000).unwrap();
        assert_eq!(time_until(Timestamp::from_second(1_005).unwrap(), now), Duration::from_secs(5));
        assert_eq!(time_until(Timestamp::from_second(999).unwrap(), now), Duration::ZERO);
        assert_eq!(time_until(Timestamp::MIN, Timestamp::MAX), Duration::ZERO);
    }
}
