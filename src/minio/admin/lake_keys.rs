//! Lake keys: made and deleted, and those with a derived secret looked for.

use aws_credential_types::Credentials;
use jiff::Timestamp;
use reqwest::Method;
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;

use super::{Call, Minio, MinioError, gone};
use crate::minio::{MinioUser, sdk_error};

/// What MinIO makes of a request that is signed with a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyState {
    /// It knows the key, with this secret.
    Known,
    /// It knows the key, with another secret.
    OtherSecret,
    Unknown,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ServiceAccountBody<'a> {
    target_user: &'a str,
    access_key: &'a str,
    secret_key: &'a str,
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    expiration: Option<Timestamp>,
}

impl Minio {
    /// Makes an access key (service account) of a user, with the user's rights. Not retried: see
    /// [`MinioError::Unavailable`].
    pub async fn add_access_key(
        &self,
        user: &MinioUser,
        access_key: &str,
        secret: &SecretString,
        expiration: Option<Timestamp>,
    ) -> Result<(), MinioError> {
        let body = ServiceAccountBody {
            target_user: user.as_str(),
            access_key,
            secret_key: secret.expose_secret(),
            name: "lakepass",
            expiration,
        };
        let call = Call::new(Method::PUT, "add-service-account").once();
        self.send(call.body(self.sealed("add-service-account", &body)?)).await.map(|_| ())
    }

    /// Deletes an access key. It may be gone already.
    pub async fn remove_access_key(&self, access_key: &str) -> Result<(), MinioError> {
        gone(self.send(Call::new(Method::DELETE, "delete-service-account").query("accessKey", access_key)).await)
    }

    /// The secret of a lake key, from the broker's key and the access key: for keys that are shown again.
    pub fn lake_key_secret(&self, access_key: &str) -> SecretString {
        self.derived(b"lakepass/lake-key/1", access_key)
    }

    /// Asks MinIO by a request signed with the key: that costs a fraction of what a sealed answer does.
    pub async fn key_state(
        &self,
        bucket: &str,
        access_key: &str,
        secret: &SecretString,
    ) -> Result<KeyState, MinioError> {
        let signer = Credentials::new(access_key, secret.expose_secret(), None, None, "lakepass-lake-key");
        let as_key = aws_sdk_s3::Config::builder().credentials_provider(signer);
        let _turn = self.turn("GetBucketLocation").await?;
        let answer = self.s3.get_bucket_location().bucket(bucket).customize().config_override(as_key).send().await;
        match answer.map_err(|error| sdk_error("GetBucketLocation", error)) {
            Ok(_) => Ok(KeyState::Known),
            Err(MinioError::Denied { code, .. }) => Ok(match code.as_str() {
                "InvalidAccessKeyId" => KeyState::Unknown,
                "SignatureDoesNotMatch" => KeyState::OtherSecret,
                _ => KeyState::Known,
            }),
            Err(error) => Err(error),
        }
    }
}
