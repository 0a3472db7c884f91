//! The endpoints and their answers, field by field in the real service's order.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::{Query, State as FromState},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Account, IssuedToken, Mfa, Shared, Standing, State, TokenKind, random_bytes};
use crate::identity::{Token, Username};

type Service = FromState<Arc<Shared>>;

pub(super) fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/", get(root))
        .route("/api/V2/token", get(token))
        .route("/api/V2/me", get(me))
        .route("/api/V2/users", get(users))
        .route("/api/V2/users/", get(users))
        .fallback(not_found)
        .with_state(shared)
}

#[derive(Serialize)]
struct RootAnswer {
    version: &'static str,
    servicename: &'static str,
    servertime: i64,
    gitcommithash: &'static str,
}

#[derive(Serialize)]
struct TokenAnswer {
    r#type: TokenKind,
    id: String,
    expires: i64,
    created: i64,
    name: Option<String>,
    user: Username,
    custom: Map<String, Value>,
    cachefor: u64,
    mfa: Mfa,
}

#[derive(Serialize)]
struct MeAnswer {
    user: Username,
    anonid: String,
    local: bool,
    display: String,
    email: String,
    created: i64,
    lastlogin: i64,
    customroles: Vec<String>,
    roles: Vec<Value>,
    idents: Vec<Value>,
    policyids: Vec<Value>,
}

#[derive(Deserialize)]
struct UsersQuery {
    #[serde(default)]
    list: String,
}

#[derive(Serialize)]
struct ErrorAnswer {
    error: ErrorDetail,
}

#[derive(Serialize)]
struct ErrorDetail {
    httpcode: u16,
    httpstatus: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    appcode: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    apperror: Option<&'static str>,
    message: &'static str,
    callid: String,
    time: i64,
}

/// Why the service refuses.
enum Refusal {
    NoToken,
    InvalidToken,
    AccountDisabled,
    NotFound,
}

async fn root(FromState(shared): Service) -> Response {
    shared.with_state(|state| state.calls.root += 1);
    let servertime = shared.clock.now().as_millisecond();
    Json(RootAnswer {
        version: "0.8.0",
        servicename: "Authentication Service",
        servertime,
        gitcommithash: "0000000000000000000000000000000000000000",
    })
    .into_response()
}

async fn token(FromState(shared): Service, headers: HeaderMap) -> Response {
    let now = shared.clock.now();
    let answer = shared.with_state(|state| {
        state.calls.token += 1;
        let (issued, account) = look_up(state, &headers, now)?;
        match account.standing {
            Standing::Enabled => Ok(token_answer(issued, state.cachefor)),
            // Disabling an account deletes its tokens: this endpoint knows nothing better.
            Standing::Disabled => Err(Refusal::InvalidToken),
        }
    });
    respond(answer, now)
}

async fn me(FromState(shared): Service, headers: HeaderMap) -> Response {
    let now = shared.clock.now();
    let answer = shared.with_state(|state| {
        state.calls.me += 1;
        let (issued, account) = look_up(state, &headers, now)?;
        match account.standing {
            Standing::Enabled => Ok(me_answer(issued, account)),
            Standing::Disabled => Err(Refusal::AccountDisabled),
        }
    });
    respond(answer, now)
}

/// Display names of those who exist, by username.
async fn users(FromState(shared): Service, headers: HeaderMap, Query(query): Query<UsersQuery>) -> Response {
    let now = shared.clock.now();
    let answer = shared.with_state(|state| {
        state.calls.users += 1;
        look_up(state, &headers, now)?;
        let asked = query.list.split(',').filter_map(|name| name.trim().parse::<Username>().ok());
        let known = asked.filter_map(|name| {
            let display = state.accounts.get(&name)?.spec.display.clone();
            Some((name, display))
        });
        Ok(known.collect::<BTreeMap<_, _>>())
    });
    respond(answer, now)
}

async fn not_found(FromState(shared): Service) -> Response {
    respond(Err::<(), _>(Refusal::NotFound), shared.clock.now())
}

/// The token in the header, raw and without `Bearer`, with whose it is.
fn look_up<'a>(
    state: &'a State,
    headers: &HeaderMap,
    now: Timestamp,
) -> Result<(&'a IssuedToken, &'a Account), Refusal> {
    let presented = headers.get(header::AUTHORIZATION).map(|value| value.as_bytes().trim_ascii());
    let presented = presented.filter(|value| !value.is_empty()).ok_or(Refusal::NoToken)?;
    let known = || {
        let token = Token::parse(str::from_utf8(presented).ok()?).ok()?;
        let issued = state.tokens.get(&token.sha256()).filter(|issued| issued.spec.expires_at > now)?;
        Some((issued, state.accounts.get(&issued.username)?))
    };
    known().ok_or(Refusal::InvalidToken)
}

fn token_answer(issued: &IssuedToken, cachefor: Duration) -> TokenAnswer {
    TokenAnswer {
        r#type: issued.spec.kind,
        id: issued.id.clone(),
        expires: issued.spec.expires_at.as_millisecond(),
        created: issued.created.as_millisecond(),
        name: None,
        user: issued.username.clone(),
        custom: Map::new(),
        cachefor: u64::try_from(cachefor.as_millis()).unwrap_or(u64::MAX),
        mfa: issued.spec.mfa,
    }
}

fn me_answer(issued: &IssuedToken, account: &Account) -> MeAnswer {
    MeAnswer {
        user: account.spec.username.clone(),
        anonid: issued.id.clone(),
        local: false,
        display: account.spec.display.clone(),
        email: account.spec.email.clone(),
        created: account.created.as_millisecond(),
        lastlogin: issued.created.as_millisecond(),
        customroles: account.spec.customroles.iter().cloned().collect(),
        roles: Vec::new(),
        idents: Vec::new(),
        policyids: Vec::new(),
    }
}

fn respond<T: Serialize>(answer: Result<T, Refusal>, now: Timestamp) -> Response {
    match answer {
        Ok(answer) => Json(answer).into_response(),
        Err(refusal) => refusal.into_response_at(now),
    }
}

impl Refusal {
    fn into_response_at(self, now: Timestamp) -> Response {
        let (status, app, message) = match self {
            Self::NoToken => (
                StatusCode::BAD_REQUEST,
                Some((10010, "No authentication token")),
                "10010 No authentication token: No user token provided",
            ),
            Self::InvalidToken => (StatusCode::UNAUTHORIZED, Some((10020, "Invalid token")), "10020 Invalid token"),
            Self::AccountDisabled => (
                StatusCode::FORBIDDEN,
                Some((20010, "Account disabled")),
                "20010 Account disabled: This account is disabled",
            ),
            Self::NotFound => (StatusCode::NOT_FOUND, None, "HTTP 404 Not Found"),
        };
        let (appcode, apperror) = app.unzip();
        let error = ErrorDetail {
            httpcode: status.as_u16(),
            httpstatus: status.canonical_reason().unwrap_or_default(),
            appcode,
            apperror,
            message,
            callid: random_bytes::<16>().iter().map(|byte| char::from(b'0' + byte % 10)).collect(),
            time: now.as_millisecond(),
        };
        (status, Json(ErrorAnswer { error })).into_response()
    }
}
