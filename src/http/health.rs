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
    let parts = parts(&app).await;
    let ready = parts.values().all(|word| *word == "ok");
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let mut response = (status, Json(parts)).into_response();
    if !ready {
        response.headers_mut().insert("retry-after", 2.into());
    }
    response
}

async fn parts(app: &App) -> BTreeMap<&'static str, &'static str> {
    app.readiness.0.get_with((), find_out(app)).await
}

async fn find_out(app: &App) -> BTreeMap<&'static str, &'static str> {
    let (minio, auth) =
        tokio::join!(in_time(app.broker.is_ready()), in_time(app.authenticator.is_ready(app.clock.now())));
    let word = |ready| if ready { "ok" } else { "unavailable" };
    BTreeMap::from([("minio", word(minio)), ("auth", word(auth))])
}

pub(super) async fn minio_is_ready(app: &App) -> bool {
    parts(app).await.get("minio") == Some(&"ok")
}

async fn in_time<E>(answer: impl Future<Output = Result<(), E>>) -> bool {
    matches!(tokio::time::timeout(Duration::from_millis(2500), answer).await, Ok(Ok(())))
}
