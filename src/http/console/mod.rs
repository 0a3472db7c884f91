//! MinIO's console, with session keys: signing in to it ([`login`]), and the way to it under a path of ours ([`proxy`]).
//!
//! The console decides nothing about access: it asks MinIO with the session keys that it was signed in with, so a share that
//! is taken back or a revocation acts here as everywhere. The console's own port can stay private.
//!
//! - Nobody but [`login`] signs anybody in: the console's own way in is not passed on.
//! - No key is ever in an address or in a page; the console's cookie holds them, sealed by the console.
//! - A request that changes something is passed on only if a page of ours sent it ([`provenance`]).

mod cookie;
mod login;
mod page;
mod provenance;
mod proxy;
mod session;
mod websocket;

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    extract::DefaultBodyLimit,
    routing::{any, get},
};
use reqwest::{Client, redirect::Policy};
use url::Url;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{App, Problem};
use crate::identity::fetch;

/// Where the console appears to browsers.
const UI: &str = "/minio-ui/";

/// How long a connection to the console may take to come about.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// How long the console may take to begin to answer. Uploads are answered when they are over, however long that takes.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);

/// The console, and where it listens. Cheap to clone.
#[derive(Clone)]
pub struct Console {
    url: Url,
    http: Client,
}

impl Console {
    pub fn new(url: Url) -> reqwest::Result<Self> {
        let http = Client::builder().connect_timeout(CONNECT_LIMIT).redirect(Policy::none()).http1_only().build()?;
        Ok(Self { url, http })
    }

    /// An address at the console. The path is normalised, and cannot lead to another server.
    fn at(&self, path: &str) -> Url {
        let mut url = self.url.clone();
        url.set_path(path);
        url
    }
}

/// Sends what needs no long body, and waits until the console begins to answer. The answer itself may take its time.
async fn begun(request: reqwest::RequestBuilder) -> Result<reqwest::Response, Problem> {
    let late = |_| Problem::unavailable("MinIO's console does not answer in time: try again");
    tokio::time::timeout(ANSWER_LIMIT, request.send()).await.map_err(late)?.map_err(away)
}

fn away(error: reqwest::Error) -> Problem {
    // In the address is what a browser asked for, which may be anything.
    let error = fetch::transport(error);
    tracing::warn!(%error, "MinIO's console does not answer");
    Problem::unavailable("MinIO's console does not answer now: try again")
}

impl App {
    fn console(&self) -> Result<&Console, Problem> {
        let none = || Problem::new("no-console", axum::http::StatusCode::NOT_FOUND, "no console is configured here");
        self.console.as_ref().ok_or_else(none)
    }
}

/// What people and programs call, within the limits of every other call.
pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(login::login)).routes(routes!(page::show))
}

/// What browsers get at besides. Transfers go on for as long as they take and are as large as they are.
pub(super) fn unlimited() -> Router<Arc<App>> {
    Router::new()
        .route("/console/page.css", get(page::style))
        .route("/console/watch.js", get(page::watch))
        // Where the console's own pages go when they find that their session is over.
        .route("/login", get(page::lead_out))
        .route("/minio-ui", get(page::lead_in))
        .route(UI, any(proxy::proxy))
        .route("/minio-ui/{*path}", any(proxy::proxy))
        .layer(DefaultBodyLimit::disable())
}
