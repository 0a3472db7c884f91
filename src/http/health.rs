//! Whether we live, and whether those that we depend on do.

use std::{collections::BTreeMap, time::Duration};

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};

use super::Shared;
use crate::identity::Authenticator;

/// Whether the process lives.
#[utoipa::path(get, path = "/healthz", security(()), responses((status = 200, description = "It does")))]
pub async fn healthz() -> &'static str {
    "ok"
}

/// Whether MinIO and the auth service can be reached.
#[utoipa::path(get, path = "/readyz", security(()), responses(
    (status = 200, description = "Both can be reached", body = BTreeMap<String, String>),
    (status = 503, description = "One of them cannot", body = BTreeMap<String, String>),
))]
pub async fn readyz(State(app): Shared) -> Response {
    let limit = Duration::from_millis(2500);
    let auth = async { app.authenticator.is_ready(app.clock.now()).await.map_err(|_| ()) };
    let minio = async { app.broker.is_ready().await.map_err(|_| ()) };
    let (minio, auth) = tokio::join!(tokio::time::timeout(limit, minio), tokio::time::timeout(limit, auth));
    let word = |answer: &Result<Result<(), ()>, _>| if matches!(answer, Ok(Ok(()))) { "ok" } else { "unavailable" };
    let parts = BTreeMap::from([("minio", word(&minio)), ("auth", word(&auth))]);
    let ready = parts.values().all(|word| *word == "ok");
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let mut response = (status, Json(parts)).into_response();
    if !ready {
        response.headers_mut().insert("retry-after", "2".parse().expect("it is a header value"));
    }
    response
}
