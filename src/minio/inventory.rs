//! Everything that MinIO has, read in few calls: for comparing it with the ledger.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use aws_credential_types::Credentials;
use aws_sdk_s3::{config::retry::RetryConfig, error::ProvideErrorMetadata};
use futures::{StreamExt, TryStreamExt, stream};
use reqwest::Method;
use secrecy::ExposeSecret;
use serde_json::Value;

use super::{
    GroupInfo, Minio, MinioError, MinioGroup, MinioUser, Status, UserInfo,
    admin::{Call, UsersKeys},
    sdk_error,
};

/// How long the list of all users, policies or access keys may take.
const LIST_LIMIT: Duration = Duration::from_secs(30);

/// How many groups are asked about side by side.
const SIDE_BY_SIDE: usize = 8;

/// All users, groups, policies and access keys of a MinIO, by their names there.
#[derive(Debug, Default)]
pub struct Inventory {
    pub users: BTreeMap<String, UserInfo>,
    pub groups: BTreeMap<String, GroupInfo>,
    /// The documents, in their [`canonical`] spelling.
    pub policies: BTreeMap<String, Value>,
    /// Persistent access keys (service accounts), by the user that they are of.
    pub access_keys: BTreeMap<String, BTreeSet<String>>,
}

impl Minio {
    /// One call each for users, policies and access keys, and one for each group.
    pub async fn inventory(&self) -> Result<Inventory, MinioError> {
        let names: Option<Vec<String>> = self.json(Call::new(Method::GET, "groups")).await?;
        let group = async |name: String| {
            let info = self.group(&MinioGroup::from(name.clone())).await?;
            Ok::<_, MinioError>(info.map(|info| (name, info)))
        };
        let groups = stream::iter(names.unwrap_or_default()).map(group).buffered(SIDE_BY_SIDE);
        let keys =
            Call::new(Method::GET, "list-access-keys-bulk").query("listType", "svcacc-only").query("all", "true");
        let (groups, users, policies, keys) = tokio::try_join!(
            groups.try_collect::<Vec<_>>(),
            self.sealed_json(Call::new(Method::GET, "list-users").within(LIST_LIMIT)),
            self.json::<BTreeMap<String, Value>>(Call::new(Method::GET, "list-canned-policies").within(LIST_LIMIT)),
            self.sealed_json::<BTreeMap<String, UsersKeys>>(keys.within(LIST_LIMIT)),
        )?;
        let names = |keys: UsersKeys| keys.service_accounts.into_iter().flatten().map(|key| key.access_key).collect();
        let access_keys = keys.into_iter().map(|(user, keys)| (user, names(keys))).collect();
        let policies = policies.into_iter().map(|(name, document)| (name, canonical(document))).collect();
        Ok(Inventory { users, groups: groups.into_iter().flatten().collect(), policies, access_keys })
    }

    /// Whether an enabled user of ours has another secret than the derived one: tried by a request signed with that.
    pub async fn has_another_secret(&self, user: &MinioUser, bucket: &str) -> Result<bool, MinioError> {
        let secret = self.derived_secret(user);
        let signer = Credentials::new(user.as_str(), secret.expose_secret(), None, None, "lakepass-derived");
        let as_user =
            aws_sdk_s3::config::Builder::new().credentials_provider(signer).retry_config(RetryConfig::standard());
        let _turn = self.turn("GetBucketLocation").await?;
        let answer = self.s3.get_bucket_location().bucket(bucket).customize().config_override(as_user).send().await;
        match answer {
            Ok(_) => Ok(false),
            Err(error) if error.code() == Some("SignatureDoesNotMatch") => Ok(true),
            Err(error) => match sdk_error("GetBucketLocation", error) {
                // The secret is right, or there is nobody enabled to have one: other kinds of drift.
                MinioError::Denied { .. } => Ok(false),
                error => Err(error),
            },
        }
    }

    pub async fn set_group_status(&self, group: &MinioGroup, status: Status) -> Result<(), MinioError> {
        let call = Call::new(Method::PUT, "set-group-status").query("group", group.as_str());
        self.send(call.query("status", status.as_str())).await.map(|_| ())
    }

    /// Whether there is nothing below a prefix.
    pub async fn is_empty(&self, bucket: &str, prefix: &str) -> Result<bool, MinioError> {
        Ok(self.list_objects(bucket, prefix, None, 1).await?.objects.is_empty())
    }
}

/// A policy document with its lists sorted: MinIO keeps them as sets.
pub fn canonical(value: Value) -> Value {
    match value {
        Value::Object(fields) => fields.into_iter().map(|(key, value)| (key, canonical(value))).collect(),
        Value::Array(items) => {
            let mut items: Vec<Value> = items.into_iter().map(canonical).collect();
            items.sort_by_key(Value::to_string);
            Value::Array(items)
        }
        other => other,
    }
}
