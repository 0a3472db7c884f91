//! `/health`: the ledger stands for that service's database.

use axum::{extract::State, response::Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::{
    Shared,
    health::{minio_is_ready, said},
};

#[derive(Serialize, ToSchema)]
pub struct HealthResponse {
    status: &'static str,
    database: DatabaseHealth,
}

#[derive(Serialize, ToSchema)]
pub struct DatabaseHealth {
    primary: bool,
    /// There is none: the same as `primary`.
    replica: bool,
    replica_enabled: bool,
}

/// Whether the ledger can be reached.
#[utoipa::path(get, path = "/health", security(()), responses(
    (status = 200, body = HealthResponse), (status = 503, body = HealthResponse),
))]
pub async fn health_check(State(app): Shared) -> Response {
    let ready = minio_is_ready(&app).await;
    let status = if ready { "healthy" } else { "unhealthy" };
    let database = DatabaseHealth { primary: ready, replica: ready, replica_enabled: false };
    said(ready, HealthResponse { status, database })
}
