//! Lake keys with a derived secret: whether MinIO has one, and with which secret.

use aws_credential_types::Credentials;
use reqwest::Method;
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;

use super::{Call, Minio, MinioError};
use crate::minio::sdk_error;

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
struct NewSecret<'a> {
    new_secret_key: &'a str,
}

impl Minio {
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

    pub async fn set_key_secret(&self, access_key: &str, secret: &SecretString) -> Result<(), MinioError> {
        let body = self.sealed("update-service-account", &NewSecret { new_secret_key: secret.expose_secret() })?;
        let call = Call::new(Method::POST, "update-service-account").query("accessKey", access_key);
        self.send(call.body(body)).await.map(|_| ())
    }
}
