//! What we ask the console ourselves: to sign somebody in, and whether a session still is one.

use std::time::Duration;

use axum::http::{StatusCode, header};
use secrecy::ExposeSecret;
use serde::Serialize;
use serde_json::Value;

use super::{Console, Problem, away, cookie::ConsoleToken};
use crate::minio::SessionKeys;

/// How long the console may take for what we ask it ourselves.
const CALL_LIMIT: Duration = Duration::from_secs(15);

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Login<'a> {
    access_key: &'a str,
    secret_key: &'a str,
    sts: &'a str,
}

/// What the console says of a session.
pub(super) enum Session {
    /// It lives, and this is what its pages want to know.
    Alive(Value),
    Over,
}

impl Console {
    /// Signs in with session keys, and makes sure that they are good: the console takes any.
    pub(super) async fn log_in(&self, keys: &SessionKeys) -> Result<ConsoleToken, Problem> {
        let body = Login {
            access_key: &keys.access_key_id,
            secret_key: keys.secret_access_key.expose_secret(),
            sts: keys.session_token.expose_secret(),
        };
        let request = self.http.post(self.at("/api/v1/login")).timeout(CALL_LIMIT).json(&body);
        let answer = request.send().await.map_err(away)?;
        let token = ConsoleToken::set(answer.headers()).filter(|_| answer.status() == StatusCode::NO_CONTENT);
        let token = token.ok_or_else(|| strange("login", answer.status()))?;
        match self.session(&token).await? {
            Session::Alive(_) => Ok(token),
            Session::Over => Err(strange("session", StatusCode::UNAUTHORIZED)),
        }
    }

    pub(super) async fn session(&self, token: &ConsoleToken) -> Result<Session, Problem> {
        let request = self.http.get(self.at("/api/v1/session")).timeout(CALL_LIMIT);
        let answer = request.header(header::COOKIE, token.to_console()).send().await;
        let answer = answer.map_err(away)?;
        match answer.status() {
            StatusCode::OK => answer.json().await.map(Session::read).map_err(away),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Ok(Session::Over),
            status => Err(strange("session", status)),
        }
    }
}

impl Session {
    /// The keys of a MinIO user who is gone still have a session here, in which nothing is allowed. Ours always have a home.
    ///
    /// The pages show from `allowResources` where one may go from a folder that one may not list. They understand the prefixes of
    /// `StringLike`; ours are those of `ForAllValues:StringLike`, which a second prefix cannot talk past. Of the rest, such as the
    /// end of a grant, they would make folders that are none.
    fn read(mut told: Value) -> Self {
        match told.get_mut("allowResources").and_then(Value::as_array_mut) {
            Some(resources) if !resources.is_empty() => {
                resources.retain(|resource| resource["conditionOperator"] == "ForAllValues:StringLike");
                resources.iter_mut().for_each(|resource| resource["conditionOperator"] = "StringLike".into());
                Self::Alive(told)
            }
            Some(_) | None => Self::Over,
        }
    }
}

fn strange(call: &'static str, status: StatusCode) -> Problem {
    tracing::error!(call, status = status.as_u16(), "MinIO's console does not do what it was asked");
    Problem::unavailable("MinIO's console does not take the session keys: try again, and then tell the operators")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_session_in_which_nothing_is_allowed_is_over() {
        for over in [json!({}), json!({"allowResources": null}), json!({"allowResources": []}), json!([])] {
            assert!(matches!(Session::read(over), Session::Over));
        }
        let resource = |operator: &str, prefixes: Value| json!({"resource": "arn:aws:s3:::lake", "prefixes": prefixes, "conditionOperator": operator});
        let told = [
            resource("ForAllValues:StringLike", json!(["a/*"])),
            resource("StringLike", json!(["*"])),
            resource("DateLessThan", Value::Null),
        ];
        let Session::Alive(told) = Session::read(json!({"allowResources": told, "status": "ok"})) else {
            panic!("it lives")
        };
        let seen = [resource("StringLike", json!(["a/*"]))];
        assert_eq!(told, json!({"allowResources": seen, "status": "ok"}));
    }
}
