//! `/users`, `/access` and `/admin/users`

use std::collections::BTreeMap;

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use jiff::Timestamp;
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    Problem, Shared,
    body::{Body, Name, Params},
    caller::Caller,
    no_store,
    sessions::{parse_path, spark_settings},
};
use crate::{
    broker::{self, Because, Data, Revoke, Share, SharedPath, Standing, Unshare, audited, require_admin, require_self},
    identity::Username,
    lake::{Access, Grant, LakePath, Owner, Principal, Role},
    minio::{Status, ledger::AccountState},
};

#[derive(Serialize, ToSchema)]
pub struct LakeKeyBody {
    username: String,
    access_key: String,
    /// In this answer only.
    secret_key: String,
    home: Vec<String>,
    groups: Vec<String>,
    spark: BTreeMap<String, String>,
}

#[derive(Serialize, ToSchema)]
pub struct UserBody {
    username: String,
    disabled: bool,
    home: Vec<String>,
    groups: Vec<MembershipBody>,
    /// Everything that the user may reach, and why.
    access: Vec<ReachBody>,
    grants_received: Vec<GrantBody>,
    grants_given: Vec<GivenBody>,
    #[schema(value_type = Vec<Object>)]
    policies: Vec<crate::policy::PolicyDocument>,
    lake_keys: Vec<String>,
}

#[derive(Serialize, ToSchema)]
struct MembershipBody {
    group: String,
    role: Role,
}

#[derive(Serialize, ToSchema)]
struct ReachBody {
    path: String,
    access: Access,
    because: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct GrantBody {
    path: String,
    access: Access,
    given_by: String,
    given_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
}

#[derive(Serialize, ToSchema)]
struct GivenBody {
    grantee: String,
    kind: &'static str,
    #[serde(flatten)]
    grant: GrantBody,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ShareBody {
    path: String,
    #[serde(default)]
    with_users: Vec<String>,
    #[serde(default)]
    with_groups: Vec<String>,
    #[serde(default)]
    access: Access,
    /// RFC 3339. Without it, the share has no end.
    #[schema(value_type = Option<String>)]
    expires_at: Option<Timestamp>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UnshareBody {
    path: String,
    #[serde(default)]
    from_users: Vec<String>,
    #[serde(default)]
    from_groups: Vec<String>,
}

#[derive(Serialize, ToSchema)]
pub struct ResultsBody {
    path: String,
    results: Vec<ResultBody>,
}

#[derive(Serialize, ToSchema)]
struct ResultBody {
    grantee: String,
    kind: &'static str,
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct PathParam {
    path: String,
}

#[derive(Serialize, ToSchema)]
pub struct AccessBody {
    path: String,
    owner: OwnerBody,
    users: Vec<AccessLine>,
    groups: Vec<AccessLine>,
}

#[derive(Serialize, ToSchema)]
struct OwnerBody {
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
}

#[derive(Serialize, ToSchema)]
struct AccessLine {
    name: String,
    #[serde(flatten)]
    reach: ReachBody,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct PageParams {
    /// Where the page begins: the `next` of the one before.
    cursor: Option<String>,
    /// 1 to 1000; 100 by default.
    limit: Option<usize>,
}

#[derive(Serialize, ToSchema)]
pub struct UserPageBody {
    users: Vec<UserLine>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

#[derive(Serialize, ToSchema)]
struct UserLine {
    username: String,
    /// `enabled`, `disabled`, or `missing`: MinIO has no such user now.
    status: &'static str,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct DeleteParams {
    /// Deletes the data as well.
    #[serde(default)]
    purge: bool,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct RevokeParams {
    /// Revokes lake keys as well.
    #[serde(default)]
    lake_keys: bool,
}

/// Creates what is missing of the user, and issues their lake key. An earlier one stops working.
#[utoipa::path(post, path = "/users/{user}", params(("user" = String, Path)), responses(
    (status = 200, body = LakeKeyBody), (status = "4XX", body = Problem), (status = 503, body = Problem),
))]
pub async fn issue(State(app): Shared, Caller(actor): Caller, Name(user): Name<Username>) -> Result<Response, Problem> {
    let issue = async {
        require_self(&actor, &user)?;
        app.broker.issue_lake_key(&user).await
    };
    let key = audited(&actor, "issue lake key", user.as_str(), issue).await?;
    let view = app.broker.user(&user).await?;
    let home = urls(app.broker.lake().bucket(), &view.home);
    let mut spark = spark_settings(&app.s3_endpoint, home.first().cloned());
    let secret = key.secret_key.expose_secret();
    let provider = "org.apache.hadoop.fs.s3a.SimpleAWSCredentialsProvider";
    let keys = [("aws.credentials.provider", provider), ("access.key", &key.access_key), ("secret.key", secret)];
    spark.extend(keys.map(|(name, value)| (format!("spark.hadoop.fs.s3a.{name}"), value.to_owned())));
    let body = LakeKeyBody {
        username: user.to_string(),
        access_key: key.access_key.clone(),
        secret_key: secret.to_owned(),
        home,
        groups: view.groups.iter().map(|(group, _)| group.to_string()).collect(),
        spark,
    };
    Ok(no_store(Json(body).into_response()))
}

/// What is the user's, and what they share.
#[utoipa::path(get, path = "/users/{user}", params(("user" = String, Path)), responses(
    (status = 200, body = UserBody), (status = "4XX", body = Problem), (status = 503, body = Problem),
))]
pub async fn show(
    State(app): Shared,
    Caller(actor): Caller,
    Name(user): Name<Username>,
) -> Result<Json<UserBody>, Problem> {
    require_self(&actor, &user)?;
    let bucket = app.broker.lake().bucket();
    let view = app.broker.user(&user).await?;
    let given = view.given.into_iter().map(|given| {
        let (kind, grantee) = match given.grantee {
            Principal::User(user) => ("user", user.to_string()),
            Principal::Group(group) => ("group", group.to_string()),
        };
        GivenBody { grantee, kind, grant: GrantBody::new(bucket, &given.path, &given.grant) }
    });
    let membership = |(group, role): (crate::lake::GroupName, Role)| MembershipBody { group: group.to_string(), role };
    Ok(Json(UserBody {
        username: view.username.to_string(),
        disabled: view.state != AccountState::Enabled,
        home: urls(bucket, &view.home),
        groups: view.groups.into_iter().map(membership).collect(),
        access: view.reaches.iter().map(|standing| ReachBody::new(bucket, standing)).collect(),
        grants_received: view.received.iter().map(|(path, grant)| GrantBody::new(bucket, path, grant)).collect(),
        grants_given: given.collect(),
        policies: view.policies,
        lake_keys: view.lake_keys,
    }))
}

/// Shares a folder of the user's (or of a group that they are a steward of) with users and groups.
#[utoipa::path(post, path = "/users/{user}/share", params(("user" = String, Path)), request_body = ShareBody, responses(
    (status = 200, body = ResultsBody), (status = 207, body = ResultsBody, description = "Some failed"),
    (status = "4XX", body = Problem), (status = 503, body = Problem),
))]
pub async fn share(
    State(app): Shared,
    Caller(actor): Caller,
    Name(user): Name<Username>,
    Body(body): Body<ShareBody>,
) -> Result<Response, Problem> {
    let path = parse_path(&body.path, app.broker.lake().bucket())?;
    require_grantees(&body.with_users, &body.with_groups, "with_users", "with_groups")?;
    let (with_users, with_groups) = (body.with_users, body.with_groups);
    let share = Share { path, with_users, with_groups, access: body.access, expires_at: body.expires_at };
    let shared = audited(&actor, "share", share.path.as_str(), app.broker.share(&actor, &user, &share)).await?;
    results(app.broker.lake().bucket(), shared)
}

/// Takes back what was shared on exactly this folder, and says what is still open.
#[utoipa::path(post, path = "/users/{user}/unshare", params(("user" = String, Path)), request_body = UnshareBody, responses(
    (status = 200, body = ResultsBody), (status = 207, body = ResultsBody, description = "Some failed"),
    (status = "4XX", body = Problem), (status = 503, body = Problem),
))]
pub async fn unshare(
    State(app): Shared,
    Caller(actor): Caller,
    Name(user): Name<Username>,
    Body(body): Body<UnshareBody>,
) -> Result<Response, Problem> {
    let path = parse_path(&body.path, app.broker.lake().bucket())?;
    require_grantees(&body.from_users, &body.from_groups, "from_users", "from_groups")?;
    let unshare = Unshare { path, from_users: body.from_users, from_groups: body.from_groups };
    let taken = audited(&actor, "unshare", unshare.path.as_str(), app.broker.unshare(&actor, &user, &unshare)).await?;
    results(app.broker.lake().bucket(), taken)
}

/// Who can reach a folder or something in it, and why.
#[utoipa::path(get, path = "/access", params(PathParam), responses(
    (status = 200, body = AccessBody), (status = "4XX", body = Problem), (status = 503, body = Problem),
))]
pub async fn access(
    State(app): Shared,
    Caller(actor): Caller,
    Params(params): Params<PathParam>,
) -> Result<Json<AccessBody>, Problem> {
    let bucket = app.broker.lake().bucket();
    let path = parse_path(&params.path, bucket)?;
    let report = app.broker.access(&actor, &path).await?;
    let line = |name: String, standing: &Standing| AccessLine { name, reach: ReachBody::new(bucket, standing) };
    let owner = match report.owner {
        Owner::User(user) => OwnerBody { kind: "user", name: Some(user.to_string()) },
        Owner::Group(group) => OwnerBody { kind: "group", name: Some(group.to_string()) },
        Owner::Lake => OwnerBody { kind: "lake", name: None },
    };
    Ok(Json(AccessBody {
        path: report.path.url(bucket),
        owner,
        users: report.users.iter().map(|(user, standing)| line(user.to_string(), standing)).collect(),
        groups: report.groups.iter().map(|(group, standing)| line(group.to_string(), standing)).collect(),
    }))
}

/// The users, page by page.
#[utoipa::path(get, path = "/admin/users", params(PageParams), responses(
    (status = 200, body = UserPageBody), (status = "4XX", body = Problem), (status = 503, body = Problem),
))]
pub async fn list(
    State(app): Shared,
    Caller(actor): Caller,
    Params(params): Params<PageParams>,
) -> Result<Json<UserPageBody>, Problem> {
    require_admin(&actor)?;
    let page = app.broker.users(params.cursor.as_deref(), params.limit()?).await?;
    let line = |user: broker::UserSummary| UserLine {
        username: user.username,
        status: match user.status {
            Some(Status::Enabled) => "enabled",
            Some(Status::Disabled) => "disabled",
            None => "missing",
        },
    };
    Ok(Json(UserPageBody { users: page.users.into_iter().map(line).collect(), next: page.next }))
}

/// Deletes a user. Their data stays, unless it is to be purged.
#[utoipa::path(delete, path = "/admin/users/{user}", params(("user" = String, Path), DeleteParams), responses(
    (status = 204), (status = "4XX", body = Problem), (status = 503, body = Problem),
))]
pub async fn delete(
    State(app): Shared,
    Caller(actor): Caller,
    Name(user): Name<Username>,
    Params(params): Params<DeleteParams>,
) -> Result<StatusCode, Problem> {
    require_admin(&actor)?;
    audited(&actor, "delete user", user.as_str(), app.broker.delete_user(&user, params.data())).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Disables a user: their sessions and lake keys stop working at once, until they are enabled again.
#[utoipa::path(post, path = "/admin/users/{user}/disable", params(("user" = String, Path)), responses(
    (status = 204), (status = "4XX", body = Problem), (status = 503, body = Problem),
))]
pub async fn disable(
    State(app): Shared,
    Caller(actor): Caller,
    Name(user): Name<Username>,
) -> Result<StatusCode, Problem> {
    require_admin(&actor)?;
    audited(&actor, "disable", user.as_str(), app.broker.set_state(&user, AccountState::Disabled)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Enables a user again.
#[utoipa::path(post, path = "/admin/users/{user}/enable", params(("user" = String, Path)), responses(
    (status = 204), (status = "4XX", body = Problem), (status = 503, body = Problem),
))]
pub async fn enable(
    State(app): Shared,
    Caller(actor): Caller,
    Name(user): Name<Username>,
) -> Result<StatusCode, Problem> {
    require_admin(&actor)?;
    audited(&actor, "enable", user.as_str(), app.broker.set_state(&user, AccountState::Enabled)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Ends all sessions of a user at once; lake keys too, if asked.
#[utoipa::path(delete, path = "/admin/users/{user}/sessions", params(("user" = String, Path), RevokeParams), responses(
    (status = 204), (status = "4XX", body = Problem), (status = 503, body = Problem),
))]
pub async fn revoke(
    State(app): Shared,
    Caller(actor): Caller,
    Name(user): Name<Username>,
    Params(params): Params<RevokeParams>,
) -> Result<StatusCode, Problem> {
    require_admin(&actor)?;
    let what = if params.lake_keys { Revoke::SessionsAndLakeKeys } else { Revoke::Sessions };
    audited(&actor, "revoke sessions", user.as_str(), app.broker.revoke(&user, what)).await?;
    Ok(StatusCode::NO_CONTENT)
}

impl PageParams {
    pub(super) fn limit(&self) -> Result<usize, Problem> {
        match self.limit.unwrap_or(100) {
            limit @ 1..=1000 => Ok(limit),
            _ => Err(Problem::invalid("`limit` is 1 to 1000")),
        }
    }

    pub(super) fn cursor(&self) -> Option<&str> {
        self.cursor.as_deref()
    }
}

impl DeleteParams {
    pub(super) fn data(&self) -> Data {
        if self.purge { Data::Purge } else { Data::Keep }
    }
}

impl GrantBody {
    pub(super) fn new(bucket: &str, path: &LakePath, grant: &Grant) -> Self {
        Self {
            path: path.url(bucket),
            access: grant.access,
            given_by: grant.given_by.to_string(),
            given_at: grant.given_at.to_string(),
            expires_at: grant.expires_at.map(|end| end.to_string()),
        }
    }
}

impl ReachBody {
    fn new(bucket: &str, standing: &Standing) -> Self {
        let grant = match &standing.because {
            Because::Own => None,
            Because::Given(grant) => Some(grant),
            Because::Member { given, .. } => given.as_ref(),
        };
        Self {
            path: standing.path.url(bucket),
            access: standing.access,
            because: standing.reason(),
            expires_at: grant.and_then(|grant| grant.expires_at).map(|end| end.to_string()),
        }
    }
}

fn require_grantees(users: &[String], groups: &[String], one: &str, other: &str) -> Result<(), Problem> {
    if users.is_empty() && groups.is_empty() {
        return Err(Problem::invalid(format!("name somebody in `{one}` or `{other}`")));
    }
    Ok(())
}

pub(super) fn urls(bucket: &str, paths: &[LakePath]) -> Vec<String> {
    paths.iter().map(|path| path.url(bucket)).collect()
}

/// 200 when all are done, 207 when some failed. An outage that nobody got past is an outage.
fn results(bucket: &str, shared: SharedPath) -> Result<Response, Problem> {
    let stuck = shared.outcomes.iter().map(|outcome| match &outcome.result {
        Err(error @ broker::Error::Minio(_)) => Some(error.clone()),
        Ok(()) | Err(_) => None,
    });
    if let Some(error) = stuck.collect::<Option<Vec<_>>>().and_then(|errors| errors.into_iter().next()) {
        return Err(error.into());
    }
    let line = |outcome: broker::Outcome| {
        let ok = outcome.result.is_ok();
        let error = outcome.result.err().map(|error| Problem::from(error).detail().to_owned());
        ResultBody { grantee: outcome.grantee, kind: outcome.kind, ok, error }
    };
    let results: Vec<ResultBody> = shared.outcomes.into_iter().map(line).collect();
    let all = results.iter().all(|result| result.ok);
    let status = if all { StatusCode::OK } else { StatusCode::MULTI_STATUS };
    Ok((status, Json(ResultsBody { path: shared.path.url(bucket), results })).into_response())
}
