//! `/management/groups…`: who is in a group. Membership of `g` is writing in it, membership of its read-only name is
//! reading: one role here.

use axum::{
    Extension, Json,
    extract::{Path, State, rejection::PathRejection},
    http::StatusCode,
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    KbaseApi, Settings,
    errors::ErrorResponse,
    names::{Half, Side},
};
use crate::{
    broker::{Error, GroupChange, Member, audited},
    http::{App, Problem, Shared, caller::Caller},
    identity::{Identity, Username},
};

#[derive(Serialize, ToSchema)]
pub struct GroupManagementResponse {
    group_name: String,
    /// In that service's answer to the making of a group alone.
    ro_group_name: Option<String>,
    members: Vec<String>,
    member_count: usize,
    operation: &'static str,
    performed_by: String,
    timestamp: String,
}

#[derive(Serialize, ToSchema)]
pub struct GroupNamesResponse {
    group_names: Vec<String>,
    total_count: usize,
}

enum Operation {
    Add,
    Remove,
}

type Named = Result<Path<(String, String)>, PathRejection>;

/// Makes somebody a writer of a group, or a reader by its read-only name. Nobody becomes less by it.
#[utoipa::path(
    post, path = "/management/groups/{group_name}/members/{username}",
    params(("group_name" = String, Path), ("username" = String, Path)), responses(
        (status = 200, body = GroupManagementResponse),
        (status = "4XX", body = ErrorResponse), (status = "5XX", body = ErrorResponse),
    ),
)]
pub async fn add_group_member(
    State(app): Shared,
    Extension(settings): Settings,
    Caller(actor): Caller,
    named: Named,
) -> Result<Json<GroupManagementResponse>, Problem> {
    change(&app, &settings, &actor, named, Operation::Add).await
}

/// Takes a writer out of a group, or a reader by its read-only name.
#[utoipa::path(
    delete, path = "/management/groups/{group_name}/members/{username}",
    params(("group_name" = String, Path), ("username" = String, Path)), responses(
        (status = 200, body = GroupManagementResponse),
        (status = "4XX", body = ErrorResponse), (status = "5XX", body = ErrorResponse),
    ),
)]
pub async fn remove_group_member(
    State(app): Shared,
    Extension(settings): Settings,
    Caller(actor): Caller,
    named: Named,
) -> Result<Json<GroupManagementResponse>, Problem> {
    change(&app, &settings, &actor, named, Operation::Remove).await
}

/// The names of all groups, and their read-only names. For everybody.
#[utoipa::path(get, path = "/management/groups/names", responses(
    (status = 200, body = GroupNamesResponse),
    (status = "4XX", body = ErrorResponse), (status = "5XX", body = ErrorResponse),
))]
pub async fn list_group_names(
    State(app): Shared,
    Extension(settings): Settings,
    _caller: Caller,
) -> Result<Json<GroupNamesResponse>, Problem> {
    let groups = app.broker.group_names().await?;
    let both = |group| [Side::Writers, Side::Readers].map(|side| settings.read_only_suffix.name(group, side));
    let group_names: Vec<String> = groups.iter().flat_map(both).collect();
    Ok(Json(GroupNamesResponse { total_count: group_names.len(), group_names }))
}

async fn change(
    app: &App,
    settings: &KbaseApi,
    actor: &Identity,
    named: Named,
    operation: Operation,
) -> Result<Json<GroupManagementResponse>, Problem> {
    let Path((name, user)) = named.map_err(|_| Problem::invalid("the names in the address cannot be read"))?;
    let Half { group, side } = settings.read_only_suffix.parse(&name)?;
    let user: Username = user.parse().map_err(|error| Problem::invalid(format!("{error}")))?;
    let role = match app.broker.group(actor, &group).await {
        Err(error @ Error::NotFound(_)) if !actor.admin => return Err(Error::Forbidden(error.to_string()).into()),
        view => view?.members.get(&user).copied(),
    };
    let mut change = GroupChange::default();
    let operation = match operation {
        Operation::Add => {
            // Who has that role or a higher one keeps it.
            if role.is_none_or(|role| role < side.role()) {
                change.add_members.push(Member { username: user, role: side.role() });
            }
            "add_member"
        }
        Operation::Remove => {
            if role.is_some_and(|role| Side::of(role) == side) {
                change.remove_members.push(user);
            }
            "remove_member"
        }
    };
    let (broker, by, subject) = (app.broker.clone(), actor.clone(), group.to_string());
    let changed = async move { broker.change_group(&by, &group, &change).await };
    let view = audited(actor, "change group", subject, changed).await.map_err(|error| match error {
        // The group was there just now.
        Error::NotFound(detail) => Problem::new("no-such-user", StatusCode::BAD_REQUEST, detail),
        error => error.into(),
    })?;
    let members = view.members.iter().filter(|(_, role)| Side::of(**role) == side);
    let members: Vec<String> = members.map(|(user, _)| user.to_string()).collect();
    Ok(Json(GroupManagementResponse {
        group_name: name,
        ro_group_name: None,
        member_count: members.len(),
        members,
        operation,
        performed_by: actor.username.to_string(),
        timestamp: format!("{:.0}", app.clock.now()),
    }))
}
