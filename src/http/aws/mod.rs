//! The protocols by which AWS's SDKs get keys by themselves.

pub mod container_credentials;
pub mod sts;

use std::{sync::Arc, time::Duration};

use super::{App, Problem, sessions::ScopeBody};
use crate::{
    broker::{self, CachedSession, SessionRequest},
    identity::Identity,
    lake::Scope,
};

/// How long keys live that an SDK asks for without saying: long enough that it seldom has to ask.
const DEFAULT_LIFE: Duration = Duration::from_secs(3600);

/// What the audit log calls it.
const ACTION: &str = "give session keys";

/// The keys that serve everybody who asks for the same. That there are none is in the audit log; that they were given is
/// for [`record_given`].
async fn shared_session(
    app: &App,
    actor: &Identity,
    request: &SessionRequest,
) -> Result<Arc<CachedSession>, broker::Error> {
    let session = app.broker.shared_session(actor, request).await;
    if let Err(error) = &session {
        broker::record_given(actor, ACTION, Err(error)).await?;
    }
    session
}

async fn record_given(actor: &Identity, session: &CachedSession) -> Result<(), broker::Error> {
    broker::record_given(actor, ACTION, Ok(&session.issued.keys.access_key_id)).await
}

/// What an SDK asks for.
fn session_request(app: &App, duration: Option<Duration>, scope: Option<Scope>) -> SessionRequest {
    let by_default = DEFAULT_LIFE.min(app.broker.longest_session());
    SessionRequest { duration: Some(duration.unwrap_or(by_default)), scope, narrow: None }
}

/// Reads a scope from a query: `granted`, `lake`, or the list that `POST /sessions` takes.
fn parse_scope(text: &str, bucket: &str) -> Result<Scope, Problem> {
    let body = match text {
        "granted" => return Ok(Scope::Granted),
        "lake" => return Ok(Scope::Lake),
        list => serde_json::from_str::<ScopeBody>(list),
    };
    let hint = "`scope` is `granted`, `lake` or a JSON list of {\"path\", \"access\"}";
    body.map_err(|_| Problem::invalid(hint))?.parse(bucket)
}
