//! Errors as that service spells them.

use axum::{
    Json,
    extract::Request,
    http::{StatusCode, header},
    middleware::Next,
    response::Response,
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::Problem;

#[derive(Serialize, ToSchema)]
pub struct ErrorResponse {
    error: Option<u16>,
    error_type: Option<&'static str>,
    message: String,
}

/// Says a problem in that service's words, and with its status.
pub async fn respell(request: Request, next: Next) -> Response {
    let has_token = request.headers().contains_key(header::AUTHORIZATION);
    let mut response = next.run(request).await;
    let Some(problem) = response.extensions_mut().remove::<Problem>() else { return response };
    let status = match problem.kind() {
        "invalid-request" | "no-such-user" => StatusCode::BAD_REQUEST,
        _ => response.status(),
    };
    let known = match (status, problem.kind()) {
        (StatusCode::UNAUTHORIZED, _) if has_token => Some((10020, "Invalid token")),
        (StatusCode::UNAUTHORIZED, _) => Some((10010, "No authentication token")),
        (StatusCode::FORBIDDEN, "not-admitted") => Some((10040, "Missing required role")),
        (StatusCode::FORBIDDEN, _) => Some((20042, "Data governance policy violation")),
        (StatusCode::NOT_FOUND, _) => Some((20041, "MinIO group not found")),
        (StatusCode::BAD_REQUEST, "no-such-user") => Some((20040, "MinIO group operation error")),
        (StatusCode::BAD_REQUEST, _) => Some((30010, "Request validation failed")),
        (StatusCode::CONFLICT, _) => Some((20045, "Credential operation error")),
        (StatusCode::SERVICE_UNAVAILABLE, _) => Some((20050, "MinIO connection error")),
        _ => None,
    };
    let (error, error_type) = known.unzip();
    let body = ErrorResponse { error, error_type, message: problem.detail().to_owned() };
    let mut response = problem.answered_with(Json(body));
    *response.status_mut() = status;
    response
}
