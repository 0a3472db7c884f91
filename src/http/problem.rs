//! Errors as RFC 9457 problem documents.

use std::time::Duration;

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{broker::Error, identity::AuthError, minio::MinioError};

/// An RFC 9457 problem document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Problem {
    /// Stable: what programs tell problems apart by.
    #[serde(rename = "type")]
    kind: String,
    title: String,
    status: u16,
    /// What to do.
    detail: String,
    /// To be named when asking for help. It is in the log.
    request_id: String,
    /// In seconds. A header.
    #[serde(skip)]
    retry_after: Option<u64>,
}

impl Problem {
    pub fn new(kind: &str, status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("urn:lakepass:problem:{kind}"),
            title: kind.replace('-', " "),
            status: status.as_u16(),
            detail: detail.into(),
            request_id: String::new(),
            retry_after: None,
        }
    }

    pub fn invalid(detail: impl Into<String>) -> Self {
        Self::new("invalid-request", StatusCode::UNPROCESSABLE_ENTITY, detail)
    }

    pub fn unavailable(detail: impl Into<String>) -> Self {
        let retry_after = Some(2);
        Self { retry_after, ..Self::new("unavailable", StatusCode::SERVICE_UNAVAILABLE, detail) }
    }

    fn too_many(detail: impl Into<String>, retry_after: Duration) -> Self {
        // Rounded up: who comes a little early would be refused again.
        let retry_after = Some(retry_after.as_secs() + 1);
        Self { retry_after, ..Self::new("too-many-requests", StatusCode::TOO_MANY_REQUESTS, detail) }
    }

    pub fn retry_after(&self) -> Option<u64> {
        self.retry_after
    }

    pub fn internal() -> Self {
        let detail = "this should not have happened: tell the operators the request id";
        Self::new("internal", StatusCode::INTERNAL_SERVER_ERROR, detail)
    }

    /// What `type` ends with.
    pub fn kind(&self) -> &str {
        self.kind.rsplit(':').next().unwrap_or_default()
    }

    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// As AWS spells codes: `NotAdmitted` for `not-admitted`, and what its SDKs slow down for.
    pub fn code(&self) -> String {
        if self.status == StatusCode::TOO_MANY_REQUESTS.as_u16() {
            return "Throttling".into();
        }
        let capital = |word: &str| word[..1].to_uppercase() + &word[1..];
        self.title.split(' ').filter(|word| !word.is_empty()).map(capital).collect()
    }

    /// The same status and headers, for clients that expect another body.
    pub fn answered_with(self, body: impl IntoResponse) -> Response {
        let (mut parts, _) = self.into_response().into_parts();
        parts.extensions.clear();
        parts.headers.remove(header::CONTENT_TYPE);
        parts.headers.remove(header::CONTENT_LENGTH);
        (parts.status, parts.headers, body).into_response()
    }

    pub fn unauthenticated(detail: &str) -> Self {
        Self::new("unauthenticated", StatusCode::UNAUTHORIZED, detail)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(&self)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response.extensions_mut().insert(self);
        response
    }
}

/// Fills in what only the outermost layer knows.
pub(super) fn with_request_id(mut response: Response, id: &str) -> Response {
    let Some(mut problem) = response.extensions_mut().remove::<Problem>() else { return response };
    problem.request_id = id.to_owned();
    let mut complete = problem.into_response();
    // What a handler added stays; the length is another one now.
    response.headers_mut().remove(header::CONTENT_LENGTH);
    let headers = std::mem::replace(complete.headers_mut(), response.headers().clone());
    complete.headers_mut().extend(headers);
    complete
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let detail = error.to_string();
        match error {
            Error::Forbidden(_) => Self::new("forbidden", StatusCode::FORBIDDEN, detail),
            Error::NotFound(_) => Self::new("not-found", StatusCode::NOT_FOUND, detail),
            Error::Invalid(_) => Self::invalid(detail),
            Error::Conflict(_) => Self::new("conflict", StatusCode::CONFLICT, detail),
            Error::Disabled(_) => Self::new("account-disabled", StatusCode::FORBIDDEN, detail),
            Error::TokenEnds(_) => Self::new("token-expires-too-soon", StatusCode::FORBIDDEN, detail),
            Error::TooMany { retry_after } => Self::too_many(detail, retry_after),
            Error::PolicyRefused => Self::invalid(detail),
            Error::PolicyTooLarge(_) => Self::new("policy-too-large", StatusCode::UNPROCESSABLE_ENTITY, detail),
            Error::ScopeExceeds(_) => Self::new("scope-exceeds-grants", StatusCode::FORBIDDEN, detail),
            Error::Unaudited => Self::unavailable(detail),
            Error::Damaged(_) => Self::new("ledger-damaged", StatusCode::INTERNAL_SERVER_ERROR, detail),
            Error::Minio(error) => {
                tracing::warn!(%error, "MinIO did not do what it was asked");
                match error {
                    MinioError::Unavailable { .. } => {
                        Self::unavailable("the storage does not answer now; nothing is certain, so ask again")
                    }
                    MinioError::NotFound { .. }
                    | MinioError::Conflict { .. }
                    | MinioError::InUse { .. }
                    | MinioError::Denied { .. }
                    | MinioError::TooLarge { .. }
                    | MinioError::Damaged { .. }
                    | MinioError::Refused { .. } => Self::internal(),
                }
            }
        }
    }
}

impl From<AuthError> for Problem {
    fn from(error: AuthError) -> Self {
        match error {
            AuthError::Invalid(_) | AuthError::UnknownIssuer(_) => {
                Self::unauthenticated("the token is not valid, or has expired: log in again for a new one")
            }
            AuthError::AccountDisabled => {
                Self::new("account-disabled", StatusCode::FORBIDDEN, "the account is disabled at the auth service")
            }
            AuthError::RolesMissing { .. } | AuthError::MfaMissing { .. } | AuthError::UnusableUsername { .. } => {
                Self::new("not-admitted", StatusCode::FORBIDDEN, error.to_string())
            }
            AuthError::TooManyWrong { retry_after } => {
                let detail =
                    "too many wrong tokens came from this address, so this one is not looked at: ask again later";
                Self::too_many(detail, retry_after)
            }
            AuthError::Unavailable { .. } => {
                tracing::warn!(%error, "a token cannot be checked");
                Self::unavailable("the auth service does not answer now, so the token cannot be checked: ask again")
            }
        }
    }
}
