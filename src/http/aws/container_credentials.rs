//! `GET /aws/container-credentials`: AWS's container credentials protocol, by which every SDK refreshes its keys.
//!
//! Reference: AWS SDKs and Tools Reference Guide, "Container credential provider".

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use zeroize::Zeroizing;

use super::{parse_scope, record_given, session_request, shared_session};
use crate::{
    broker::{CachedSession, SessionRequest},
    http::{App, Problem, Shared, body::Params, caller::Poller, under_way::soon},
    identity::Identity,
};

/// The longest that a request may wait for news.
const MAX_WAIT: Duration = Duration::from_secs(60);

/// How often who waits is looked at, without news that came before.
const LOOK_EVERY: Duration = Duration::from_secs(1);

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct ContainerParams {
    /// `granted`, `lake`, or the JSON list that `POST /sessions` takes.
    scope: Option<String>,
    /// 900 to the configured maximum; an hour by default. Never past the token's own end.
    duration_seconds: Option<u64>,
    /// With `If-None-Match`: how many seconds, at most 60, to wait for other keys before a 304 is given.
    wait: Option<u64>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub struct ContainerCredentials {
    access_key_id: String,
    #[schema(value_type = String)]
    secret_access_key: Zeroizing<String>,
    #[schema(value_type = String)]
    token: Zeroizing<String>,
    /// RFC 3339
    expiration: String,
}

/// An error as AWS's SDKs print it.
#[derive(Serialize, ToSchema)]
pub struct ContainerError {
    code: String,
    message: String,
}

/// Session keys for the token's user: the same ones until half of their life is over, or the user's rights change.
#[utoipa::path(get, path = "/aws/container-credentials", params(ContainerParams,
    ("If-None-Match" = Option<String>, Header, description = "The `ETag` of the keys that you have"),
), responses(
    (status = 200, body = ContainerCredentials), (status = 304, description = "The keys that you have are still the ones"),
    (status = "4XX", body = ContainerError), (status = "5XX", body = ContainerError),
))]
pub async fn container_credentials(
    State(app): Shared,
    caller: Result<Poller, Problem>,
    params: Result<Params<ContainerParams>, Problem>,
    headers: HeaderMap,
) -> Response {
    let answer = async {
        let (Poller(actor), Params(params)) = (caller?, params?);
        let scope = params.scope.map(|scope| parse_scope(&scope, app.broker.lake().bucket())).transpose()?;
        let request = session_request(&app, params.duration_seconds.map(Duration::from_secs), scope);
        let wait = Duration::from_secs(params.wait.unwrap_or(0));
        if wait > MAX_WAIT {
            return Err(Problem::invalid(format!("`wait` is at most {} seconds", MAX_WAIT.as_secs())));
        }
        let known = headers.get(header::IF_NONE_MATCH).and_then(|tag| tag.to_str().ok());
        other_keys(&app, &actor, &request, known, wait).await
    };
    match answer.await {
        Ok(session) => session,
        Err(problem) => {
            let body = ContainerError { code: problem.code(), message: problem.detail().to_owned() };
            problem.answered_with(Json(body))
        }
    }
}

/// The keys, as soon as they are not those that the caller knows; or that there are no others yet.
async fn other_keys(
    app: &Arc<App>,
    actor: &Identity,
    request: &SessionRequest,
    known: Option<&str>,
    wait: Duration,
) -> Result<Response, Problem> {
    let deadline = tokio::time::Instant::now() + wait;
    loop {
        let news = app.broker.news();
        let (step, by, request) = (app.clone(), actor.clone(), request.clone());
        let step = async move { shared_session(&step, &by, &request).await.map_err(Problem::from) };
        let session = soon(app.answer_limit, Box::pin(step)).await?;
        let tag = etag(&session);
        if known != Some(tag.as_str()) {
            record_given(actor, &session).await?;
            return Ok(with_etag(&tag, Json(ContainerCredentials::new(&session)).into_response()));
        }
        let now = tokio::time::Instant::now();
        if now >= deadline {
            return Ok(with_etag(&tag, StatusCode::NOT_MODIFIED.into_response()));
        }
        tokio::time::timeout_at(deadline.min(now + LOOK_EVERY), news).await.ok();
    }
}

/// Access key ids are never used twice, and no secret.
fn etag(session: &CachedSession) -> String {
    format!("\"{}\"", session.issued.keys.access_key_id)
}

fn with_etag(tag: &str, mut response: Response) -> Response {
    if let Ok(tag) = HeaderValue::from_str(tag) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}

impl ContainerCredentials {
    fn new(session: &CachedSession) -> Self {
        let keys = &session.issued.keys;
        Self {
            access_key_id: keys.access_key_id.clone(),
            secret_access_key: keys.secret_access_key.expose_secret().to_owned().into(),
            token: keys.session_token.expose_secret().to_owned().into(),
            expiration: keys.expires_at.to_string(),
        }
    }
}
