//! STS: session keys.

use std::fmt;

use aws_credential_types::Credentials;
use jiff::Timestamp;
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
        let _turn = self.turn("AssumeRole").await?;
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

/// What MinIO writes into a session token, a JWT (RFC 7519).
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SessionClaims {
    access_key: String,
    parent: String,
}

impl Minio {
    /// The MinIO user whose session it is; nothing if MinIO does not know these keys with this token now.
    ///
    /// The secret is the caller's, so MinIO is asked with a wrong one: it compares the session token first
    /// (`checkKeyValid` in `minio/cmd/signature-v4-utils.go`), and objects to the signature only if the token is the one
    /// that it issued.
    pub async fn session_parent(&self, access_key: &str, session_token: &str) -> Result<Option<MinioUser>, MinioError> {
        // What it says is believed after MinIO has recognised it.
        let Ok(claims) = jsonwebtoken::dangerous::insecure_decode_claims::<SessionClaims>(session_token) else {
            return Ok(None);
        };
        if claims.access_key != access_key || !access_key.bytes().all(|b| b.is_ascii_alphanumeric()) {
            return Ok(None);
        }
        let caller =
            Credentials::new(access_key, "not the secret", Some(session_token.to_owned()), None, "lakepass-probe");
        let as_caller = aws_sdk_s3::config::Builder::new().credentials_provider(caller);
        let _turn = self.turn("ListBuckets").await?;
        let answer = self.s3.list_buckets().customize().config_override(as_caller).send().await;
        match answer.map_err(|error| sdk_error("ListBuckets", error)) {
            Err(MinioError::Denied { code, .. }) if code == "SignatureDoesNotMatch" => {
                Ok(Some(MinioUser::from(claims.parent)))
            }
            Err(error @ MinioError::Unavailable { .. }) => Err(error),
            Ok(_) | Err(_) => Ok(None),
        }
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
