//! `/sessions`

use std::time::Duration;

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use zeroize::Zeroizing;

use super::{
    Problem, Shared,
    body::Body,
    caller::Caller,
    spark::{self, SparkSettings},
};
use crate::{
    broker::{Revoke, SessionRequest, audited},
    lake::{Access, LakePath, Scope},
};

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SessionBody {
    /// 900 to the configured maximum. Never past the token's own end.
    duration_seconds: Option<u64>,
    scope: Option<ScopeBody>,
}

/// What the session is for: all that is granted now, the whole lake (your live rights decide), or these folders.
#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
pub enum ScopeBody {
    Named(NamedScope),
    Listed(Vec<ScopePath>),
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum NamedScope {
    Granted,
    Lake,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ScopePath {
    path: String,
    #[serde(default)]
    access: Access,
}

#[derive(Serialize, ToSchema)]
pub struct SessionKeysBody {
    access_key_id: String,
    #[schema(value_type = String)]
    secret_access_key: Zeroizing<String>,
    #[schema(value_type = String)]
    session_token: Zeroizing<String>,
    /// RFC 3339
    expiration: String,
    username: String,
    session_policy: SessionPolicyBody,
    /// Settings for Spark, ready to paste.
    #[schema(value_type = BTreeMap<String, String>)]
    spark: SparkSettings,
}

#[derive(Serialize, ToSchema)]
struct SessionPolicyBody {
    /// `false`: the ceiling was widened to fit; what you may do is what it was.
    exact: bool,
    bytes: usize,
}

#[derive(Serialize, ToSchema)]
pub struct SessionList {
    sessions: Vec<SessionLine>,
}

#[derive(Serialize, ToSchema)]
struct SessionLine {
    access_key_id: String,
    expiration: Option<String>,
}

/// Issues session keys for the token's user.
#[utoipa::path(post, path = "/sessions", request_body = Option<SessionBody>, responses(
    (status = 200, body = SessionKeysBody), (status = "4XX", body = Problem), (status = "5XX", body = Problem),
))]
pub async fn issue(
    State(app): Shared,
    Caller(actor): Caller,
    Body(body): Body<SessionBody>,
) -> Result<Response, Problem> {
    let bucket = app.broker.lake().bucket();
    let scope = body.scope.map(|scope| scope.parse(bucket)).transpose()?;
    let request = SessionRequest { duration: body.duration_seconds.map(Duration::from_secs), scope, narrow: None };
    let (broker, by) = (app.broker.clone(), actor.clone());
    let issued = async move { broker.issue_session(&by, &request).await };
    let issued = audited(&actor, "issue session", actor.username.to_string(), issued).await?;
    let keys = &issued.keys;
    let home = app.broker.lake().home(&actor.username).first().map(|path| path.url(bucket));
    let body = SessionKeysBody {
        access_key_id: keys.access_key_id.clone(),
        secret_access_key: keys.secret_access_key.expose_secret().to_owned().into(),
        session_token: keys.session_token.expose_secret().to_owned().into(),
        expiration: keys.expires_at.to_string(),
        username: actor.username.to_string(),
        session_policy: SessionPolicyBody { exact: issued.policy.exact, bytes: issued.policy.bytes },
        spark: spark::with_session_keys(&app.s3_endpoint, home.as_ref(), keys),
    };
    Ok(Json(body).into_response())
}

/// The sessions of the token's user that are not over.
#[utoipa::path(get, path = "/sessions", responses(
    (status = 200, body = SessionList), (status = "4XX", body = Problem), (status = "5XX", body = Problem),
))]
pub async fn list(State(app): Shared, Caller(actor): Caller) -> Result<Json<SessionList>, Problem> {
    let sessions = app.broker.sessions(&actor.username).await?.into_iter().map(|key| SessionLine {
        access_key_id: key.access_key,
        expiration: key.expiration.map(|end| end.to_string()),
    });
    Ok(Json(SessionList { sessions: sessions.collect() }))
}

/// Ends all sessions of the token's user at once. Lake keys stay.
#[utoipa::path(delete, path = "/sessions", responses(
    (status = 204), (status = "4XX", body = Problem), (status = "5XX", body = Problem),
))]
pub async fn revoke(State(app): Shared, Caller(actor): Caller) -> Result<StatusCode, Problem> {
    let (broker, by) = (app.broker.clone(), actor.clone());
    let revoked = async move { broker.revoke(&by, &by.username, Revoke::Sessions).await };
    audited(&actor, "revoke sessions", actor.username.to_string(), revoked).await?;
    Ok(StatusCode::NO_CONTENT)
}

impl ScopeBody {
    pub(super) fn parse(self, bucket: &str) -> Result<Scope, Problem> {
        let listed = match self {
            Self::Named(NamedScope::Granted) => return Ok(Scope::Granted),
            Self::Named(NamedScope::Lake) => return Ok(Scope::Lake),
            Self::Listed(listed) => listed,
        };
        if listed.is_empty() {
            return Err(Problem::invalid("a listed scope names at least one folder"));
        }
        let parse = |listed: ScopePath| Ok((parse_path(&listed.path, bucket)?, listed.access));
        listed.into_iter().map(parse).collect::<Result<_, _>>().map(Scope::Listed)
    }
}

pub(super) fn parse_path(text: &str, bucket: &str) -> Result<LakePath, Problem> {
    LakePath::parse(text, bucket).map_err(|error| Problem::invalid(error.to_string()))
}
