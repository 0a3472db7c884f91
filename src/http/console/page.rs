//! The page that signs in, and the ways to it and from it. A page of few words: no script, no token in any address.

use axum::{
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{Html, IntoResponse, Redirect, Response},
};

use super::{
    UI,
    cookie::{self, Transport},
};
use crate::http::{Problem, Shared};

/// Where one signs in.
pub(super) const SIGN_IN: &str = "/console";

/// No script, no frame, and its form goes to us alone. (A policy of `no-referrer` would make the browser hide from us that the
/// form is ours.)
const HEADERS: [(&str, &str); 4] = [
    (
        "content-security-policy",
        "default-src 'none'; style-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    ),
    ("referrer-policy", "same-origin"),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
];

/// The page from which one gets into MinIO's console.
#[utoipa::path(get, path = "/console", security(()), responses(
    (status = 200, description = "A page", content_type = "text/html"), (status = 404, body = Problem),
))]
pub async fn show(axum::extract::State(app): Shared) -> Result<Response, Problem> {
    app.console()?;
    Ok(sign_in(None))
}

/// The page, with a word on what went wrong before.
pub(super) fn sign_in(problem: Option<Problem>) -> Response {
    let message = problem.as_ref().map(|problem| format!("<p role=\"alert\">{}</p>", escaped(problem.detail())));
    let page = Html(include_str!("page.html").replacen("{message}", &message.unwrap_or_default(), 1));
    let mut response = match problem {
        None => page.into_response(),
        Some(problem) => problem.answered_with(page),
    };
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    response
}

pub(super) async fn style() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/css")], include_str!("page.css"))
}

/// A script in the console's pages. They would go on showing what they have when their session is over.
pub(super) async fn watch() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/javascript")], include_str!("watch.js"))
}

pub(super) async fn lead_in() -> Redirect {
    Redirect::to(UI)
}

/// Out of the console, to where one signs in.
pub(super) async fn lead_out(headers: HeaderMap) -> Response {
    out(&headers)
}

pub(super) fn out(headers: &HeaderMap) -> Response {
    let cookie = cookie::none_any_more(Transport::of(headers));
    let response =
        (StatusCode::SEE_OTHER, [(header::LOCATION, HeaderValue::from_static(SIGN_IN)), (header::SET_COOKIE, cookie)]);
    response.into_response()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_went_wrong_is_text() {
        let response = sign_in(Some(Problem::invalid("<script>")));
        assert_eq!(response.status(), StatusCode::UNPROCESSABLE_ENTITY);
        let body = axum::body::to_bytes(response.into_body(), 10_000).await.unwrap();
        let page = String::from_utf8(body.to_vec()).unwrap();
        assert!(page.contains("&lt;script&gt;") && !page.contains("<script") && !page.contains("{message}"));
    }
}
