//! `POST /` and `/sts`: AWS's STS query protocol, for SDKs with a web-identity token file and `AWS_ENDPOINT_URL_STS`.
//!
//! Reference: AWS STS API Reference, version 2011-06-15.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Extension,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use secrecy::ExposeSecret;
use serde::Serialize;
use tower_http::request_id::RequestId;
use utoipa::ToSchema;
use zeroize::Zeroizing;

use super::{record_given, session_request, shared_session};
use crate::{
    broker::{self, CachedSession},
    http::{App, Problem, Shared, body, caller::identify, source::Source},
    identity::{AuthError, Identity, Token},
    lake::Scope,
    limits::count_refusal,
    minio::MinioError,
    policy::Narrowing,
};

/// As AWS has it, for a session policy.
const MAX_POLICY_BYTES: usize = 2048;
const NAMESPACE: &str = "https://sts.amazonaws.com/doc/2011-06-15/";

/// An error as AWS spells it.
struct StsError {
    status: StatusCode,
    code: &'static str,
    message: String,
    /// Seconds, for who may ask again.
    retry_after: Option<u64>,
}

#[derive(Serialize)]
#[serde(rename = "ErrorResponse", rename_all = "PascalCase")]
struct ErrorDocument<'a> {
    #[serde(rename = "@xmlns")]
    xmlns: &'static str,
    error: ErrorDetail<'a>,
    request_id: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ErrorDetail<'a> {
    r#type: &'static str,
    code: &'static str,
    message: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Document<'a, T> {
    #[serde(rename = "@xmlns")]
    xmlns: &'static str,
    #[serde(flatten)]
    result: T,
    response_metadata: Metadata<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Metadata<'a> {
    request_id: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct AssumedResult {
    assume_role_with_web_identity_result: Assumed,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Assumed {
    subject_from_web_identity_token: String,
    assumed_role_user: AssumedRoleUser,
    credentials: Credentials,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct AssumedRoleUser {
    arn: String,
    assumed_role_id: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Credentials {
    access_key_id: String,
    secret_access_key: Zeroizing<String>,
    session_token: Zeroizing<String>,
    expiration: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct IdentityResult {
    get_caller_identity_result: CallerIdentity,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct CallerIdentity {
    arn: String,
    user_id: String,
    account: &'static str,
}

/// The form of a request. Read by hand ([`Form`]): its errors are AWS's.
#[derive(ToSchema)]
#[schema(rename_all = "PascalCase", example = json!({
    "Action": "AssumeRoleWithWebIdentity",
    "RoleArn": "arn:lakepass:iam:::role/granted",
    "RoleSessionName": "job",
    "WebIdentityToken": "TOKEN",
}))]
#[expect(dead_code, reason = "it is there to be read in the OpenAPI document")]
pub struct StsForm {
    /// `AssumeRoleWithWebIdentity` or `GetCallerIdentity`, which is signed with session keys and takes no other parameter.
    action: String,
    /// `arn:lakepass:iam:::role/granted` or `arn:lakepass:iam:::role/lake`
    role_arn: Option<String>,
    role_session_name: Option<String>,
    /// The token.
    web_identity_token: Option<String>,
    duration_seconds: Option<u64>,
    /// Narrows the session, and never widens it.
    policy: Option<String>,
}

/// The form of a request: each parameter once.
struct Form(BTreeMap<String, Zeroizing<String>>);

/// `AssumeRoleWithWebIdentity` and `GetCallerIdentity`, at `/` as well. The token is in the form; errors are XML as AWS spells them.
#[utoipa::path(post, path = "/sts", security(()), request_body(content = StsForm, content_type = "application/x-www-form-urlencoded"), responses(
    (status = 200, body = String, content_type = "text/xml"), (status = "4XX", body = String, content_type = "text/xml"),
    (status = "5XX", body = String, content_type = "text/xml"),
))]
pub async fn sts(
    State(app): Shared,
    Extension(id): Extension<RequestId>,
    from: Source,
    headers: HeaderMap,
    body: Result<body::Raw, Problem>,
) -> Response {
    let id = id.header_value().to_str().unwrap_or_default();
    let answer = async {
        let form = Form::parse(&body?.0)?;
        match form.required("Action")? {
            "AssumeRoleWithWebIdentity" => {
                let result = assume(&app, &form, from).await?;
                Ok(xml(
                    "AssumeRoleWithWebIdentityResponse",
                    id,
                    AssumedResult { assume_role_with_web_identity_result: result },
                ))
            }
            "GetCallerIdentity" => {
                let result = caller_identity(&app, &headers, from).await?;
                Ok(xml("GetCallerIdentityResponse", id, IdentityResult { get_caller_identity_result: result }))
            }
            _ => {
                let hint = "the actions of this service are AssumeRoleWithWebIdentity and GetCallerIdentity";
                Err(StsError::new(400, "InvalidAction", hint))
            }
        }
    };
    answer.await.unwrap_or_else(|error: StsError| error.answer(id))
}

async fn assume(app: &Arc<App>, form: &Form, from: Source) -> Result<Assumed, StsError> {
    let role = form.required("RoleArn")?;
    let session_name = form.required("RoleSessionName")?;
    // Both are answered.
    let is_name = |name: &str| name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_+=,.@-".contains(&b));
    if !is_name(session_name) || session_name.len() > 64 {
        let hint = "RoleSessionName has at most 64 letters, digits and _+=,.@-";
        return Err(StsError::new(400, "ValidationError", hint));
    }
    let is_account =
        |text: &str| text.len() <= 64 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b":-".contains(&b));
    let scope = match role.rsplit_once(":role/") {
        Some((account, "granted")) if is_account(account) => Scope::Granted,
        Some((account, "lake")) if is_account(account) => Scope::Lake,
        _ => {
            let hint = "RoleArn is arn:lakepass:iam:::role/granted or arn:lakepass:iam:::role/lake";
            return Err(StsError::new(400, "ValidationError", hint));
        }
    };
    let duration = form.get("DurationSeconds").map(|text| {
        let seconds = text.parse().map_err(|_| StsError::new(400, "ValidationError", "DurationSeconds is a number"))?;
        Ok::<_, StsError>(Duration::from_secs(seconds))
    });
    if form.get("Policy").is_some_and(|policy| policy.len() > MAX_POLICY_BYTES) {
        let what = format!("Policy has at most {MAX_POLICY_BYTES} characters");
        return Err(StsError::new(400, "PackedPolicyTooLarge", what));
    }
    let narrow = form.get("Policy").map(Narrowing::parse).transpose();
    let narrow = narrow.map_err(|error| StsError::new(400, "MalformedPolicyDocument", error.to_string()))?;
    if form.0.keys().any(|key| key.starts_with("PolicyArns")) {
        return Err(StsError::new(400, "ValidationError", "PolicyArns are not supported: use Policy"));
    }
    let token = Token::parse(form.required("WebIdentityToken")?);
    let token = token.map_err(|error| StsError::new(400, "InvalidIdentityToken", error.to_string()))?;
    let actor = identify(app, &token, from).await?;
    let request = broker::SessionRequest { narrow, ..session_request(app, duration.transpose()?, Some(scope)) };
    let session = shared_session(app, &actor, &request).await?;
    record_given(&actor, &session).await?;
    Ok(Assumed::new(&actor, role, session_name, &session))
}

/// Whose session it is. That the caller has the session token is the proof: MinIO knows it.
async fn caller_identity(app: &Arc<App>, headers: &HeaderMap, from: Source) -> Result<CallerIdentity, StsError> {
    let unknown = || StsError::new(403, "InvalidClientTokenId", "the security token is none of a session of ours");
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let access_key = text("authorization")
        .and_then(|authorization| authorization.split_once("Credential="))
        .and_then(|(_, credential)| credential.split('/').next())
        .ok_or_else(|| StsError::new(403, "MissingAuthenticationToken", "sign the request with your session keys"))?;
    let token = text("x-amz-security-token").ok_or_else(unknown)?;
    app.unknown_keys.take(from.0, Instant::now()).map_err(|retry_after| {
        count_refusal("unknown keys of an address");
        broker::Error::TooMany { retry_after }
    })?;
    let owner = app.broker.session_owner(access_key, token).await;
    if !matches!(owner, Ok(None)) {
        app.unknown_keys.give_back(&from.0);
    }
    let owner = owner?.ok_or_else(unknown)?;
    Ok(CallerIdentity {
        arn: format!("arn:lakepass:sts:::assumed-role/lakepass/{owner}"),
        user_id: format!("{access_key}:{owner}"),
        account: "000000000000",
    })
}

impl Form {
    fn parse(body: &[u8]) -> Result<Self, StsError> {
        let mut form = BTreeMap::new();
        for (key, value) in url::form_urlencoded::parse(body) {
            if form.insert(key.into_owned(), Zeroizing::new(value.into_owned())).is_some() {
                return Err(StsError::new(400, "ValidationError", "a parameter is given twice"));
            }
        }
        Ok(Self(form))
    }

    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(|value| value.as_str()).filter(|value| !value.is_empty())
    }

    fn required(&self, key: &str) -> Result<&str, StsError> {
        let code = if key == "Action" { "MissingAction" } else { "MissingParameter" };
        self.get(key).ok_or_else(|| StsError::new(400, code, format!("the parameter {key} is missing")))
    }
}

impl Assumed {
    fn new(actor: &Identity, role: &str, session_name: &str, session: &CachedSession) -> Self {
        let keys = &session.issued.keys;
        Self {
            subject_from_web_identity_token: actor.username.to_string(),
            assumed_role_user: AssumedRoleUser {
                arn: format!(
                    "{}/{session_name}",
                    role.replacen(":iam:", ":sts:", 1).replacen(":role/", ":assumed-role/", 1)
                ),
                assumed_role_id: format!("{}:{session_name}", actor.username),
            },
            credentials: Credentials {
                access_key_id: keys.access_key_id.clone(),
                secret_access_key: keys.secret_access_key.expose_secret().to_owned().into(),
                session_token: keys.session_token.expose_secret().to_owned().into(),
                expiration: keys.expires_at.to_string(),
            },
        }
    }
}

fn xml(root: &str, request_id: &str, result: impl Serialize) -> Response {
    let document = Document { xmlns: NAMESPACE, result, response_metadata: Metadata { request_id } };
    written(StatusCode::OK, quick_xml::se::to_string_with_root(root, &document))
}

fn written(status: StatusCode, document: Result<String, quick_xml::SeError>) -> Response {
    match document {
        Ok(xml) => (status, [(header::CONTENT_TYPE, "text/xml")], xml).into_response(),
        Err(_) => Problem::internal().into_response(),
    }
}

impl StsError {
    fn new(status: u16, code: &'static str, message: impl Into<String>) -> Self {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self { status, code, message: message.into(), retry_after: None }
    }

    fn answer(&self, request_id: &str) -> Response {
        let sender = if self.status.is_client_error() { "Sender" } else { "Receiver" };
        // What XML cannot hold, however it is escaped (XML 1.0, 2.2): a policy is quoted, and may have it.
        let message = self.message.replace(|c: char| c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}'), "");
        let error = ErrorDetail { r#type: sender, code: self.code, message: &message };
        let document = ErrorDocument { xmlns: NAMESPACE, error, request_id };
        let mut response = written(self.status, quick_xml::se::to_string(&document));
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}

impl From<Problem> for StsError {
    fn from(problem: Problem) -> Self {
        Self::new(400, "ValidationError", problem.detail())
    }
}

impl From<AuthError> for StsError {
    fn from(error: AuthError) -> Self {
        let problem = Problem::from(error.clone());
        let (status, code) = match error {
            AuthError::Invalid(_) | AuthError::UnknownIssuer(_) => (400, "InvalidIdentityToken"),
            AuthError::AccountDisabled
            | AuthError::RolesMissing { .. }
            | AuthError::MfaMissing { .. }
            | AuthError::UnusableUsername { .. } => (403, "AccessDenied"),
            AuthError::TooManyWrong { .. } => (429, "Throttling"),
            AuthError::Unavailable { .. } => (503, "ServiceUnavailable"),
        };
        Self { retry_after: problem.retry_after(), ..Self::new(status, code, problem.detail()) }
    }
}

impl From<broker::Error> for StsError {
    fn from(error: broker::Error) -> Self {
        let (status, code) = match &error {
            broker::Error::Forbidden(_) | broker::Error::Disabled(_) | broker::Error::ScopeExceeds(_) => {
                (403, "AccessDenied")
            }
            broker::Error::TokenEnds(_) => (400, "ExpiredTokenException"),
            broker::Error::TooMany { .. } => (429, "Throttling"),
            broker::Error::PolicyRefused => (400, "MalformedPolicyDocument"),
            broker::Error::PolicyTooLarge(_) => (400, "PackedPolicyTooLarge"),
            broker::Error::NotFound(_) | broker::Error::Invalid(_) => (400, "ValidationError"),
            broker::Error::Conflict(_)
            | broker::Error::Unaudited
            | broker::Error::Minio(MinioError::Unavailable { .. }) => (503, "ServiceUnavailable"),
            broker::Error::Damaged(_) | broker::Error::Minio(_) => (500, "InternalFailure"),
        };
        let problem = Problem::from(error);
        Self { retry_after: problem.retry_after(), ..Self::new(status, code, problem.detail()) }
    }
}
