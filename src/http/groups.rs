//! `/groups` and `/admin/groups`

use axum::{Json, extract::State, http::StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Problem, Shared,
    admin::{DeleteParams, PageParams},
    body::{Body, Name, Params},
    caller::Caller,
    sessions::parse_path,
    users::{GrantBody, urls},
};
use crate::{
    broker::{GroupChange, GroupView, Member, audited},
    identity::Username,
    lake::{Access, GroupName, Role},
};

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GroupChangeBody {
    #[serde(default)]
    add_members: Vec<MemberBody>,
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    remove_members: Vec<MemberRef>,
    #[serde(default)]
    add_paths: Vec<PathBody>,
    #[serde(default)]
    remove_paths: Vec<PathRef>,
}

#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct MemberBody {
    #[schema(value_type = String)]
    username: Username,
    role: Role,
}

/// A username, or an object with one.
#[derive(Deserialize)]
#[serde(untagged)]
enum MemberRef {
    Name(Username),
    Object { username: Username },
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PathBody {
    path: String,
    #[serde(default)]
    access: Access,
}

/// A path, or an object with one.
#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
enum PathRef {
    Path(String),
    Object { path: String },
}

#[derive(Serialize, ToSchema)]
pub struct GroupBody {
    group: String,
    members: Vec<MemberBody>,
    workspace: Vec<String>,
    shared: Vec<GrantBody>,
}

#[derive(Serialize, ToSchema)]
pub struct GroupPageBody {
    /// In lower case, as they are filed.
    groups: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// Who is in the group, and what it has. For members.
#[utoipa::path(get, path = "/groups/{group}", params(("group" = String, Path)), responses(
    (status = 200, body = GroupBody), (status = "4XX", body = Problem), (status = "5XX", body = Problem),
))]
pub async fn show(
    State(app): Shared,
    Caller(actor): Caller,
    Name(group): Name<GroupName>,
) -> Result<Json<GroupBody>, Problem> {
    let view = app.broker.group(&actor, &group).await?;
    Ok(Json(GroupBody::new(app.broker.lake().bucket(), view)))
}

/// Makes a group (administrators) or changes it (its stewards as well).
#[utoipa::path(post, path = "/groups/{group}", params(("group" = String, Path)), request_body = Option<GroupChangeBody>, responses(
    (status = 200, body = GroupBody), (status = "4XX", body = Problem), (status = "5XX", body = Problem),
))]
pub async fn change(
    State(app): Shared,
    Caller(actor): Caller,
    Name(group): Name<GroupName>,
    Body(body): Body<GroupChangeBody>,
) -> Result<Json<GroupBody>, Problem> {
    let bucket = app.broker.lake().bucket();
    let member = |member: MemberBody| Member { username: member.username, role: member.role };
    let leaver = |member| match member {
        MemberRef::Name(username) | MemberRef::Object { username } => username,
    };
    let path = |path| match path {
        PathRef::Path(path) | PathRef::Object { path } => parse_path(&path, bucket),
    };
    let add_paths = body.add_paths.iter().map(|given| Ok((parse_path(&given.path, bucket)?, given.access)));
    let change = GroupChange {
        add_members: body.add_members.into_iter().map(member).collect(),
        remove_members: body.remove_members.into_iter().map(leaver).collect(),
        add_paths: add_paths.collect::<Result<_, Problem>>()?,
        remove_paths: body.remove_paths.into_iter().map(path).collect::<Result<_, _>>()?,
    };
    let (broker, by, subject) = (app.broker.clone(), actor.clone(), group.to_string());
    let changed = async move { broker.change_group(&by, &group, &change).await };
    let view = audited(&actor, "change group", subject, changed).await?;
    Ok(Json(GroupBody::new(bucket, view)))
}

/// The groups, page by page.
#[utoipa::path(get, path = "/admin/groups", params(PageParams), responses(
    (status = 200, body = GroupPageBody), (status = "4XX", body = Problem), (status = "5XX", body = Problem),
))]
pub async fn list(
    State(app): Shared,
    Caller(actor): Caller,
    Params(params): Params<PageParams>,
) -> Result<Json<GroupPageBody>, Problem> {
    let page = app.broker.groups(&actor, params.cursor(), params.limit()?).await?;
    Ok(Json(GroupPageBody { groups: page.names, next: page.next }))
}

/// Deletes a group. The data in its workspace stays, unless it is to be purged.
#[utoipa::path(delete, path = "/admin/groups/{group}", params(("group" = String, Path), DeleteParams), responses(
    (status = 204), (status = "4XX", body = Problem), (status = "5XX", body = Problem),
))]
pub async fn delete(
    State(app): Shared,
    Caller(actor): Caller,
    Name(group): Name<GroupName>,
    Params(params): Params<DeleteParams>,
) -> Result<StatusCode, Problem> {
    let (broker, by, subject) = (app.broker.clone(), actor.clone(), group.to_string());
    let deleted = async move { broker.delete_group(&by, &group, params.data()).await };
    audited(&actor, "delete group", subject, deleted).await?;
    Ok(StatusCode::NO_CONTENT)
}

impl GroupBody {
    fn new(bucket: &str, view: GroupView) -> Self {
        let member = |(username, role)| MemberBody { username, role };
        Self {
            group: view.group.to_string(),
            members: view.members.into_iter().map(member).collect(),
            workspace: urls(bucket, &view.workspace),
            shared: view.shared.iter().map(|(path, grant)| GrantBody::new(bucket, path, grant)).collect(),
        }
    }
}
