//! The HTTP surface. Translates requests to use cases of the broker and back, and decides nothing.

mod admin;
mod aws;
mod body;
mod caller;
mod console;
mod document;
mod drift;
mod groups;
mod health;
mod kbase;
mod problem;
mod sessions;
mod sharing;
mod source;
mod spark;
mod under_way;
mod users;

use std::{net::IpAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{DefaultBodyLimit, MatchedPath, Request, State},
    http::{HeaderName, HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use tower::ServiceBuilder;
use tower_http::{
    catch_panic::CatchPanicLayer,
    request_id::{MakeRequestUuid, PropagateRequestIdLayer, RequestId, SetRequestIdLayer},
};
use utoipa::OpenApi;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    Clock,
    broker::{Audit, Broker, for_request, record_refusal},
    identity::Authenticator,
    limits::Allowances,
    server,
};

pub use self::{console::Console, health::Readiness, kbase::KbaseApi, problem::Problem};

/// The largest body that is read, in bytes.
const MAX_BODY_BYTES: usize = 256 * 1024;
/// How long requests that are under way may go on after the end was asked for.
const GRACE: Duration = Duration::from_secs(10);
/// The longest that a request's body may take to arrive.
const BODY_TIME_LIMIT: Duration = Duration::from_secs(10);

/// What handlers work with.
pub struct App {
    pub broker: Arc<Broker>,
    pub authenticator: Arc<dyn Authenticator>,
    pub clock: Arc<dyn Clock>,
    pub audit: Arc<Audit>,
    /// Where Spark finds MinIO.
    pub s3_endpoint: String,
    /// MinIO's console, if there is one to lead browsers to.
    pub console: Option<Console>,
    /// How the clients of KBase's earlier service are served, if they are.
    pub kbase: Option<Arc<KbaseApi>>,
    /// Whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<ipnet::IpNet>,
    /// How many connections there may be.
    pub connections: usize,
    /// How long a caller waits for an answer.
    pub answer_limit: Duration,
    pub readiness: Readiness,
    /// Of each address: questions whose keys these are, with keys that MinIO does not know.
    pub unknown_keys: Allowances<IpAddr>,
}

#[derive(OpenApi)]
#[openapi(
    info(title = "Lakepass", description = "Short-lived keys to exactly the parts of a MinIO data lake that are yours."),
    modifiers(&BearerToken),
    security(("token" = [])),
)]
struct Api;

struct BearerToken;

impl utoipa::Modify for BearerToken {
    fn modify(&self, api: &mut utoipa::openapi::OpenApi) {
        use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
        let scheme = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("A KBase token, or a JWT; taken without `Bearer` before it as well"));
        api.components.get_or_insert_default().add_security_scheme("token", SecurityScheme::Http(scheme.build()));
    }
}

/// The whole surface.
pub fn router(app: App) -> Router {
    let answer_soon = middleware::from_fn_with_state(app.answer_limit, under_way::answer_soon);
    let mut routes = OpenApiRouter::with_openapi(Api::openapi())
        .routes(routes!(users::issue, users::show))
        .routes(routes!(users::me))
        .routes(routes!(sharing::share))
        .routes(routes!(sharing::unshare))
        .routes(routes!(sharing::access))
        .routes(routes!(admin::list))
        .routes(routes!(admin::disable))
        .routes(routes!(admin::enable))
        .routes(routes!(admin::revoke))
        .routes(routes!(groups::show, groups::change))
        .routes(routes!(groups::list))
        .routes(routes!(sessions::issue, sessions::list, sessions::revoke))
        .routes(routes!(aws::sts::sts))
        .routes(routes!(health::healthz))
        .routes(routes!(health::readyz))
        .layer(answer_soon.clone())
        .merge(unhurried());
    if let Some(kbase) = &app.kbase {
        let theirs = kbase::routes(kbase.clone()).layer(answer_soon.clone());
        routes = routes.merge(theirs.layer(middleware::from_fn(kbase::respell)));
    }
    let (router, api) = routes.split_for_parts();
    let api = Arc::new(document::complete(&api).to_string());
    let audit = app.audit.clone();
    let request_id = HeaderName::from_static("x-request-id");
    let layers = ServiceBuilder::new()
        .layer(middleware::from_fn(drop_request_id))
        .layer(SetRequestIdLayer::new(request_id.clone(), MakeRequestUuid))
        .layer(PropagateRequestIdLayer::new(request_id))
        .layer(middleware::from_fn(move |request, next| log_and_explain(audit.clone(), request, next)))
        .layer(middleware::from_fn(no_store))
        .layer(CatchPanicLayer::custom(|_: Box<dyn std::any::Any + Send>| Problem::internal().into_response()))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES));
    router
        .route("/", post(aws::sts::sts).layer(answer_soon))
        .merge(console::unlimited())
        .route("/openapi.json", get(async move || ([(header::CONTENT_TYPE, "application/json")], (*api).clone())))
        .fallback(async || Problem::new("no-such-resource", StatusCode::NOT_FOUND, "there is nothing at this address"))
        .method_not_allowed_fallback(async || {
            Problem::new("method-not-allowed", StatusCode::METHOD_NOT_ALLOWED, "this address does not take this method")
        })
        .layer(layers)
        .with_state(Arc::new(app))
}

/// What may take its time: deletions purge data, drift is looked for everywhere, polls wait for news, people wait for the console.
fn unhurried() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .routes(routes!(admin::delete))
        .routes(routes!(groups::delete))
        .routes(routes!(drift::show))
        .routes(routes!(drift::reconcile))
        .routes(routes!(aws::container_credentials::container_credentials))
        .merge(console::routes())
        .layer(middleware::from_fn(under_way::limit_time))
}

/// Serves the surface until `shutdown`, and then finishes what is under way, if that is soon.
pub async fn serve(listener: tokio::net::TcpListener, app: App, shutdown: impl Future<Output = ()>) {
    // One address, a proxy's too, leaves room for others.
    let (connections, of_one_address) = (app.connections, app.connections.div_ceil(2));
    let limits = server::Limits { connections, of_one_address, headers: server::HEADERS_LIMIT, grace: GRACE };
    server::serve(listener, router(app), limits, shutdown).await;
}

/// The request id is ours: a caller's could be anything.
async fn drop_request_id(mut request: Request, next: Next) -> Response {
    request.headers_mut().remove("x-request-id");
    next.run(request).await
}

/// Times, logs one line, and gives a problem its request id.
async fn log_and_explain(audit: Arc<Audit>, request: Request, next: Next) -> Response {
    let started = std::time::Instant::now();
    let id = request.extensions().get::<RequestId>().and_then(|id| id.header_value().to_str().ok()).map(str::to_owned);
    let id = id.unwrap_or_default();
    let method = request.method().clone();
    // Not the address itself: in it may be anything, a token in the wrong place included.
    let route = request.extensions().get::<MatchedPath>().map(|route| route.as_str().to_owned());
    let answer = async {
        let response = next.run(request).await;
        if response.status() == StatusCode::FORBIDDEN {
            let why = response.extensions().get::<Problem>().map(|problem| problem.detail().to_owned());
            record_refusal(&format!("{method} {}", route.as_deref().unwrap_or("?")), why).await;
        }
        response
    };
    let response = problem::with_request_id(for_request(audit, id.clone(), answer).await, &id);
    tracing::info!(
        http.method = %method,
        http.route = route,
        http.status = response.status().as_u16(),
        duration_ms = started.elapsed().as_millis() as u64,
        request.id = %id,
        "request"
    );
    metrics::counter!("lakepass_requests_total", "status" => response.status().as_u16().to_string()).increment(1);
    metrics::histogram!("lakepass_request_duration_seconds").record(started.elapsed().as_secs_f64());
    response
}

/// Answers hold secrets, or what is somebody's own: nobody on the way may keep them, unless it is said of one that they may.
async fn no_store(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    response.headers_mut().entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

type Shared = State<Arc<App>>;
