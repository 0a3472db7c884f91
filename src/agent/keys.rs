//! Session keys, as the broker hands them out.

use std::time::Duration;

use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// Session keys, and until when they live.
///
/// - Its secrets are never printed; it has neither `Serialize` nor `Clone` (share it by `Arc`).
#[derive(Debug, Deserialize)]
#[serde(from = "Spelled")]
pub struct Keys {
    pub access_key_id: String,
    pub secret_access_key: SecretString,
    pub session_token: SecretString,
    pub expires_at: Timestamp,
}

/// Keys as AWS's container credentials protocol spells them.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Spelled {
    access_key_id: String,
    secret_access_key: Zeroizing<String>,
    token: Zeroizing<String>,
    expiration: Timestamp,
}

/// What an SDK is answered by the container credentials protocol.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ContainerDocument<'a> {
    access_key_id: &'a str,
    secret_access_key: &'a str,
    token: &'a str,
    expiration: Timestamp,
}

/// What a `credential_process` prints.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ProcessDocument<'a> {
    version: u8,
    access_key_id: &'a str,
    secret_access_key: &'a str,
    session_token: &'a str,
    expiration: Timestamp,
}

impl Keys {
    pub fn are_alive(&self, now: Timestamp) -> bool {
        now < self.expires_at
    }

    /// How much longer they live. Nothing, if they are dead.
    pub fn left(&self, now: Timestamp) -> Duration {
        Duration::try_from(self.expires_at.duration_since(now)).unwrap_or_default()
    }

    pub fn for_container(&self) -> ContainerDocument<'_> {
        ContainerDocument {
            access_key_id: &self.access_key_id,
            secret_access_key: self.secret_access_key.expose_secret(),
            token: self.session_token.expose_secret(),
            expiration: self.expires_at,
        }
    }

    pub fn for_process(&self) -> ProcessDocument<'_> {
        ProcessDocument {
            version: 1,
            access_key_id: &self.access_key_id,
            secret_access_key: self.secret_access_key.expose_secret(),
            session_token: self.session_token.expose_secret(),
            expiration: self.expires_at,
        }
    }
}

impl From<Spelled> for Keys {
    fn from(mut keys: Spelled) -> Self {
        Self {
            access_key_id: keys.access_key_id,
            secret_access_key: SecretString::from(std::mem::take(&mut *keys.secret_access_key)),
            session_token: SecretString::from(std::mem::take(&mut *keys.token)),
            expires_at: keys.expiration,
        }
    }
}

#[cfg(test)]
pub(super) fn keys_for_tests(id: &str, expires_at: Timestamp) -> Keys {
    let (secret_access_key, session_token) = (SecretString::from("the-secret"), SecretString::from("the-token"));
    Keys { access_key_id: id.into(), secret_access_key, session_token, expires_at }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn they_are_read_and_written_as_aws_spells_them_and_not_printed() {
        let spelled = json!({"AccessKeyId": "ID", "SecretAccessKey": "the-secret", "Token": "the-token",
            "Expiration": "2030-01-01T00:00:00Z"});
        let keys: Keys = serde_json::from_value(spelled.clone()).unwrap();
        assert_eq!(serde_json::to_value(keys.for_container()).unwrap(), spelled);
        assert_eq!(
            serde_json::to_value(keys.for_process()).unwrap(),
            json!({"Version": 1, "AccessKeyId": "ID", "SecretAccessKey": "the-secret", "SessionToken": "the-token",
                "Expiration": "2030-01-01T00:00:00Z"})
        );
        let printed = format!("{keys:?}");
        assert!(printed.contains("ID") && !printed.contains("the-"), "{printed}");
    }

    #[test]
    fn they_live_until_their_end_and_not_longer() {
        let end = Timestamp::from_second(1_000).unwrap();
        let keys = keys_for_tests("ID", end);
        let before = Timestamp::from_second(999).unwrap();
        assert_eq!((keys.are_alive(before), keys.left(before)), (true, Duration::from_secs(1)));
        assert_eq!((keys.are_alive(end), keys.left(end)), (false, Duration::ZERO));
        assert_eq!(keys.left(Timestamp::from_second(1_001).unwrap()), Duration::ZERO);
    }
}
