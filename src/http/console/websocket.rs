//! The console's WebSocket, by which its pages list folders.

use std::time::Duration;

use axum::{
    body::Body,
    extract::Request,
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::Response,
};
use hyper_util::rt::TokioIo;
use url::Url;

use super::{Console, begun, cookie::ConsoleToken, session::Session};
use crate::{http::Problem, server::Place};

/// How often it is seen whether the session still is one. MinIO refuses every listing without one by itself.
const LOOK_EVERY: Duration = Duration::from_secs(15);

/// What goes there.
const TO_CONSOLE: [HeaderName; 3] =
    [header::SEC_WEBSOCKET_KEY, header::SEC_WEBSOCKET_VERSION, header::SEC_WEBSOCKET_EXTENSIONS];
/// What comes back.
const FROM_CONSOLE: [HeaderName; 2] = [header::SEC_WEBSOCKET_ACCEPT, header::SEC_WEBSOCKET_EXTENSIONS];

/// Opens one at the console, and joins the browser's to it for as long as both want it and the session lasts.
///
/// The `Origin` was looked at, and is not passed on: the console would compare it with its own address.
pub(super) async fn open(
    console: &Console,
    url: Url,
    token: ConsoleToken,
    request: Request,
) -> Result<Response, Problem> {
    let asks =
        request.headers().get(header::UPGRADE).is_some_and(|to| to.as_bytes().eq_ignore_ascii_case(b"websocket"));
    if !asks {
        return Err(Problem::new("upgrade-required", StatusCode::UPGRADE_REQUIRED, "this address is for WebSockets"));
    }
    if let Session::Over = console.session(&token).await? {
        return Err(Problem::unauthenticated("the session is over"));
    }
    let mut there = console.http.get(url).headers(upgrade()).header(header::COOKIE, token.to_console());
    for name in TO_CONSOLE {
        if let Some(value) = request.headers().get(&name) {
            there = there.header(name, value);
        }
    }
    let answer = begun(there).await?;
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        tracing::error!(status = answer.status().as_u16(), "MinIO's console opens no WebSocket");
        return Err(Problem::unavailable("MinIO's console does not open a WebSocket: try again"));
    }
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    response.headers_mut().extend(upgrade());
    let passed = FROM_CONSOLE.into_iter().filter_map(|name| Some((name.clone(), answer.headers().get(&name)?.clone())));
    response.headers_mut().extend(passed);
    let (watcher, place) = (console.clone(), request.extensions().get::<Place>().cloned());
    tokio::spawn(async move {
        let _held = place;
        tokio::select! {
            () = join(request, answer) => {}
            () = until_over(&watcher, &token) => {}
        }
    });
    Ok(response)
}

fn upgrade() -> axum::http::HeaderMap {
    let pair = |name, value| (name, HeaderValue::from_static(value));
    [pair(header::CONNECTION, "Upgrade"), pair(header::UPGRADE, "websocket")].into_iter().collect()
}

/// Carries bytes both ways until one side ends.
async fn join(request: Request, answer: reqwest::Response) {
    if let (Ok(browser), Ok(mut there)) = tokio::join!(hyper::upgrade::on(request), answer.upgrade()) {
        // Either side may hang up at any time.
        tokio::io::copy_bidirectional(&mut TokioIo::new(browser), &mut there).await.ok();
    }
}

async fn until_over(console: &Console, token: &ConsoleToken) {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        if let Ok(Session::Over) = console.session(token).await {
            return;
        }
    }
}
