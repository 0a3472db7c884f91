//! Who is calling: from the `Authorization` header, and from nowhere else; but for a browser that signs in (`console`).

use std::sync::Arc;

use axum::{
    extract::FromRequestParts,
    http::{header, request::Parts},
};

use super::{App, Problem};
use crate::identity::{Authenticator, Identity, Token};

/// A caller whose token is good. `Authorization` holds the token, with or without `Bearer` before it, and is there once.
pub struct Caller(pub Identity);

impl FromRequestParts<Arc<App>> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
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
        identify(app, &token).await.map(Self)
    }
}

/// Whose token it is.
pub(super) async fn identify(app: &App, token: &Token) -> Result<Identity, Problem> {
    Ok(app.authenticator.authenticate(token, app.clock.now()).await?.identity)
}
