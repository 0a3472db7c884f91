//! The protocols by which AWS's SDKs get keys by themselves.

pub mod container_credentials;
pub mod sts;

use std::time::Duration;

use crate::{broker::SessionRequest, lake::Scope};

use super::{Problem, sessions::ScopeBody};

/// How long keys live that an SDK asks for without saying: long enough that it seldom has to ask.
const DEFAULT_LIFE: Duration = Duration::from_secs(3600);

/// What an SDK asks for. Its life is cut to what the configuration and the token allow.
fn session_request(duration: Option<Duration>, scope: Option<Scope>) -> SessionRequest {
    SessionRequest { duration: Some(duration.unwrap_or(DEFAULT_LIFE)), scope, narrow: None }
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
