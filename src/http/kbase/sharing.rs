//! `/sharing/…`: sharing the caller's folders, write unless they say otherwise.

use std::collections::BTreeSet;

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::errors::ErrorResponse;
use crate::{
    broker::{Because, Share, SharedPath, Standing, Unshare, audited},
    http::{
        Problem, Shared,
        body::Body,
        caller::Caller,
        sessions::parse_path,
        sharing::{limit_grantees, require_progress, subject},
    },
    lake::Access,
};

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ShareRequest {
    path: String,
    #[serde(default)]
    with_users: Vec<String>,
    #[serde(default)]
    with_groups: Vec<String>,
    #[serde(default = "write")]
    permission: Access,
}

fn write() -> Access {
    Access::Write
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UnshareRequest {
    path: String,
    #[serde(default)]
    from_users: Vec<String>,
    #[serde(default)]
    from_groups: Vec<String>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PathRequest {
    path: String,
}

#[derive(Serialize, ToSchema)]
pub struct ShareResponse {
    path: String,
    shared_with_users: Vec<String>,
    shared_with_groups: Vec<String>,
    success_count: usize,
    errors: Vec<String>,
    shared_by: String,
    shared_at: String,
}

#[derive(Serialize, ToSchema)]
pub struct UnshareResponse {
    path: String,
    unshared_from_users: Vec<String>,
    unshared_from_groups: Vec<String>,
    success_count: usize,
    /// Also when somebody still reaches the folder or something in it, with the reason.
    errors: Vec<String>,
    unshared_by: String,
    unshared_at: String,
}

#[derive(Serialize, ToSchema)]
pub struct PathAccessResponse {
    path: String,
    users: Vec<String>,
    groups: Vec<String>,
    /// Never: nothing here is everybody's.
    public: bool,
}

/// Shares a folder of the caller's, or of a group that they are a steward of.
#[utoipa::path(post, path = "/sharing/share", request_body = ShareRequest, responses(
    (status = 200, body = ShareResponse), (status = 207, body = ShareResponse, description = "Some failed"),
    (status = "4XX", body = ErrorResponse), (status = "5XX", body = ErrorResponse),
))]
pub async fn share_data(
    State(app): Shared,
    Caller(actor): Caller,
    Body(body): Body<ShareRequest>,
) -> Result<Response, Problem> {
    let path = parse_path(&body.path, app.broker.lake().bucket())?;
    limit_grantees(&body.with_users, &body.with_groups)?;
    let subject = subject(&path, &body.with_users, &body.with_groups);
    let (with_users, with_groups) = (body.with_users, body.with_groups);
    let share = Share { path, with_users, with_groups, access: body.permission, expires_at: None };
    let (broker, by) = (app.broker.clone(), actor.clone());
    let shared = async move { broker.share(&by, &by.username, &share).await };
    let results = Results::new(audited(&actor, "share", subject, shared).await?, "sharing with")?;
    let answer = ShareResponse {
        path: body.path,
        success_count: results.users.len() + results.groups.len(),
        shared_with_users: results.users,
        shared_with_groups: results.groups,
        errors: results.errors,
        shared_by: actor.username.to_string(),
        shared_at: format!("{:.0}", app.clock.now()),
    };
    Ok((status(&answer.errors), Json(answer)).into_response())
}

/// Takes back what was shared on exactly this folder.
#[utoipa::path(post, path = "/sharing/unshare", request_body = UnshareRequest, responses(
    (status = 200, body = UnshareResponse), (status = 207, body = UnshareResponse, description = "Some failed"),
    (status = "4XX", body = ErrorResponse), (status = "5XX", body = ErrorResponse),
))]
pub async fn unshare_data(
    State(app): Shared,
    Caller(actor): Caller,
    Body(body): Body<UnshareRequest>,
) -> Result<Response, Problem> {
    let path = parse_path(&body.path, app.broker.lake().bucket())?;
    limit_grantees(&body.from_users, &body.from_groups)?;
    let subject = subject(&path, &body.from_users, &body.from_groups);
    let unshare = Unshare { path, from_users: body.from_users, from_groups: body.from_groups };
    let (broker, by) = (app.broker.clone(), actor.clone());
    let taken = async move { broker.unshare(&by, &by.username, &unshare).await };
    let results = Results::new(audited(&actor, "unshare", subject, taken).await?, "unsharing from")?;
    let answer = UnshareResponse {
        path: body.path,
        success_count: results.users.len() + results.groups.len(),
        unshared_from_users: results.users,
        unshared_from_groups: results.groups,
        errors: results.errors,
        unshared_by: actor.username.to_string(),
        unshared_at: format!("{:.0}", app.clock.now()),
    };
    Ok((status(&answer.errors), Json(answer)).into_response())
}

/// Who was given a folder, the owner included. For the owner and administrators.
#[utoipa::path(post, path = "/sharing/get_path_access_info", request_body = PathRequest, responses(
    (status = 200, body = PathAccessResponse),
    (status = "4XX", body = ErrorResponse), (status = "5XX", body = ErrorResponse),
))]
pub async fn get_path_access_info(
    State(app): Shared,
    Caller(actor): Caller,
    Body(body): Body<PathRequest>,
) -> Result<Json<PathAccessResponse>, Problem> {
    let report = app.broker.access(&actor, &parse_path(&body.path, app.broker.lake().bucket())?).await?;
    // Members of groups are not among that service's users.
    let by_name = |standing: &Standing| !matches!(standing.because, Because::Member { .. });
    let users = report.users.iter().filter(|(_, standing)| by_name(standing)).map(|(user, _)| user.to_string());
    let groups = report.groups.iter().map(|(group, _)| group.to_string());
    Ok(Json(PathAccessResponse { path: body.path, users: once_each(users), groups: once_each(groups), public: false }))
}

fn once_each(names: impl Iterator<Item = String>) -> Vec<String> {
    names.collect::<BTreeSet<String>>().into_iter().collect()
}

/// 207 says that some failed.
fn status(errors: &[String]) -> StatusCode {
    if errors.is_empty() { StatusCode::OK } else { StatusCode::MULTI_STATUS }
}

/// With whom it was done, and what went wrong.
#[derive(Default)]
struct Results {
    users: Vec<String>,
    groups: Vec<String>,
    errors: Vec<String>,
}

impl Results {
    fn new(shared: SharedPath, doing: &str) -> Result<Self, Problem> {
        require_progress(&shared)?;
        let mut results = Self::default();
        for outcome in shared.outcomes {
            match (outcome.result, outcome.kind) {
                (Err(error), kind) => {
                    let problem = Problem::from(error);
                    results.errors.push(format!("Error {doing} {kind} {}: {}", outcome.grantee, problem.detail()));
                }
                (Ok(()), "user") => results.users.push(outcome.grantee),
                (Ok(()), _) => results.groups.push(outcome.grantee),
            }
        }
        Ok(results)
    }
}
