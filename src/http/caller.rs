//! Who is calling: from the `Authorization` header, and from nowhere else; but for a browser that signs in (`console`).

use std::sync::Arc;

use axum::{
    extract::FromRequestParts,
    http::{StatusCode, header, request::Parts},
};

use super::{App, Problem, source::Source, under_way::UnderWay};
use crate::{
    broker::{Actor, note_caller},
    identity::{AuthError, Authenticator, Identity, Token},
};

/// A caller whose token is good, within the limits for one user. `Authorization` holds the token, with or without `Bearer`
/// before it, and is there once.
pub struct Caller(pub Identity);

/// The same, but for the limits: somebody who polls for what is in memory.
pub struct Poller(pub Identity);

impl FromRequestParts<Arc<App>> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        let Poller(identity) = Poller::from_request_parts(parts, app).await?;
        let place = app.broker.admit(&identity.username).await?;
        if let Some(under_way) = parts.extensions.get::<UnderWay>() {
            under_way.hold(place);
        }
        Ok(Self(identity))
    }
}

impl FromRequestParts<Arc<App>> for Poller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        let Ok(from) = Source::from_request_parts(parts, app).await;
        if parts.uri.query().is_some_and(names_a_token) {
            return Err(Problem::new("token-in-address", StatusCode::BAD_REQUEST, IN_ADDRESS));
        }
        let mut values = parts.headers.get_all(header::AUTHORIZATION).iter();
        let value = match (values.next(), values.next()) {
            (Some(value), None) => value.to_str().unwrap_or_default(),
            (None, _) => return Err(Problem::unauthenticated("send your token in the `Authorization` header")),
            (Some(_), Some(_)) => return Err(Problem::unauthenticated("send one `Authorization` header, not several")),
        };
        let text = match value.split_once(' ') {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => token,
            Some(_) | None => value,
        };
        let token = Token::parse(text).map_err(|error| Problem::unauthenticated(&error.to_string()))?;
        Ok(Self(identify(app, &token, from).await?))
    }
}

const IN_ADDRESS: &str = "a token is in the address, where logs and histories keep it: take it for known to others, get a new one, and send \
     that in the `Authorization` header";

/// As RFC 6750 (2.3) and habit call it.
fn names_a_token(query: &str) -> bool {
    const NAMES: [&str; 4] = ["access_token", "authorization", "id_token", "token"];
    url::form_urlencoded::parse(query.as_bytes()).any(|(name, _)| NAMES.iter().any(|n| name.eq_ignore_ascii_case(n)))
}

/// Whose token it is.
pub(super) async fn identify(app: &App, token: &Token, from: Source) -> Result<Identity, AuthError> {
    let answer = app.authenticator.authenticate_from(token, app.clock.now(), from.0).await;
    match &answer {
        Ok(validated) => note_caller((&validated.identity).into()),
        // As often as a user may ask, and no oftener: anybody may have a token, and could fill the disk.
        Err(AuthError::RolesMissing { user, .. } | AuthError::MfaMissing { user })
            if app.broker.count(user).is_ok() =>
        {
            note_caller(Actor::User { user: user.clone(), admin: false });
        }
        Err(_) => {}
    }
    Ok(answer?.identity)
}
