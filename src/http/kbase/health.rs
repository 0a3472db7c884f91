//! `/health`: the ledger stands for that service's database.

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::{Shared, health::minio_is_ready};

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
    let (code, status) =
        if ready { (StatusCode::OK, "healthy") } else { (StatusCode::SERVICE_UNAVAILABLE, "unhealthy") };
    let database = DatabaseHealth { primary: ready, replica: ready, replica_enabled: false };
    let mut response = (code, Json(HealthResponse { status, database })).into_response();
    if !ready {
        response.headers_mut().insert("retry-after", 2.into());
    }
    response
}
