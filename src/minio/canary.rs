//! Whether this MinIO keeps its word about listing: tried out with a user of our own, on a prefix of our own.
//!
//! Some builds take the value of a condition such as `s3:prefix` from a request header of that name: whoever may list one
//! folder can then list all. Object contents stay closed. See `docs/operators.md`.

use aws_credential_types::Credentials;
use aws_sdk_s3::config::retry::RetryConfig;
use jiff::Timestamp;

use super::{Incarnation, Minio, MinioError, MinioUser, PREFIX, Status, sdk_error};

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

/// A canary: `lakepass-Canary-{ledger bucket}-{seconds since 1970}-{random}`, and its policy, which ends in `-policy`.
///
/// - It is nobody's MinIO user: no username has a capital or a `-`.
/// - The name says when it was made and for whom, so one that was left behind can be told from one under way, and from
///   another Lakepass's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Canary<'a> {
    pub bucket: &'a str,
    pub since: Timestamp,
}

const KIND: &str = "Canary-";

impl<'a> Canary<'a> {
    fn name(&self) -> String {
        format!("{PREFIX}{KIND}{}-{}-{}", self.bucket, self.since.as_second(), Incarnation::new().as_str())
    }

    /// The canary that a MinIO user or policy of this name is of, if it is of one.
    pub fn of(name: &'a str) -> Option<Self> {
        let name = name.strip_prefix(PREFIX)?.strip_prefix(KIND)?;
        let (name, _random) = name.strip_suffix("-policy").unwrap_or(name).rsplit_once('-')?;
        let (bucket, since) = name.rsplit_once('-')?;
        Some(Self { bucket, since: Timestamp::from_second(since.parse().ok()?).ok()? })
    }
}

impl Minio {
    /// Makes a user for this, and takes it away again, whatever happens. If we end before that, the reconciler does.
    pub async fn try_listing(&self, bucket: &str, policy: &str, now: Timestamp) -> Result<Listing, MinioError> {
        let user = MinioUser::from(Canary { bucket, since: now }.name());
        let name = format!("{user}-policy");
        let tried = async {
            self.put_user(&user, Status::Enabled).await?;
            self.put_policy(&name, policy).await?;
            self.attach_to_user(&user, std::slice::from_ref(&name)).await?;
            self.list_as(&user, bucket).await
        };
        let tried = tried.await;
        // The user first: with it goes what hangs on the policy.
        let removed = [self.remove_user(&user).await, self.remove_policy(&name).await];
        let listing = tried?;
        removed.into_iter().collect::<Result<(), _>>()?;
        Ok(listing)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_canary_is_known_by_its_name_and_is_no_persons_user() {
        let canary = Canary { bucket: "a-ledger-1", since: Timestamp::from_second(1_700_000_000).unwrap() };
        let name = canary.name();
        let policy = format!("{name}-policy");
        assert_eq!((Canary::of(&name), Canary::of(&policy)), (Some(canary), Some(canary)));
        assert_eq!((MinioUser::from(name).username(), MinioUser::from(policy).username()), (None, None));
        for user in ["canary", "canary_1"] {
            assert_eq!(Canary::of(MinioUser::new(&user.parse().unwrap()).as_str()), None);
        }
        for other in ["lakepass-Canary-", "lakepass-Canary-a-b", "lakepass-Canary-a-1x-b", "Canary-a-1-b"] {
            assert_eq!(Canary::of(other), None, "{other}");
        }
    }
}
