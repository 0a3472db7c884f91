//! The endpoint on loopback that SDKs ask. Every account of the machine can reach it: so it wants its own authorization
//! token, which only one account can read.

use std::{sync::Arc, time::Duration};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use axum::{
    Json, Router,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use tokio::sync::watch;

use super::{
    client::FetchError,
    renewal::{Answer, Held},
};
use crate::Clock;

/// Where the keys are.
pub const PATH: &str = "/credentials";

/// How long an SDK waits for the broker's first answer. They have little patience themselves.
const FIRST_ANSWER_LIMIT: Duration = Duration::from_millis(900);

/// What the endpoint works with.
pub struct Desk {
    pub authorization: SecretString,
    pub held: watch::Receiver<Held>,
    pub clock: Arc<dyn Clock>,
}

/// An error as AWS's SDKs print it.
#[derive(Serialize)]
struct Refusal<'a> {
    code: &'a str,
    message: &'a str,
}

pub fn router(desk: Desk) -> Router {
    let nothing = async || refusal(StatusCode::NOT_FOUND, "NoSuchResource", "the keys are at /credentials");
    Router::new().route(PATH, get(credentials)).fallback(nothing).with_state(Arc::new(desk))
}

async fn credentials(State(desk): State<Arc<Desk>>, headers: HeaderMap) -> Response {
    if !desk.admits(&headers) {
        let hint = "send what is in the agent's authorization token file (AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE)";
        return refusal(StatusCode::FORBIDDEN, "NotAuthorized", hint);
    }
    match desk.answer().await {
        Answer::Keys(keys) => no_store(Json(keys.for_container()).into_response()),
        Answer::NotYet => unavailable("the broker has not answered yet"),
        Answer::Trouble(FetchError::Refused { status, code, message }) => {
            // A status that is no error, such as a redirection, must not look like an answer.
            let status = if status.is_client_error() { status } else { StatusCode::BAD_GATEWAY };
            refusal(status, &code, &message)
        }
        Answer::Trouble(error @ (FetchError::NoToken(_) | FetchError::Away { .. })) => unavailable(&error.to_string()),
    }
}

impl Desk {
    /// There is one `Authorization`, and it is the token.
    fn admits(&self, headers: &HeaderMap) -> bool {
        let mut values = headers.get_all(header::AUTHORIZATION).iter();
        let (Some(value), None) = (values.next(), values.next()) else { return false };
        verify_slices_are_equal(value.as_bytes(), self.authorization.expose_secret().as_bytes()).is_ok()
    }

    async fn answer(&self) -> Answer {
        let mut held = self.held.clone();
        let answered = held.wait_for(|held| !matches!(held.answer(self.clock.now()), Answer::NotYet));
        // Without an answer in time, it is that there is none.
        tokio::time::timeout(FIRST_ANSWER_LIMIT, answered).await.ok();
        self.held.borrow().answer(self.clock.now())
    }
}

fn unavailable(message: &str) -> Response {
    let mut response = refusal(StatusCode::SERVICE_UNAVAILABLE, "Unavailable", message);
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("2"));
    response
}

fn refusal(status: StatusCode, code: &str, message: &str) -> Response {
    no_store((status, Json(Refusal { code, message })).into_response())
}

fn no_store(mut response: Response) -> Response {
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
