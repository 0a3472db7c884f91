//! Whether we live, and whether those that we depend on do.

use std::{collections::BTreeMap, time::Duration};

use axum::{
    Json,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use moka::future::Cache;
use serde::Serialize;

use super::{App, Shared};
use crate::identity::Authenticator;

/// How long an answer is remembered: so that whoever asks, however often, costs little.
const REMEMBERED_FOR: Duration = Duration::from_millis(500);

/// Which of those we depend on were there a moment ago. There is one flight for all who ask.
pub struct Readiness(Cache<&'static str, bool>);

impl Default for Readiness {
    fn default() -> Self {
        Self(Cache::builder().max_capacity(2).time_to_live(REMEMBERED_FOR).build())
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
    let (minio, auth) = tokio::join!(minio_is_ready(&app), auth_is_ready(&app));
    let word = |ready| if ready { "ok" } else { "unavailable" };
    said(minio && auth, BTreeMap::from([("minio", word(minio)), ("auth", word(auth))]))
}

/// That all is well, or when to ask again.
pub(super) fn said(ready: bool, body: impl Serialize) -> Response {
    if ready {
        return Json(body).into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "2")], Json(body)).into_response()
}

pub(super) async fn minio_is_ready(app: &App) -> bool {
    app.readiness.0.get_with("minio", in_time(app.broker.is_ready())).await
}

async fn auth_is_ready(app: &App) -> bool {
    app.readiness.0.get_with("auth", in_time(app.authenticator.is_ready(app.clock.now()))).await
}

async fn in_time<E>(answer: impl Future<Output = Result<(), E>>) -> bool {
    matches!(tokio::time::timeout(Duration::from_millis(2500), answer).await, Ok(Ok(())))
}
