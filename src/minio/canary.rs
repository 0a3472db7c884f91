//! Whether this MinIO keeps its word about listing: tried out with a user of our own, on a prefix of our own.
//!
//! Some builds take the value of a condition such as `s3:prefix` from a request header of that name: whoever may list one
//! folder can then list all. Object contents stay closed. See `docs/operators.md`.

use aws_credential_types::Credentials;
use aws_sdk_s3::config::retry::RetryConfig;

use super::{Minio, MinioError, MinioUser, Status, sdk_error};

/// Where the canary lists, in the ledger's bucket.
const OPEN: &str = "canary/open/";
const CLOSED: &str = "canary/closed/";

/// Whether listing can be talked past a policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listing {
    /// A policy's word counts.
    AsThePolicySays,
    /// A request header counts for more: something in front of MinIO must take `Prefix`, `Delimiter` and `CurrentTime`
    /// away.
    CanBeTalkedPast,
}

impl Listing {
    /// What to tell an operator whose MinIO can be talked past.
    pub const WARNING: &str = "this MinIO can be talked past its policies when it lists: a request header `Prefix` shows \
        the names of all objects (not their contents). Put something in front of MinIO that takes the headers `Prefix`, \
        `Delimiter` and `CurrentTime` away, or use a MinIO that is mended: see docs/operators.md";
}

impl Minio {
    /// Makes a user for this, and takes it away again.
    pub async fn try_listing(&self, bucket: &str, policy: &str) -> Result<Listing, MinioError> {
        let user = MinioUser::new(&"canary".parse().expect("it is a legal name"));
        let name = format!("{user}-policy");
        self.put_user(&user, Status::Enabled).await?;
        let tried = async {
            self.put_policy(&name, policy).await?;
            self.attach_to_user(&user, std::slice::from_ref(&name)).await?;
            self.list_as(&user, bucket).await
        };
        let tried = tried.await;
        // The user first: with it goes what hangs on the policy.
        self.remove_user(&user).await?;
        self.remove_policy(&name).await?;
        tried
    }

    async fn list_as(&self, user: &MinioUser, bucket: &str) -> Result<Listing, MinioError> {
        use secrecy::ExposeSecret;
        let secret = self.derived_secret(user);
        let signer = Credentials::new(user.as_str(), secret.expose_secret(), None, None, "lakepass-canary");
        let list = |prefix: &'static str, header: Option<&'static str>| {
            let as_user = aws_sdk_s3::config::Builder::new()
                .credentials_provider(signer.clone())
                .retry_config(RetryConfig::disabled());
            let call = self.s3.list_objects_v2().bucket(bucket).prefix(prefix).customize().config_override(as_user);
            let call = call.mutate_request(move |request| {
                if let Some(value) = header {
                    request.headers_mut().insert("prefix", value);
                }
            });
            async move {
                let _turn = self.turn("ListObjectsV2").await?;
                match call.send().await.map_err(|error| sdk_error("ListObjectsV2", error)) {
                    Ok(_) => Ok(true),
                    Err(MinioError::Denied { .. }) => Ok(false),
                    Err(error) => Err(error),
                }
            }
        };
        // Without these two, an answer to the third would say nothing.
        if !list(OPEN, None).await? || list(CLOSED, None).await? {
            let code = "the canary's policy has another effect than it should".to_owned();
            return Err(MinioError::Refused { what: "listing".into(), code });
        }
        Ok(if list(CLOSED, Some(OPEN)).await? { Listing::CanBeTalkedPast } else { Listing::AsThePolicySays })
    }
}

/// The prefix that the canary may list.
pub const CANARY_PREFIX: &str = OPEN;
