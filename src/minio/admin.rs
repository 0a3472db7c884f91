//! MinIO's admin API: users, groups, policies and access keys.
//!
//! Reference: `minio/cmd/admin-router.go` and madmin-go. Most calls are plain; those whose bodies hold or could hold a
//! secret are sealed ([`super::seal`]), which costs tens of milliseconds: none of them is on the path of a share or of a
//! change of members.

mod lake_keys;

use std::{collections::BTreeMap, time::Duration};

use backon::{ExponentialBuilder, Retryable};
use jiff::Timestamp;
use reqwest::Method;
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{
    CALL_LIMIT, Minio, MinioError, MinioGroup, MinioUser, fault,
    seal::{self, Algorithm},
};

pub use self::lake_keys::KeyState;

/// Answers are small, but for the list of all users: some 200 bytes each.
const MAX_ANSWER_BYTES: usize = 64 << 20;

/// A MinIO user, as MinIO has it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct UserInfo {
    /// The names of the attached policies, with commas between them.
    pub policy_name: String,
    pub status: Status,
    pub member_of: Vec<String>,
}

/// A MinIO group, as MinIO has it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct GroupInfo {
    pub status: Status,
    pub members: Vec<String>,
    /// The names of the attached policies, with commas between them.
    pub policy: String,
}

/// Whether a user or group counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    #[default]
    Enabled,
    Disabled,
}

impl Status {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Enabled => "enabled",
            Self::Disabled => "disabled",
        }
    }
}

/// An access key of a user: of a session, or a service account. Without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AccessKey {
    pub access_key: String,
    /// MinIO spells "never" as the epoch.
    pub expiration: Option<Timestamp>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
pub(super) struct UsersKeys {
    pub service_accounts: Option<Vec<AccessKey>>,
    sts_keys: Option<Vec<AccessKey>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct UserBody<'a> {
    secret_key: &'a str,
    status: Status,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct GroupBody<'a> {
    group: &'a str,
    members: &'a [&'a str],
    is_remove: bool,
    group_status: Status,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", default)]
#[derive(Default)]
struct ErrorBody {
    code: String,
}

impl Minio {
    /// Makes a user, or sets an existing one's secret to the derived one. Policies and groups stay as they are.
    pub async fn put_user(&self, user: &MinioUser, status: Status) -> Result<(), MinioError> {
        let secret = self.derived_secret(user);
        let body = UserBody { secret_key: secret.expose_secret(), status };
        let call = Call::new(Method::PUT, "add-user").query("accessKey", user.as_str());
        self.send(call.body(self.sealed("add-user", &body)?)).await.map(|_| ())
    }

    /// `None`: there is no such user.
    pub async fn user(&self, user: &MinioUser) -> Result<Option<UserInfo>, MinioError> {
        found(self.json(Call::new(Method::GET, "user-info").query("accessKey", user.as_str())).await)
    }

    /// Every MinIO user by name, ours and others', in one call.
    pub async fn users(&self) -> Result<BTreeMap<String, UserInfo>, MinioError> {
        self.sealed_json(Call::new(Method::GET, "list-users")).await
    }

    pub async fn set_user_status(&self, user: &MinioUser, status: Status) -> Result<(), MinioError> {
        let call = Call::new(Method::PUT, "set-user-status");
        self.send(call.query("accessKey", user.as_str()).query("status", status.as_str())).await.map(|_| ())
    }

    /// Deletes a user, its sessions and its access keys. It may be gone already.
    pub async fn remove_user(&self, user: &MinioUser) -> Result<(), MinioError> {
        let call = Call::new(Method::DELETE, "remove-user").query("accessKey", user.as_str());
        gone(self.send(call).await)
    }

    /// `None`: there is no such group.
    pub async fn group(&self, group: &MinioGroup) -> Result<Option<GroupInfo>, MinioError> {
        found(self.json(Call::new(Method::GET, "group").query("group", group.as_str())).await)
    }

    /// Adds members to a group, which is made if it is missing. Without members, it is only made.
    pub async fn add_members(&self, group: &str, members: &[&MinioUser]) -> Result<(), MinioError> {
        let members: Vec<&str> = members.iter().map(|member| member.as_str()).collect();
        self.update_members(group, &members, false).await
    }

    /// Takes members out of a group, by MinIO's name for it. They or the group may be gone already.
    pub async fn remove_members(&self, group: &str, members: &[&str]) -> Result<(), MinioError> {
        // Without members, the call would delete the group.
        if members.is_empty() { Ok(()) } else { gone(self.update_members(group, members, true).await) }
    }

    /// Deletes a group without members. It may be gone already.
    pub async fn remove_group(&self, group: &MinioGroup) -> Result<(), MinioError> {
        gone(self.update_members(group.as_str(), &[], true).await)
    }

    async fn update_members(&self, group: &str, members: &[&str], is_remove: bool) -> Result<(), MinioError> {
        let body = GroupBody { group, members, is_remove, group_status: Status::Enabled };
        let body = to_json("update-group-members", &body)?;
        self.send(Call::new(Method::PUT, "update-group-members").body(body.to_vec())).await.map(|_| ())
    }

    pub async fn put_policy(&self, name: &str, json: &str) -> Result<(), MinioError> {
        let call = Call::new(Method::PUT, "add-canned-policy").query("name", name);
        self.send(call.body(json.as_bytes().to_vec())).await.map(|_| ())
    }

    /// Deletes a policy. It may be gone already. [`MinioError::InUse`]: it is attached to somebody.
    pub async fn remove_policy(&self, name: &str) -> Result<(), MinioError> {
        gone(self.send(Call::new(Method::DELETE, "remove-canned-policy").query("name", name)).await)
    }

    /// Attaches exactly these policies to a user, in one step.
    pub async fn attach_to_user(&self, user: &MinioUser, policies: &[String]) -> Result<(), MinioError> {
        self.attach(user.as_str(), policies, "false").await
    }

    /// Attaches exactly these policies to a group, in one step.
    pub async fn attach_to_group(&self, group: &MinioGroup, policies: &[String]) -> Result<(), MinioError> {
        self.attach(group.as_str(), policies, "true").await
    }

    async fn attach(&self, to: &str, policies: &[String], is_group: &'static str) -> Result<(), MinioError> {
        let call = Call::new(Method::PUT, "set-user-or-group-policy");
        let call = call.query("policyName", &policies.join(",")).query("userOrGroup", to).query("isGroup", is_group);
        self.send(call).await.map(|_| ())
    }

    /// A user's access keys: service accounts.
    pub async fn access_keys(&self, user: &MinioUser) -> Result<Vec<AccessKey>, MinioError> {
        Ok(self.keys(user, "svcacc-only").await?.service_accounts.unwrap_or_default())
    }

    /// The keys of a user's sessions that are not over.
    pub async fn sessions(&self, user: &MinioUser) -> Result<Vec<AccessKey>, MinioError> {
        Ok(self.keys(user, "sts-only").await?.sts_keys.unwrap_or_default())
    }

    async fn keys(&self, user: &MinioUser, kind: &'static str) -> Result<UsersKeys, MinioError> {
        let call = Call::new(Method::GET, "list-access-keys-bulk");
        let call = call.query("listType", kind).query("users", user.as_str());
        let mut of_users: BTreeMap<String, UsersKeys> = self.sealed_json(call).await?;
        Ok(of_users.remove(user.as_str()).unwrap_or_default())
    }

    fn sealed(&self, what: &'static str, body: &impl Serialize) -> Result<Vec<u8>, MinioError> {
        let json = to_json(what, body)?;
        seal::seal(Algorithm::Pbkdf2Aes256Gcm, &self.config.root_password, &json)
            .map_err(|error| MinioError::Unavailable { what: what.into(), reason: error.to_string() })
    }

    pub(super) async fn sealed_json<T: for<'de> Deserialize<'de> + Send + 'static>(
        &self,
        call: Call,
    ) -> Result<T, MinioError> {
        let what = call.what;
        // MinIO seals with argon2id: 64 MiB and tens of milliseconds for each, there and here.
        let _permit = self.sealed.acquire().await;
        let answer = self.send(call).await?;
        let secret = self.config.root_password.clone();
        let opened = tokio::task::spawn_blocking(move || {
            let plaintext = seal::open(&secret, &answer).map_err(|error| error.to_string())?;
            serde_json::from_slice(&plaintext).map_err(|_| "an answer that is no answer".to_owned())
        });
        match opened.await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(reason)) => Err(MinioError::Unavailable { what: what.into(), reason }),
            Err(_) => Err(MinioError::Unavailable { what: what.into(), reason: "unsealing failed".into() }),
        }
    }

    pub(super) async fn json<T: for<'de> Deserialize<'de>>(&self, call: Call) -> Result<T, MinioError> {
        let what = call.what;
        let answer = self.send(call).await?;
        serde_json::from_slice(&answer)
            .map_err(|_| MinioError::Unavailable { what: what.into(), reason: "an answer that is no answer".into() })
    }

    /// Sends a call, again if that is safe and may help, within its limit in all.
    pub(super) async fn send(&self, call: Call) -> Result<Vec<u8>, MinioError> {
        let backoff = ExponentialBuilder::default()
            .with_jitter()
            .with_min_delay(Duration::from_millis(50))
            .with_max_times(call.retries);
        let attempts = (|| self.send_once(&call)).retry(backoff).when(|error| match error {
            MinioError::Unavailable { .. } => true,
            MinioError::NotFound { .. }
            | MinioError::Conflict { .. }
            | MinioError::InUse { .. }
            | MinioError::Denied { .. }
            | MinioError::TooLarge { .. }
            | MinioError::Damaged { .. }
            | MinioError::Refused { .. } => false,
        });
        let _turn = self.turn(call.what).await?;
        let is_write = call.method != Method::GET;
        if is_write {
            fault::point();
        }
        let answer = tokio::time::timeout(call.limit, attempts).await;
        if is_write {
            fault::point();
        }
        let late = || MinioError::Unavailable { what: call.what.into(), reason: "no answer in time".into() };
        answer.unwrap_or_else(|_| Err(late()))
    }

    async fn send_once(&self, call: &Call) -> Result<Vec<u8>, MinioError> {
        let away = |reason: &str| MinioError::Unavailable { what: call.what.into(), reason: reason.into() };
        let url = self.config.url.join(&format!("/minio/admin/v3/{}", call.what)).ok().map(|mut url| {
            if !call.query.is_empty() {
                url.query_pairs_mut().extend_pairs(&call.query);
            }
            url
        });
        // The admin API wants an empty region.
        let request = url.and_then(|url| self.signed(&call.method, url, "", &call.body));
        let request = request.ok_or_else(|| away("the request cannot be signed"))?;
        // A reqwest error can quote the URL, with a user's name in it.
        let mut response = self.http.execute(request).await.map_err(|error| away(&error.without_url().to_string()))?;
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|_| away("the answer breaks off"))? {
            if body.len() + chunk.len() > MAX_ANSWER_BYTES {
                return Err(away("the answer is too large"));
            }
            body.extend_from_slice(&chunk);
        }
        let status = response.status().as_u16();
        if response.status().is_success() {
            return Ok(body);
        }
        let code = serde_json::from_slice::<ErrorBody>(&body).unwrap_or_default().code;
        let what = call.what.to_owned();
        Err(match (status, code.as_str()) {
            // MinIO says why. What does not is something else that answers in its place.
            (_, "") => away(&format!("status {status} without a code")),
            (_, "XMinioIAMPolicyInUse") => MinioError::InUse { what },
            (413, _) | (_, "EntityTooLarge") => MinioError::TooLarge { what },
            (404, _) | (_, "XMinioInvalidIAMCredentials") => MinioError::NotFound { what },
            (403, _) => MinioError::Denied { what, code },
            (409 | 412, _) => MinioError::Conflict { what },
            (400..=499, _) => MinioError::Refused { what, code },
            _ => away(&format!("status {status} {code}")),
        })
    }
}

/// One admin call.
pub(super) struct Call {
    method: Method,
    what: &'static str,
    query: Vec<(&'static str, String)>,
    body: Vec<u8>,
    retries: usize,
    limit: Duration,
}

impl Call {
    /// A call that may be sent again: whether it ran once or twice is the same.
    pub fn new(method: Method, what: &'static str) -> Self {
        Self { method, what, query: Vec::new(), body: Vec::new(), retries: 3, limit: CALL_LIMIT }
    }

    pub fn within(self, limit: Duration) -> Self {
        Self { limit, ..self }
    }

    fn once(self) -> Self {
        Self { retries: 0, ..self }
    }

    pub fn query(mut self, key: &'static str, value: &str) -> Self {
        self.query.push((key, value.to_owned()));
        self
    }

    fn body(self, body: Vec<u8>) -> Self {
        Self { body, ..self }
    }
}

fn found<T>(answer: Result<T, MinioError>) -> Result<Option<T>, MinioError> {
    match answer {
        Ok(found) => Ok(Some(found)),
        Err(MinioError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// What is gone need not be deleted.
fn gone(answer: Result<impl Sized, MinioError>) -> Result<(), MinioError> {
    match answer {
        Ok(_) | Err(MinioError::NotFound { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

fn to_json(what: &'static str, body: &impl Serialize) -> Result<Zeroizing<Vec<u8>>, MinioError> {
    let json = serde_json::to_vec(body);
    json.map(Zeroizing::new).map_err(|_| MinioError::Refused { what: what.into(), code: "InvalidBody".into() })
}
