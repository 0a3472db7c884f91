//! `/workspaces/me…`: what is the caller's, and where.
//!
//! Of several homes or workspaces, the last in the layout is the one for SQL tables.

use std::collections::BTreeSet;

use axum::{Extension, Json, extract::State, http::StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    KbaseApi, Settings,
    errors::ErrorResponse,
    names::{Half, Side},
};
use crate::{
    broker::{Error, UserView},
    http::{
        App, Problem, Shared,
        body::{Name, Params},
        caller::Caller,
        users::urls,
    },
    identity::Identity,
    lake::{GroupName, LakePath},
};

/// Without the policies that this service's own answer has: their names and forms are that service's.
#[derive(Serialize, ToSchema)]
pub struct UserModel {
    username: String,
    access_key: String,
    s3_access_key: String,
    /// Never shown here.
    secret_key: &'static str,
    s3_secret_key: &'static str,
    home_paths: Vec<String>,
    groups: Vec<String>,
    accessible_paths: Vec<String>,
}

#[derive(Serialize, ToSchema)]
pub struct UserGroupsResponse {
    username: String,
    groups: Vec<String>,
    group_count: usize,
}

#[derive(Serialize, ToSchema)]
pub struct UserSqlWarehousePrefixResponse {
    username: String,
    sql_warehouse_prefix: String,
}

#[derive(Serialize, ToSchema)]
pub struct GroupSqlWarehousePrefixResponse {
    group_name: String,
    sql_warehouse_prefix: String,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct TenantParam {
    tenant: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub struct NamespacePrefixResponse {
    username: String,
    user_namespace_prefix: String,
    tenant: Option<String>,
    tenant_namespace_prefix: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub struct UserAccessiblePathsResponse {
    username: String,
    accessible_paths: Vec<String>,
    total_paths: usize,
}

/// The caller, their homes, groups and reach.
#[utoipa::path(get, path = "/workspaces/me", responses(
    (status = 200, body = UserModel), (status = "4XX", body = ErrorResponse), (status = "5XX", body = ErrorResponse),
))]
pub async fn get_my_workspace(
    State(app): Shared,
    Extension(settings): Settings,
    Caller(actor): Caller,
) -> Result<Json<UserModel>, Problem> {
    let view = view(&app, &actor).await?;
    let access_key = view.lake_keys.last().cloned().unwrap_or_default();
    Ok(Json(UserModel {
        username: view.username.to_string(),
        access_key: access_key.clone(),
        s3_access_key: access_key,
        secret_key: "<redacted>",
        s3_secret_key: "<redacted>",
        home_paths: urls(app.broker.lake().bucket(), &view.home),
        groups: groups(&settings, &view),
        accessible_paths: accessible_paths(&app, &view),
    }))
}

/// The caller's groups; one that they only read in by its read-only name.
#[utoipa::path(get, path = "/workspaces/me/groups", responses(
    (status = 200, body = UserGroupsResponse),
    (status = "4XX", body = ErrorResponse), (status = "5XX", body = ErrorResponse),
))]
pub async fn get_my_groups(
    State(app): Shared,
    Extension(settings): Settings,
    Caller(actor): Caller,
) -> Result<Json<UserGroupsResponse>, Problem> {
    let view = view(&app, &actor).await?;
    let groups = groups(&settings, &view);
    Ok(Json(UserGroupsResponse { username: view.username.to_string(), group_count: groups.len(), groups }))
}

/// Where the caller's SQL tables are.
#[utoipa::path(get, path = "/workspaces/me/sql-warehouse-prefix", responses(
    (status = 200, body = UserSqlWarehousePrefixResponse),
    (status = "4XX", body = ErrorResponse), (status = "5XX", body = ErrorResponse),
))]
pub async fn get_my_sql_warehouse_prefix(
    State(app): Shared,
    Caller(actor): Caller,
) -> Result<Json<UserSqlWarehousePrefixResponse>, Problem> {
    let sql_warehouse_prefix = for_sql(&app, &app.broker.lake().home(&actor.username))?;
    Ok(Json(UserSqlWarehousePrefixResponse { username: actor.username.to_string(), sql_warehouse_prefix }))
}

/// Where a group's SQL tables are. For its members.
#[utoipa::path(
    get, path = "/workspaces/me/groups/{group_name}/sql-warehouse-prefix", params(("group_name" = String, Path)),
    responses(
        (status = 200, body = GroupSqlWarehousePrefixResponse),
        (status = "4XX", body = ErrorResponse), (status = "5XX", body = ErrorResponse),
    ),
)]
pub async fn get_group_sql_warehouse_prefix(
    State(app): Shared,
    Extension(settings): Settings,
    Caller(actor): Caller,
    Name(name): Name<String>,
) -> Result<Json<GroupSqlWarehousePrefixResponse>, Problem> {
    let group = member_of(&app, &settings, &actor, &name).await?;
    let sql_warehouse_prefix = for_sql(&app, &app.broker.lake().workspace(&group))?;
    Ok(Json(GroupSqlWarehousePrefixResponse { group_name: group.to_string(), sql_warehouse_prefix }))
}

/// What the names of the caller's databases begin with; those of a group of theirs too, if asked.
#[utoipa::path(get, path = "/workspaces/me/namespace-prefix", params(TenantParam), responses(
    (status = 200, body = NamespacePrefixResponse),
    (status = "4XX", body = ErrorResponse), (status = "5XX", body = ErrorResponse),
))]
pub async fn get_namespace_prefix(
    State(app): Shared,
    Extension(settings): Settings,
    Caller(actor): Caller,
    Params(TenantParam { tenant }): Params<TenantParam>,
) -> Result<Json<NamespacePrefixResponse>, Problem> {
    let group = match &tenant {
        Some(name) => Some(member_of(&app, &settings, &actor, name).await?),
        None => None,
    };
    Ok(Json(NamespacePrefixResponse {
        username: actor.username.to_string(),
        user_namespace_prefix: format!("u_{}__", actor.username),
        tenant,
        // Hive keeps the names of databases in lower case.
        tenant_namespace_prefix: group.map(|group| format!("{}_", group.key())),
    }))
}

/// Every folder that the caller may reach.
#[utoipa::path(get, path = "/workspaces/me/accessible-paths", responses(
    (status = 200, body = UserAccessiblePathsResponse),
    (status = "4XX", body = ErrorResponse), (status = "5XX", body = ErrorResponse),
))]
pub async fn get_my_accessible_paths(
    State(app): Shared,
    Caller(actor): Caller,
) -> Result<Json<UserAccessiblePathsResponse>, Problem> {
    let view = view(&app, &actor).await?;
    let accessible_paths = accessible_paths(&app, &view);
    let total_paths = accessible_paths.len();
    Ok(Json(UserAccessiblePathsResponse { username: view.username.to_string(), accessible_paths, total_paths }))
}

async fn view(app: &App, actor: &Identity) -> Result<UserView, Error> {
    app.broker.ensure_user(&actor.username).await?;
    app.broker.user(actor, &actor.username).await
}

fn groups(settings: &KbaseApi, view: &UserView) -> Vec<String> {
    view.groups.iter().map(|(group, role)| settings.read_only_suffix.name(group, Side::of(*role))).collect()
}

fn accessible_paths(app: &App, view: &UserView) -> Vec<String> {
    let paths: BTreeSet<String> = view.reaches.iter().map(|s| s.path.url(app.broker.lake().bucket())).collect();
    paths.into_iter().collect()
}

fn for_sql(app: &App, folders: &[LakePath]) -> Result<String, Problem> {
    let missing =
        || Problem::new("not-found", StatusCode::NOT_FOUND, "there is no such folder in the layout of this lake");
    Ok(folders.last().ok_or_else(missing)?.url(app.broker.lake().bucket()))
}

/// The group of a name, with or without the read-only suffix. Refuses who is no member, whether there is one or not.
async fn member_of(app: &App, settings: &KbaseApi, actor: &Identity, name: &str) -> Result<GroupName, Problem> {
    let Half { group, .. } = settings.read_only_suffix.parse(name)?;
    match app.broker.group(actor, &group).await {
        Err(error @ Error::NotFound(_)) => Err(Error::Forbidden(error.to_string()).into()),
        view => Ok(view?.group),
    }
}
