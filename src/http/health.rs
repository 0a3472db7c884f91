//! Whether we live, and whether those that we depend on do.

use std::{collections::BTreeMap, time::Duration};

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use moka::future::Cache;

use super::{App, Shared};
use crate::identity::Authenticator;

/// How long an answer is remembered: so that whoever asks, however often, costs little.
const REMEMBERED_FOR: Duration = Duration::from_millis(500);

/// What was found out a moment ago. There is one flight for all who ask.
pub struct Readiness(Cache<(), BTreeMap<&'static str, &'static str>>);

impl Default for Readiness {
    fn default() -> Self {
        Self(Cache::builder().max_capacity(1).time_to_live(REMEMBERED_FOR).build())
    }
}

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
    let parts = app.readiness.0.get_with((), find_out(&app)).await;
    let ready = parts.values().all(|word| *word == "ok");
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let mut response = (status, Json(parts)).into_response();
    if !ready {
        response.headers_mut().insert("retry-after", 2.into());
    }
    response
}

async fn find_out(app: &App) -> BTreeMap<&'static str, &'static str> {
    let limit = Duration::from_millis(2500);
    let auth = async { app.authenticator.is_ready(app.clock.now()).await.map_err(|_| ()) };
    let minio = async { app.broker.is_ready().await.map_err(|_| ()) };
    let (minio, auth) = tokio::join!(tokio::time::timeout(limit, minio), tokio::time::timeout(limit, auth));
    let word = |answer: &Result<Result<(), ()>, _>| if matches!(answer, Ok(Ok(()))) { "ok" } else { "unavailable" };
    BTreeMap::from([("minio", word(&minio)), ("auth", word(&auth))])
}
