//! `/users/{user}/share`, `/users/{user}/unshare` and `/access`

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    Problem, Shared,
    body::{Body, Name, Params},
    caller::Caller,
    sessions::parse_path,
    users::ReachBody,
};
use crate::{
    broker::{self, Share, SharedPath, Standing, Unshare, audited},
    identity::Username,
    lake::{Access, GroupName, LakePath, Owner},
};

/// How many grantees one request may name.
const MAX_GRANTEES: usize = 1000;

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
#[into_params(parameter_in = Query)]
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
    /// Whose records are damaged, so that nobody can say whether they have access: an administrator has to restore them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unreadable: Vec<String>,
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

/// Shares a folder of the user's (or of a group that they are a steward of) with users and groups.
#[utoipa::path(post, path = "/users/{user}/share", params(("user" = String, Path)), request_body = ShareBody, responses(
    (status = 200, body = ResultsBody), (status = 207, body = ResultsBody, description = "Some failed"),
    (status = "4XX", body = Problem), (status = "5XX", body = Problem),
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
    let subject = subject(&share.path, &share.with_users, &share.with_groups);
    let (broker, by) = (app.broker.clone(), actor.clone());
    let shared = async move { broker.share(&by, &user, &share).await };
    let shared = audited(&actor, "share", subject, shared).await?;
    results(app.broker.lake().bucket(), shared)
}

/// Takes back what was shared on exactly this folder, and says what is still open.
#[utoipa::path(post, path = "/users/{user}/unshare", params(("user" = String, Path)), request_body = UnshareBody, responses(
    (status = 200, body = ResultsBody), (status = 207, body = ResultsBody, description = "Some failed"),
    (status = "4XX", body = Problem), (status = "5XX", body = Problem),
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
    let subject = subject(&unshare.path, &unshare.from_users, &unshare.from_groups);
    let (broker, by) = (app.broker.clone(), actor.clone());
    let taken = async move { broker.unshare(&by, &user, &unshare).await };
    let taken = audited(&actor, "unshare", subject, taken).await?;
    results(app.broker.lake().bucket(), taken)
}

/// Who can reach a folder or something in it, and why.
#[utoipa::path(get, path = "/access", params(PathParam), responses(
    (status = 200, body = AccessBody), (status = "4XX", body = Problem), (status = "5XX", body = Problem),
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
        unreadable: report.unreadable.iter().map(ToString::to_string).collect(),
    }))
}

fn require_grantees(users: &[String], groups: &[String], one: &str, other: &str) -> Result<(), Problem> {
    if users.is_empty() && groups.is_empty() {
        return Err(Problem::invalid(format!("name somebody in `{one}` or `{other}`")));
    }
    limit_grantees(users, groups)
}

pub(super) fn limit_grantees(users: &[String], groups: &[String]) -> Result<(), Problem> {
    if users.len() + groups.len() > MAX_GRANTEES {
        return Err(Problem::invalid(format!("name at most {MAX_GRANTEES} in one request")));
    }
    Ok(())
}

/// For the audit log: a path, and with whom.
pub(super) fn subject(path: &LakePath, users: &[String], groups: &[String]) -> String {
    let users: Vec<&str> = users.iter().map(|name| broker::legible::<Username>(name)).collect();
    let groups: Vec<&str> = groups.iter().map(|name| broker::legible::<GroupName>(name)).collect();
    format!("{path} users {users:?} groups {groups:?}")
}

/// An outage that nobody got past is an outage.
pub(super) fn require_progress(shared: &SharedPath) -> Result<(), Problem> {
    let stuck = shared.outcomes.iter().map(|outcome| match &outcome.result {
        Err(error @ broker::Error::Minio(_)) => Some(error.clone()),
        Ok(()) | Err(_) => None,
    });
    match stuck.collect::<Option<Vec<_>>>().and_then(|errors| errors.into_iter().next()) {
        Some(error) => Err(error.into()),
        None => Ok(()),
    }
}

/// 200 when all are done, 207 when some failed.
fn results(bucket: &str, shared: SharedPath) -> Result<Response, Problem> {
    require_progress(&shared)?;
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
