//! STS: session keys.

use std::fmt;

use aws_credential_types::Credentials;
use jiff::Timestamp;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::{Minio, MinioError, MinioUser, sdk_error};
use crate::lake::Lifetime;

/// Keys of a session, as STS issued them.
///
/// - What they may do is what the user's live policies and the session policy both allow, at each request anew.
/// - `Debug` shows the access key only.
pub struct SessionKeys {
    pub access_key_id: String,
    pub secret_access_key: SecretString,
    pub session_token: SecretString,
    pub expires_at: Timestamp,
}

impl fmt::Debug for SessionKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionKeys")
            .field("access_key_id", &self.access_key_id)
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

impl Minio {
    /// AssumeRole, signed as the user: never as root, and never without a session policy.
    ///
    /// [`MinioError::Denied`] or [`MinioError::NotFound`] says that MinIO does not know this user with this secret.
    pub async fn assume_role(&self, user: &MinioUser, policy: &str, life: Lifetime) -> Result<SessionKeys, MinioError> {
        let secret = self.derived_secret(user);
        let signer = Credentials::new(user.as_str(), secret.expose_secret(), None, None, "lakepass-derived");
        let as_user = aws_sdk_sts::Config::builder().credentials_provider(signer);
        let answer = self
            .sts
            .assume_role()
            // MinIO reads neither, and the SDK wants both.
            .role_arn("arn:minio:iam:::role/lakepass")
            .role_session_name("lakepass")
            .policy(policy)
            .duration_seconds(i32::try_from(life.as_secs()).unwrap_or(i32::MAX))
            .customize()
            .config_override(as_user)
            .send()
            .await
            .map_err(|error| sdk_error("AssumeRole", error))?;
        let nonsense =
            || MinioError::Unavailable { what: "AssumeRole".into(), reason: "an answer without keys".into() };
        let keys = answer.credentials.ok_or_else(nonsense)?;
        Ok(SessionKeys {
            expires_at: Timestamp::from_second(keys.expiration.secs()).map_err(|_| nonsense())?,
            access_key_id: keys.access_key_id,
            secret_access_key: SecretString::from(keys.secret_access_key),
            session_token: SecretString::from(keys.session_token),
        })
    }
}

/// What MinIO writes into a session token, a JWT (RFC 7519) that it signs with its root secret.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SessionClaims {
    access_key: String,
    parent: String,
    exp: i64,
}

impl Minio {
    /// The MinIO user whose session it is; nothing if the token is not of these keys, has ended, or was not signed by MinIO.
    pub fn session_parent(&self, access_key: &str, session_token: &str, now: Timestamp) -> Option<MinioUser> {
        let key = DecodingKey::from_secret(self.config.root_password.expose_secret().as_bytes());
        let mut validation = Validation::new(Algorithm::HS512);
        // By our clock, below.
        validation.validate_exp = false;
        validation.required_spec_claims.clear();
        let claims = jsonwebtoken::decode::<SessionClaims>(session_token, &key, &validation).ok()?.claims;
        let is_of_these = claims.access_key == access_key && claims.exp > now.as_second();
        is_of_these.then(|| MinioUser::from(claims.parent))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_secret() {
        let keys = SessionKeys {
            access_key_id: "AKID".into(),
            secret_access_key: SecretString::from("SECRET"),
            session_token: SecretString::from("TOKEN"),
            expires_at: Timestamp::UNIX_EPOCH,
        };
        let text = format!("{keys:?}");
        assert!(text.contains("AKID") && !text.contains("SECRET") && !text.contains("TOKEN"));
    }
}
