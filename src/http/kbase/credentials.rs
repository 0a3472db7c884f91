//! `/credentials/`: the caller's derived lake key, for clients that send no session token.

use axum::{
    Extension, Json,
    extract::State,
    response::{IntoResponse, Response},
};
use secrecy::ExposeSecret;
use serde::Serialize;
use utoipa::ToSchema;
use zeroize::Zeroizing;

use super::{Settings, errors::ErrorResponse};
use crate::{
    broker::{IssuedLakeKey, audited},
    http::{Problem, Shared, caller::Caller},
    identity::Username,
};

/// Clients of that service's earlier versions read `access_key` and `secret_key`, later ones the others.
#[derive(Serialize, ToSchema)]
pub struct CredentialsResponse {
    username: String,
    access_key: String,
    #[schema(value_type = String)]
    secret_key: Zeroizing<String>,
    s3_access_key: String,
    #[schema(value_type = String)]
    s3_secret_key: Zeroizing<String>,
    /// Empty: there is no catalog here. Later clients cannot read an answer without it.
    polaris_client_id: &'static str,
    polaris_client_secret: &'static str,
}

/// The caller's key: the same each time, until it is rotated.
#[utoipa::path(get, path = "/credentials/", responses(
    (status = 200, body = CredentialsResponse),
    (status = "4XX", body = ErrorResponse), (status = "5XX", body = ErrorResponse),
))]
pub async fn get_credentials(State(app): Shared, Caller(actor): Caller) -> Result<Response, Problem> {
    let (broker, by) = (app.broker.clone(), actor.clone());
    let shown = async move { broker.derived_key(&by).await };
    let key = audited(&actor, "show derived lake key", actor.username.to_string(), shown).await?;
    Ok(answer(&actor.username, &key))
}

/// The caller's next key. The one before works for a while yet.
#[utoipa::path(post, path = "/credentials/rotate", responses(
    (status = 200, body = CredentialsResponse),
    (status = "4XX", body = ErrorResponse), (status = "5XX", body = ErrorResponse),
))]
pub async fn rotate_credentials(
    State(app): Shared,
    Extension(settings): Settings,
    Caller(actor): Caller,
) -> Result<Response, Problem> {
    let (broker, by) = (app.broker.clone(), actor.clone());
    let rotated = async move { broker.rotate_derived_key(&by, settings.key_overlap).await };
    let key = audited(&actor, "rotate derived lake key", actor.username.to_string(), rotated).await?;
    Ok(answer(&actor.username, &key))
}

fn answer(user: &Username, key: &IssuedLakeKey) -> Response {
    let secret = key.secret_key.expose_secret();
    let body = CredentialsResponse {
        username: user.to_string(),
        access_key: key.access_key.clone(),
        secret_key: secret.to_owned().into(),
        s3_access_key: key.access_key.clone(),
        s3_secret_key: secret.to_owned().into(),
        polaris_client_id: "",
        polaris_client_secret: "",
    };
    Json(body).into_response()
}
