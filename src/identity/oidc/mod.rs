//! JWTs of OIDC issuers: verified here, with the keys that the issuer publishes.
//!
//! - [`jwt`] reads what a token claims before anybody believes it, [`keys`] is the issuer's key set, [`source`] keeps it
//!   current, [`claims`] turns verified claims into an identity.
//! - The algorithm follows from the key, never from the token: an RSA key verifies RS256 and nothing else. There is no
//!   HMAC and no `none`.

mod claims;
mod issuer;
mod jwt;
mod keys;
mod source;

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use jiff::Timestamp;
use jsonwebtoken::{Algorithm, Validation, errors::ErrorKind};
use serde_json::{Map, Value};

pub use self::issuer::{IssuerUrl, IssuerUrlError, JwtIssuer};
pub(super) use self::jwt::looks_like_jwt;
use self::{
    jwt::UnverifiedJwt,
    keys::{Key, KeySet},
    source::KeySource,
};
use super::{AuthError, Authenticator, SetupError, Token, Validated, fetch, roles::RoleRules};

/// Believes the JWTs of the configured issuers. Their documents are fetched when the first token comes.
pub struct OidcAuthenticator {
    issuers: BTreeMap<String, Issuer>,
}

struct Issuer {
    settings: JwtIssuer,
    rules: RoleRules,
    keys: Arc<KeySource>,
}

/// Why a token did not verify with a key set.
enum Unverified {
    /// With newer keys it might.
    PerhapsNewKey(AuthError),
    Refused(AuthError),
}

impl OidcAuthenticator {
    pub fn new(issuers: Vec<JwtIssuer>) -> Result<Self, SetupError> {
        let client = fetch::client(source::TIME_LIMIT).map_err(|error| SetupError::HttpClient(error.to_string()))?;
        let mut known = BTreeMap::new();
        for settings in issuers {
            settings.check()?;
            let url = settings.issuer.clone();
            let rules = RoleRules { required: settings.required_roles.clone(), admin: settings.admin_roles.clone() };
            let keys = Arc::new(KeySource::new(url.clone(), client.clone()));
            let before = known.insert(url.as_str().to_owned(), Issuer { settings, rules, keys });
            if before.is_some() {
                return Err(SetupError::IssuerTwice(url));
            }
        }
        Ok(Self { issuers: known })
    }
}

#[async_trait]
impl Authenticator for OidcAuthenticator {
    async fn authenticate(&self, token: &Token, now: Timestamp) -> Result<Validated, AuthError> {
        let unverified = UnverifiedJwt::parse(token)?;
        match self.issuers.get(&unverified.issuer) {
            Some(issuer) => issuer.authenticate(token, &unverified, now).await,
            None => Err(AuthError::UnknownIssuer(unverified.issuer)),
        }
    }

    async fn is_ready(&self, now: Timestamp) -> Result<(), AuthError> {
        for issuer in self.issuers.values() {
            issuer.keys.current(now).await?;
        }
        Ok(())
    }
}

impl Issuer {
    async fn authenticate(
        &self,
        token: &Token,
        unverified: &UnverifiedJwt,
        now: Timestamp,
    ) -> Result<Validated, AuthError> {
        let keys = self.keys.current(now).await?;
        let claims = match self.verify(&keys, token, unverified) {
            Ok(claims) => claims,
            Err(Unverified::Refused(error)) => return Err(error),
            Err(Unverified::PerhapsNewKey(_)) => {
                let keys = self.keys.newer(now).await?;
                self.verify(&keys, token, unverified).map_err(Unverified::into_error)?
            }
        };
        claims::judge(&claims, &self.settings, &self.rules, now)
    }

    fn verify(
        &self,
        keys: &KeySet,
        token: &Token,
        unverified: &UnverifiedJwt,
    ) -> Result<Map<String, Value>, Unverified> {
        let algorithm = unverified.algorithm;
        let key = match &unverified.key_id {
            Some(id) => keys.named(id, algorithm),
            None => keys.only(algorithm),
        };
        let key = match key {
            Key::Found(key) => key,
            Key::OtherAlgorithm => {
                return Err(Unverified::Refused(AuthError::Invalid("its algorithm is not that of its key")));
            }
            Key::Missing => {
                return Err(Unverified::PerhapsNewKey(AuthError::Invalid("the issuer publishes no such key")));
            }
        };
        match jsonwebtoken::decode(token.expose_secret(), key, &self.validation(algorithm)) {
            Ok(decoded) => Ok(decoded.claims),
            Err(error) => {
                let bad_signature = matches!(error.kind(), ErrorKind::InvalidSignature);
                let refusal = AuthError::Invalid(reason(error.kind()));
                // A token that does not name its key may be signed with one that has taken the place of ours.
                if bad_signature && unverified.key_id.is_none() {
                    Err(Unverified::PerhapsNewKey(refusal))
                } else {
                    Err(Unverified::Refused(refusal))
                }
            }
        }
    }

    /// What the library checks: algorithm, issuer and audience. The times are checked in [`claims`], by our clock.
    fn validation(&self, algorithm: Algorithm) -> Validation {
        let mut validation = Validation::new(algorithm);
        validation.validate_exp = false;
        validation.validate_nbf = false;
        validation.set_required_spec_claims(&["exp", "iss", "aud"]);
        validation.set_issuer(&[self.settings.issuer.as_str()]);
        validation.set_audience(&[&self.settings.audience]);
        validation
    }
}

impl Unverified {
    fn into_error(self) -> AuthError {
        match self {
            Self::PerhapsNewKey(error) | Self::Refused(error) => error,
        }
    }
}

/// The library's reason in words that quote nothing of the token.
fn reason(kind: &ErrorKind) -> &'static str {
    match kind {
        ErrorKind::InvalidSignature => "its signature is wrong",
        ErrorKind::InvalidIssuer => "its issuer is another one",
        ErrorKind::InvalidAudience => "it is meant for another audience",
        ErrorKind::MissingRequiredClaim(_) => "exp, iss or aud is missing or malformed",
        ErrorKind::InvalidAlgorithm => "its algorithm is not that of its key",
        _ => "it cannot be decoded",
    }
}
