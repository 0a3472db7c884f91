//! What the clients of KBase's earlier service call (BERDataLakehouse/minio_manager_service), with its paths, fields and
//! errors. Translates to the broker's use cases, and decides nothing; nothing else knows of it.

mod credentials;
mod errors;
mod health;
mod management;
mod names;
mod sharing;
mod workspaces;

use std::{sync::Arc, time::Duration};

use axum::Extension;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::App;

pub(super) use self::errors::respell;
pub use self::names::ReadOnlySuffix;

/// How this API is served.
#[derive(Debug)]
pub struct KbaseApi {
    /// How long the key before lives on after a rotation.
    pub key_overlap: Duration,
    pub read_only_suffix: ReadOnlySuffix,
}

type Settings = Extension<Arc<KbaseApi>>;

/// Without their errors' spelling, [`respell`]: that comes around everything else that answers for them.
pub(super) fn routes(settings: Arc<KbaseApi>) -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .routes(routes!(credentials::get_credentials))
        .routes(routes!(credentials::rotate_credentials))
        .routes(routes!(workspaces::get_my_workspace))
        .routes(routes!(workspaces::get_my_groups))
        .routes(routes!(workspaces::get_my_sql_warehouse_prefix))
        .routes(routes!(workspaces::get_group_sql_warehouse_prefix))
        .routes(routes!(workspaces::get_namespace_prefix))
        .routes(routes!(workspaces::get_my_accessible_paths))
        .routes(routes!(sharing::share_data))
        .routes(routes!(sharing::unshare_data))
        .routes(routes!(sharing::get_path_access_info))
        .routes(routes!(management::add_group_member, management::remove_group_member))
        .routes(routes!(management::list_group_names))
        .routes(routes!(health::health_check))
        .layer(Extension(settings))
}
