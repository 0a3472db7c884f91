//! `POST /console-login`: into the console by one click.

use std::time::Duration;

use axum::{
    extract::{FromRequest, Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use utoipa::ToSchema;

use super::{UI, cookie::Transport, page, provenance::Provenance};
use crate::{
    broker::{SessionRequest, audited},
    http::{
        App, Problem, Shared,
        body::Raw,
        caller::{Caller, identify},
        source::Source,
    },
    identity::{Identity, Token},
    lake::{LakePath, Scope},
};

/// What the page sends. Read by hand: a reader's errors would quote what they read.
#[derive(Debug, Default, ToSchema)]
pub struct LoginForm {
    /// The token, from a page that cannot send it in a header.
    #[schema(value_type = Option<String>, format = Password)]
    token: Option<Token>,
    /// The folder to begin in; one's home by default.
    path: Option<String>,
}

/// Signs in to MinIO's console, and leads the browser into a folder there.
///
/// The token is in the `Authorization` header, or in the form that a page of our own sends.
#[utoipa::path(post, path = "/console-login", security((), ("token" = [])),
    request_body(content = Option<LoginForm>, content_type = "application/x-www-form-urlencoded"), responses(
    (status = 303, description = "Into the console, with its cookie"), (status = "4XX", body = Problem), (status = "5XX", body = Problem),
))]
pub async fn login(
    State(app): Shared,
    from: Source,
    headers: HeaderMap,
    caller: Result<Caller, Problem>,
    form: Result<LoginForm, Problem>,
) -> Response {
    let by_page = !headers.contains_key(header::AUTHORIZATION);
    let entered = async {
        app.console()?;
        refuse_foreign(&headers, by_page)?;
        let form = form?;
        let mut _place = None;
        let actor = match (&form.token, by_page) {
            (Some(token), true) => {
                let actor = identify(&app, token, from).await?;
                _place = Some(app.broker.admit(&actor.username).await?);
                actor
            }
            (None, true) => return Err(Problem::unauthenticated("paste your token")),
            (_, false) => caller?.0,
        };
        enter(&app, actor, form.path.as_deref(), Transport::of(&headers)).await
    };
    match entered.await {
        Ok(response) => response,
        // Somebody sits before it.
        Err(problem) if by_page && Provenance::of(&headers) == Provenance::Ours => page::sign_in(Some(problem)),
        Err(problem) => problem.into_response(),
    }
}

/// Else a page of somebody else's could sign a person in to an account of its own choice, and get what they upload.
fn refuse_foreign(headers: &HeaderMap, by_page: bool) -> Result<(), Problem> {
    match (Provenance::of(headers), by_page) {
        (Provenance::Ours, _) | (Provenance::Unsaid, false) => Ok(()),
        (Provenance::Foreign, _) | (Provenance::Unsaid, true) => Err(super::proxy::foreign()),
    }
}

async fn enter(app: &App, actor: Identity, path: Option<&str>, transport: Transport) -> Result<Response, Problem> {
    let console = app.console()?;
    let lake = app.broker.lake();
    let folder = match path {
        Some(path) => LakePath::parse(path, lake.bucket()).map_err(|error| Problem::invalid(error.to_string()))?,
        None => lake.home(&actor.username).into_iter().next().ok_or_else(Problem::internal)?,
    };
    // The live policies decide what the console shows, whatever the session policy says: so this ceiling is the honest one.
    let request = SessionRequest { duration: None, scope: Some(Scope::Lake), narrow: None };
    let (broker, by) = (app.broker.clone(), actor.clone());
    let issued = async move { broker.issue_session(&by, &request).await };
    let issued = audited(&actor, "open console", actor.username.to_string(), issued).await?;
    let token = console.log_in(&issued.keys).await?;
    let life = issued.keys.expires_at.duration_since(app.clock.now());
    let cookie = token.to_browser(Duration::try_from(life).unwrap_or_default(), transport);
    let location = HeaderValue::try_from(address(lake.bucket(), &folder)).map_err(|_| Problem::internal())?;
    let headers = [(header::LOCATION, location), (header::SET_COOKIE, cookie)];
    Ok((StatusCode::SEE_OTHER, headers).into_response())
}

/// Where the console shows a folder.
fn address(bucket: &str, folder: &LakePath) -> String {
    /// As JavaScript's `encodeURIComponent` has it, with which the console reads it.
    const COMPONENT: &AsciiSet = &NON_ALPHANUMERIC
        .remove(b'-')
        .remove(b'_')
        .remove(b'.')
        .remove(b'~')
        .remove(b'!')
        .remove(b'\'')
        .remove(b'(')
        .remove(b')');
    format!("{UI}browser/{bucket}/{}", utf8_percent_encode(folder.as_str(), COMPONENT))
}

impl<S: Send + Sync> FromRequest<S> for LoginForm {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let mut form = Self::default();
        for (name, value) in url::form_urlencoded::parse(&Raw::from_request(request, state).await?.0) {
            match &*name {
                "token" => {
                    form.token = Some(Token::parse(value.trim()).map_err(|e| Problem::unauthenticated(&e.to_string()))?)
                }
                "path" => form.path = Some(value.into_owned()),
                _ => return Err(Problem::invalid("the form has `token` and `path`, and nothing else")),
            }
        }
        Ok(form)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_an_address_in_the_console() {
        let address = |path: &str| address("cdm-lake", &path.parse().unwrap());
        assert_eq!(address("users-warehouse/alice"), "/minio-ui/browser/cdm-lake/users-warehouse%2Falice%2F");
        assert_eq!(
            address("a b/é#?x=100%".trim_end_matches("?x=100%")),
            "/minio-ui/browser/cdm-lake/a%20b%2F%C3%A9%23%2F"
        );
    }
}
