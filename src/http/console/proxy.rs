//! The console's pages and its API, under a path of ours.
//!
//! - What is passed on, in either direction, is listed here: paths, headers and the one cookie. Everything else stays here:
//!   parameters of pages (`sts`, `sts_a`, `sts_s` would sign in, `cpb` would move the pages to another server), headers by which
//!   MinIO can be talked past a condition (`Prefix`, `Delimiter`, `CurrentTime`), the console's own way in and its links for everybody.
//! - Bodies stream both ways, and are never kept.

use std::time::Duration;

use axum::{
    body::{Body, HttpBody, to_bytes},
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header},
    response::{Html, IntoResponse, Response},
};
use futures::{Stream, StreamExt, stream};
use url::Url;

use super::{
    Console, UI, away, begun,
    cookie::{self, ConsoleToken, Transport},
    page::{self, SIGN_IN},
    provenance::Provenance,
    session::Session,
    websocket,
};
use crate::http::{Problem, Shared};

/// How long an upload may pause.
const PAUSE_LIMIT: Duration = Duration::from_secs(60);
/// The longest page, in bytes: the console's has about 2 KiB.
const MAX_PAGE_BYTES: usize = 1 << 20;

/// What goes to the console with a request to its API.
const TO_API: [HeaderName; 7] = [
    header::ACCEPT,
    header::ACCEPT_ENCODING,
    header::ACCEPT_LANGUAGE,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::RANGE,
    header::USER_AGENT,
];

/// What comes from the console with an answer.
const FROM_CONSOLE: [HeaderName; 8] = [
    header::ACCEPT_RANGES,
    header::CONTENT_DISPOSITION,
    header::CONTENT_ENCODING,
    header::CONTENT_LENGTH,
    header::CONTENT_RANGE,
    header::CONTENT_TYPE,
    header::LAST_MODIFIED,
    header::VARY,
];

/// The console's pages run the console's own scripts and ours, and may be in no frame.
const FOR_PAGES: &str = "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; \
     media-src 'self' blob:; font-src 'self' data:; object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'";
/// What people put into the lake shares our origin when it is shown: it must not run there.
const FOR_DATA: &str = "default-src 'none'; style-src 'unsafe-inline'; sandbox; frame-ancestors 'none'";

/// What of the console is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    /// A page, or what belongs to one: the same for everybody.
    File,
    /// The console's own way in.
    SignIn,
    Call(Call),
}

/// What is asked with a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Call {
    Session,
    Buckets,
    Listing,
    SignOut,
}

/// `/minio-ui/…`
pub(super) async fn proxy(State(app): Shared, request: Request) -> Response {
    let answer = async { pass(app.console()?, request).await };
    answer.await.unwrap_or_else(IntoResponse::into_response)
}

pub(super) fn foreign() -> Problem {
    let detail = format!("this can only be asked for by a page of this address itself: begin at {SIGN_IN}");
    Problem::new("cross-site", StatusCode::FORBIDDEN, detail)
}

async fn pass(console: &Console, request: Request) -> Result<Response, Problem> {
    let nothing = || Problem::new("no-such-resource", StatusCode::NOT_FOUND, "there is nothing at this address");
    let (asked, url) = Asked::read(console, request.uri()).ok_or_else(nothing)?;
    let headers = request.headers();
    let token = ConsoleToken::sent(headers);
    match asked {
        Asked::SignIn => Ok(page::out(headers)),
        Asked::File if request.method().is_safe() => file(console, url, token, headers).await,
        Asked::File => {
            Err(Problem::new("method-not-allowed", StatusCode::METHOD_NOT_ALLOWED, "pages can only be read"))
        }
        Asked::Call(call) => {
            // A browser says where everything but a plain GET comes from; a WebSocket begins with a GET that is not plain.
            let reads = request.method().is_safe() && call != Call::Listing;
            match (Provenance::of(headers), reads) {
                (Provenance::Ours, _) | (Provenance::Unsaid, true) => {}
                (Provenance::Foreign, _) | (Provenance::Unsaid, false) => return Err(foreign()),
            }
            call.make(console, url, token.ok_or_else(over)?, request).await
        }
    }
}

impl Call {
    async fn make(
        self,
        console: &Console,
        url: Url,
        token: ConsoleToken,
        request: Request,
    ) -> Result<Response, Problem> {
        let transport = Transport::of(request.headers());
        match self {
            Self::Session => session(console, &token, transport).await,
            Self::Buckets => api(console, url, &token, request).await,
            Self::Listing => websocket::open(console, url, token, request).await,
            Self::SignOut => {
                let mut response = api(console, url, &token, request).await?;
                response.headers_mut().insert(header::SET_COOKIE, cookie::none_any_more(transport));
                Ok(response)
            }
        }
    }
}

impl Asked {
    /// What is asked for, and where it is. The console's server decodes a path before it looks at it: so what decides here
    /// must not be encoded.
    fn read(console: &Console, uri: &Uri) -> Option<(Self, Url)> {
        let mut url = console.at(uri.path().strip_prefix(UI.trim_end_matches('/'))?);
        let segments: Vec<&str> = url.path_segments()?.collect();
        let asked = match segments.as_slice() {
            ["login"] => Self::SignIn,
            ["api", "v1", "logout"] => Self::Call(Call::SignOut),
            ["api", "v1", "session"] => Self::Call(Call::Session),
            // It makes links for everybody, at the console's own address, that hold half of the session's keys.
            ["api", "v1", "buckets", _, "objects", "share"] => return None,
            ["api", "v1", "buckets", ..] => Self::Call(Call::Buckets),
            ["ws", "objectManager", ..] => Self::Call(Call::Listing),
            [first, ..] if first.starts_with("api") || first.starts_with("ws") || first.contains('%') => return None,
            ["", _, ..] => return None,
            _ => Self::File,
        };
        if asked == Self::Call(Call::Buckets) {
            url.set_query(uri.query());
        }
        Some((asked, url))
    }
}

/// A page, if whoever asks has a session; or what belongs to pages.
async fn file(
    console: &Console,
    url: Url,
    token: Option<ConsoleToken>,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    let lasting = url.path().starts_with("/static/");
    let mut answer = answered(begun(console.http.get(url)).await?, FOR_PAGES);
    let kind = answer.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if !kind.starts_with("text/html") {
        let keep = if lasting { "private, max-age=86400" } else { "private, max-age=300" };
        answer.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static(keep));
        return Ok(answer);
    }
    match (token, Provenance::of(headers)) {
        (Some(token), _) => match console.session(&token).await {
            Ok(Session::Over) => Ok(page::out(headers)),
            // It can be shown without one, and asks again itself.
            Ok(Session::Alive(_)) | Err(_) => ours(answer).await,
        },
        // The browser keeps the cookie back when a page elsewhere leads here, and gives it when a page of ours does.
        (None, Provenance::Foreign) => Ok(with_headers(Html(BOUNCE).into_response(), FOR_PAGES)),
        (None, Provenance::Ours | Provenance::Unsaid) => Ok(page::out(headers)),
    }
}

/// Asks for the same address again.
const BOUNCE: &str = "<!doctype html><title>MinIO Console</title><meta http-equiv=\"refresh\" content=\"0\">";

/// Puts the page under our path, with our script in it.
async fn ours(answer: Response) -> Result<Response, Problem> {
    let strange = || {
        tracing::error!("MinIO's console has no page that could be put under a path");
        Problem::unavailable("MinIO's console is not of a kind that can be shown here: tell the operators")
    };
    let (mut parts, body) = answer.into_parts();
    let page = to_bytes(body, MAX_PAGE_BYTES).await.map_err(|_| strange())?;
    let page = std::str::from_utf8(&page).ok().and_then(under_our_path).ok_or_else(strange)?;
    parts.headers.remove(header::CONTENT_LENGTH);
    parts.headers.remove(header::LAST_MODIFIED);
    Ok(Response::from_parts(parts, Body::from(page)))
}

fn under_our_path(page: &str) -> Option<String> {
    const BASE: &str = "<base href=\"";
    let start = page.find(BASE)?;
    let end = start + page[start..].find('>')? + 1;
    let script = "<script src=\"/console/watch.js\" defer></script>";
    Some(format!("{}{BASE}{UI}\"/>{script}{}", &page[..start], &page[end..]))
}

async fn session(console: &Console, token: &ConsoleToken, transport: Transport) -> Result<Response, Problem> {
    let response = match console.session(token).await? {
        Session::Alive(told) => axum::Json(told).into_response(),
        Session::Over => {
            let mut response = over().into_response();
            response.headers_mut().insert(header::SET_COOKIE, cookie::none_any_more(transport));
            response
        }
    };
    Ok(with_headers(response, FOR_DATA))
}

fn over() -> Problem {
    Problem::unauthenticated(&format!("there is no session here, or it is over: sign in at {SIGN_IN}"))
}

async fn api(console: &Console, url: Url, token: &ConsoleToken, request: Request) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let without_body = body.is_end_stream();
    let passed = TO_API.iter().filter(|name| !(without_body && **name == header::CONTENT_LENGTH));
    let mut headers: HeaderMap =
        passed.filter_map(|name| Some((name.clone(), parts.headers.get(name)?.clone()))).collect();
    headers.insert(header::COOKIE, token.to_console());
    let sent = console.http.request(parts.method, url).headers(headers);
    let answer = if without_body {
        begun(sent).await?
    } else {
        let sent = sent.body(reqwest::Body::wrap_stream(without_pauses(body)));
        sent.send().await.map_err(away)?
    };
    Ok(answered(answer, FOR_DATA))
}

/// The body, as long as it goes on.
fn without_pauses(body: Body) -> impl Stream<Item = Result<axum::body::Bytes, axum::BoxError>> {
    stream::unfold(Some(body.into_data_stream()), async |chunks| {
        let mut chunks = chunks?;
        match tokio::time::timeout(PAUSE_LIMIT, chunks.next()).await {
            Ok(chunk) => chunk.map(|chunk| (chunk.map_err(Into::into), Some(chunks))),
            Err(late) => Some((Err(late.into()), None)),
        }
    })
}

/// The console's answer, with what of it may be passed on.
fn answered(answer: reqwest::Response, policy: &'static str) -> Response {
    let (parts, body) = axum::http::Response::<reqwest::Body>::from(answer).into_parts();
    let mut response = Response::new(Body::new(body));
    *response.status_mut() = parts.status;
    let passed = FROM_CONSOLE.into_iter().filter_map(|name| Some((name.clone(), parts.headers.get(&name)?.clone())));
    response.headers_mut().extend(passed);
    with_headers(response, policy)
}

fn with_headers(mut response: Response, policy: &'static str) -> Response {
    for (name, value) in [
        ("content-security-policy", policy),
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
        // Names of folders are in the addresses.
        ("referrer-policy", "same-origin"),
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_passed_on_is_listed_however_it_is_spelled() {
        let console = Console::new("http://127.0.0.1:9001/".parse().unwrap()).unwrap();
        let read =
            |path: &str| Asked::read(&console, &path.parse().unwrap()).map(|(asked, url)| (asked, url.to_string()));
        let at = |asked, path: &str| Some((asked, format!("http://127.0.0.1:9001{path}")));
        assert_eq!(read("/minio-ui/"), at(Asked::File, "/"));
        assert_eq!(
            read("/minio-ui/browser/x/a%2Fb%2F?sts=1&sts_a=2&sts_s=3&cpb=//1/"),
            at(Asked::File, "/browser/x/a%2Fb%2F")
        );
        assert_eq!(read("/minio-ui/login?x"), at(Asked::SignIn, "/login"));
        assert_eq!(
            read("/minio-ui/api/v1/buckets/x/objects?prefix=a"),
            at(Asked::Call(Call::Buckets), "/api/v1/buckets/x/objects?prefix=a")
        );
        assert_eq!(read("/minio-ui/ws/objectManager?x"), at(Asked::Call(Call::Listing), "/ws/objectManager"));
        assert_eq!(read("/minio-ui/x/../api/v1/session"), at(Asked::Call(Call::Session), "/api/v1/session"));
        for nothing in [
            "/minio-ui/api/v1/login",
            "/minio-ui/api/v1/login/",
            "/minio-ui/api/v1/%6Cogin",
            "/minio-ui/%61pi/v1/login",
            "/minio-ui/api%2Fv1/login",
            "/minio-ui/x/%2e%2e/api/v1/login",
            "/minio-ui/api/v1/buckets/../login",
            "/minio-ui/apis",
            "/minio-ui/api/v1/buckets/x/objects/share?prefix=a",
            "/minio-ui/api/v1/download-shared-object/x",
            "/minio-ui/api/v1/service-accounts",
            "/minio-ui/ws/other",
            "/minio-ui//evil.org/",
            "/minio-ui//api/v1/login",
            "/sessions",
        ] {
            assert_eq!(read(nothing), None, "{nothing}");
        }
    }

    #[test]
    fn the_page_is_put_under_our_path() {
        let page = "<head><base href=\"/\"/><meta x></head>";
        let script = "<script src=\"/console/watch.js\" defer></script>";
        let ours = format!("<head><base href=\"/minio-ui/\"/>{script}<meta x></head>");
        assert_eq!(under_our_path(page), Some(ours));
        assert_eq!(under_our_path("<head></head>"), None);
    }
}
