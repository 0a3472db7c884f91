//! `/admin/users`, and what all lists and deletions have in common.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    App, Problem, Shared,
    body::{Name, Params},
    caller::Caller,
};
use crate::{
    broker::{self, Data, Revoke, audited},
    identity::{Identity, Username},
    minio::{Status, ledger::AccountState},
};

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
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
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct DeleteParams {
    /// Deletes the data as well.
    #[serde(default)]
    purge: bool,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct RevokeParams {
    /// Revokes lake keys as well.
    #[serde(default)]
    lake_keys: bool,
}

/// The users, page by page.
#[utoipa::path(get, path = "/admin/users", params(PageParams), responses(
    (status = 200, body = UserPageBody), (status = "4XX", body = Problem), (status = "5XX", body = Problem),
))]
pub async fn list(
    State(app): Shared,
    Caller(actor): Caller,
    Params(params): Params<PageParams>,
) -> Result<Json<UserPageBody>, Problem> {
    let page = app.broker.users(&actor, params.cursor(), params.limit()?).await?;
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
    (status = 204), (status = "4XX", body = Problem), (status = "5XX", body = Problem),
))]
pub async fn delete(
    State(app): Shared,
    Caller(actor): Caller,
    Name(user): Name<Username>,
    Params(params): Params<DeleteParams>,
) -> Result<StatusCode, Problem> {
    let (broker, by, subject) = (app.broker.clone(), actor.clone(), user.to_string());
    let deleted = async move { broker.delete_user(&by, &user, params.data()).await };
    audited(&actor, "delete user", subject, deleted).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Disables a user: their sessions and lake keys stop working at once, until they are enabled again.
#[utoipa::path(post, path = "/admin/users/{user}/disable", params(("user" = String, Path)), responses(
    (status = 204), (status = "4XX", body = Problem), (status = "5XX", body = Problem),
))]
pub async fn disable(
    State(app): Shared,
    Caller(actor): Caller,
    Name(user): Name<Username>,
) -> Result<StatusCode, Problem> {
    set_state(app, actor, "disable", user, AccountState::Disabled).await
}

/// Enables a user again.
#[utoipa::path(post, path = "/admin/users/{user}/enable", params(("user" = String, Path)), responses(
    (status = 204), (status = "4XX", body = Problem), (status = "5XX", body = Problem),
))]
pub async fn enable(
    State(app): Shared,
    Caller(actor): Caller,
    Name(user): Name<Username>,
) -> Result<StatusCode, Problem> {
    set_state(app, actor, "enable", user, AccountState::Enabled).await
}

/// Ends all sessions of a user at once; lake keys too, if asked.
#[utoipa::path(delete, path = "/admin/users/{user}/sessions", params(("user" = String, Path), RevokeParams), responses(
    (status = 204), (status = "4XX", body = Problem), (status = "5XX", body = Problem),
))]
pub async fn revoke(
    State(app): Shared,
    Caller(actor): Caller,
    Name(user): Name<Username>,
    Params(params): Params<RevokeParams>,
) -> Result<StatusCode, Problem> {
    let subject = user.to_string();
    let what = if params.lake_keys { Revoke::SessionsAndLakeKeys } else { Revoke::Sessions };
    let (broker, by) = (app.broker.clone(), actor.clone());
    let revoked = async move { broker.revoke(&by, &user, what).await };
    audited(&actor, "revoke sessions", subject, revoked).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn set_state(
    app: Arc<App>,
    actor: Identity,
    action: &'static str,
    user: Username,
    state: AccountState,
) -> Result<StatusCode, Problem> {
    let (by, subject) = (actor.clone(), user.to_string());
    audited(&actor, action, subject, async move { app.broker.set_state(&by, &user, state).await }).await?;
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
