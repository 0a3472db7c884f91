//! KBase's auth service: opaque tokens, asked about at `/api/V2/token` and `/api/V2/me`.
//!
//! Knows that service's answers and error codes. What it does not recognise is an outage: a broken proxy in front of the
//! service must never look like everybody's tokens having been revoked.

use std::{collections::BTreeSet, fmt, str::FromStr, time::Duration};

use async_trait::async_trait;
use jiff::Timestamp;
use reqwest::{Client, StatusCode, header};
use serde::{Deserialize, de::DeserializeOwned};
use url::Url;

use super::{
    AuthError, Authenticator, SetupError, Token, Username, Validated,
    fetch::{self, FetchError},
    roles::RoleRules,
    time_until,
};

/// The longest that a validation takes. Both calls run at the same time, each with this limit.
pub const TIME_LIMIT: Duration = Duration::from_secs(2);

const MAX_BODY_BYTES: usize = 64 * 1024;

/// Which KBase auth service is asked, and what it must say.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KbaseConfig {
    pub url: KbaseUrl,
    /// Custom roles without which nobody gets in: all of them.
    #[serde(default)]
    pub required_roles: BTreeSet<String>,
    /// Custom roles that make an administrator: any of them.
    #[serde(default)]
    pub admin_roles: BTreeSet<String>,
    /// Only tokens that were made with multi-factor authentication. A server too old to say refuses everybody.
    #[serde(default)]
    pub require_mfa: bool,
}

/// Where the auth service is, such as `https://kbase.us/services/auth`.
///
/// - The scheme is `http` or `https`; the host is there.
/// - It has no user, password, query or fragment.
/// - Its path ends at a slash, so that an endpoint can be appended.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct KbaseUrl(Url);

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the URL of an auth service is http or https, with a host, and without user, password, query and fragment")]
pub struct KbaseUrlError;

/// Asks a KBase auth service. Keeps its connections; remembers no token.
pub struct KbaseAuthenticator {
    client: Client,
    root_url: Url,
    token_url: Url,
    me_url: Url,
    rules: RoleRules,
    mfa: MfaRule,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum MfaRule {
    Required,
    Optional,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct TokenAnswer {
    user: String,
    /// Milliseconds since the epoch.
    expires: i64,
    /// Milliseconds.
    cachefor: u64,
    /// Absent from older servers.
    mfa: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct MeAnswer {
    user: String,
    customroles: BTreeSet<String>,
}

/// What the service says of itself. Whatever else answers is not it.
#[derive(Deserialize)]
struct RootAnswer {
    #[serde(rename = "servertime")]
    _servertime: i64,
}

#[derive(Deserialize)]
struct ErrorAnswer {
    error: ErrorDetail,
}

#[derive(Deserialize)]
struct ErrorDetail {
    appcode: Option<i64>,
}

impl KbaseAuthenticator {
    pub fn new(config: KbaseConfig) -> Result<Self, SetupError> {
        Ok(Self {
            client: fetch::client(TIME_LIMIT).map_err(|error| SetupError::HttpClient(error.to_string()))?,
            root_url: config.url.endpoint(""),
            token_url: config.url.endpoint("api/V2/token"),
            me_url: config.url.endpoint("api/V2/me"),
            rules: RoleRules { required: config.required_roles, admin: config.admin_roles },
            mfa: if config.require_mfa { MfaRule::Required } else { MfaRule::Optional },
        })
    }

    async fn ask<T: DeserializeOwned>(&self, url: &Url, token: &Token) -> Result<T, AuthError> {
        let (status, body) = self.fetch(url, token).await.map_err(|error| unavailable(url.path(), &error))?;
        interpret(url.path(), status, &body)
    }

    async fn fetch(&self, url: &Url, token: &Token) -> Result<(StatusCode, Vec<u8>), FetchError> {
        // The token goes raw, without `Bearer`. Marked as sensitive, so that nothing below us prints it.
        let mut value = header::HeaderValue::from_str(token.expose_secret())
            .map_err(|_| FetchError::Transport("the token does not fit into a header".to_owned()))?;
        value.set_sensitive(true);
        let request = self
            .client
            .get(url.clone())
            .header(header::AUTHORIZATION, value)
            .header(header::ACCEPT, "application/json");
        let response = request.send().await.map_err(fetch::transport)?;
        Ok((response.status(), fetch::body(response, MAX_BODY_BYTES).await?))
    }
}

#[async_trait]
impl Authenticator for KbaseAuthenticator {
    async fn authenticate(&self, token: &Token, now: Timestamp) -> Result<Validated, AuthError> {
        let answers = tokio::join!(self.ask(&self.token_url, token), self.ask(&self.me_url, token));
        let (token_answer, me) = both(answers)?;
        judge(token_answer, me, &self.rules, self.mfa, now)
    }

    async fn is_ready(&self, _now: Timestamp) -> Result<(), AuthError> {
        let request = self.client.get(self.root_url.clone()).header(header::ACCEPT, "application/json");
        let about = async {
            let answer = request.send().await.map_err(fetch::transport)?;
            if answer.status() != StatusCode::OK {
                return Err(FetchError::Status(answer.status()));
            }
            fetch::json::<RootAnswer>(&fetch::body(answer, MAX_BODY_BYTES).await?)
        };
        about.await.map(|_| ()).map_err(|error| unavailable("/", &error))
    }
}

impl KbaseUrl {
    fn endpoint(&self, path: &str) -> Url {
        let mut url = self.0.clone();
        url.set_path(&format!("{}{path}", self.0.path()));
        url
    }
}

impl FromStr for KbaseUrl {
    type Err = KbaseUrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut url = Url::parse(text).map_err(|_| KbaseUrlError)?;
        let plain = matches!(url.scheme(), "http" | "https")
            && url.has_host()
            && url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none();
        if !plain {
            return Err(KbaseUrlError);
        }
        if !url.path().ends_with('/') {
            url.set_path(&format!("{}/", url.path()));
        }
        Ok(Self(url))
    }
}

impl TryFrom<String> for KbaseUrl {
    type Error = KbaseUrlError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl fmt::Display for KbaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What an answer means. The table in the service's documentation, and an outage for all that is not in it.
fn interpret<T: DeserializeOwned>(path: &str, status: StatusCode, body: &[u8]) -> Result<T, AuthError> {
    if status == StatusCode::OK {
        return fetch::json(body).map_err(|error| unavailable(path, &error));
    }
    // A 401 without the service's own code is somebody else's: a gateway that wants a login, say.
    let appcode = fetch::json::<ErrorAnswer>(body).ok().and_then(|answer| answer.error.appcode);
    match (status.as_u16(), appcode) {
        (401, Some(10020)) => Err(AuthError::Invalid("KBase does not know it, or it has expired")),
        (403, Some(20010)) => Err(AuthError::AccountDisabled),
        (_, Some(appcode)) => Err(unavailable(path, &format_args!("unexpected status {status}, appcode {appcode}"))),
        (_, None) => Err(unavailable(path, &FetchError::Status(status))),
    }
}

/// Both answers, or the one refusal that says most. What the service said of the token outweighs what it failed to say;
/// a disabled account's tokens are deleted, so that one endpoint may say "disabled" while the other says "invalid".
fn both<T, M>(answers: (Result<T, AuthError>, Result<M, AuthError>)) -> Result<(T, M), AuthError> {
    match answers {
        (Ok(token), Ok(me)) => Ok((token, me)),
        (Err(AuthError::AccountDisabled), _) | (_, Err(AuthError::AccountDisabled)) => Err(AuthError::AccountDisabled),
        (Err(refusal @ AuthError::Invalid(_)), _) | (_, Err(refusal @ AuthError::Invalid(_))) => Err(refusal),
        (Err(outage), _) | (_, Err(outage)) => Err(outage),
    }
}

fn judge(
    token: TokenAnswer,
    me: MeAnswer,
    rules: &RoleRules,
    mfa: MfaRule,
    now: Timestamp,
) -> Result<Validated, AuthError> {
    if token.user != me.user {
        return Err(unavailable("/api/V2", &"the two endpoints name two different users for one token"));
    }
    let username: Username =
        token.user.parse().map_err(|_| unavailable("/api/V2", &"the user's name is not one that KBase can issue"))?;
    let expires_at = Timestamp::from_millisecond(token.expires)
        .map_err(|_| unavailable("/api/V2", &"the token's expiry is no point in time"))?;
    if expires_at <= now {
        return Err(AuthError::Invalid("it has expired"));
    }
    let identity = rules.admit(username, me.customroles, expires_at)?;
    if mfa == MfaRule::Required && token.mfa.as_deref() != Some("Used") {
        return Err(AuthError::MfaMissing { user: identity.username });
    }
    let trust_for = Duration::from_millis(token.cachefor).min(time_until(expires_at, now));
    Ok(Validated { identity, trust_for })
}

fn unavailable(path: &str, reason: &dyn fmt::Display) -> AuthError {
    AuthError::Unavailable { service: "the KBase auth service", reason: format!("{path}: {reason}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error_body(appcode: u32) -> Vec<u8> {
        serde_json::to_vec(&serde_json::json!({"error": {"httpcode": 1, "appcode": appcode, "apperror": "x"}})).unwrap()
    }

    fn answers(mfa: Option<&str>, roles: &[&str]) -> (TokenAnswer, MeAnswer) {
        let mfa = mfa.map(str::to_owned);
        let token = TokenAnswer { user: "whee".into(), expires: 2_000_000, cachefor: 300_000, mfa };
        let customroles = roles.iter().map(|role| (*role).to_owned()).collect();
        (token, MeAnswer { user: "whee".into(), customroles })
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn endpoints_are_appended_to_the_base() {
        for (base, endpoint) in [
            ("https://kbase.us/services/auth", "https://kbase.us/services/auth/api/V2/token"),
            ("https://kbase.us/services/auth/", "https://kbase.us/services/auth/api/V2/token"),
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080/api/V2/token"),
        ] {
            assert_eq!(base.parse::<KbaseUrl>().unwrap().endpoint("api/V2/token").as_str(), endpoint);
        }
    }

    #[test]
    fn urls_that_are_no_auth_service() {
        for url in
            ["", "kbase.us", "ftp://kbase.us", "https://u@kbase.us", "https://u:p@kbase.us", "https://kbase.us/?a"]
        {
            assert_eq!(url.parse::<KbaseUrl>(), Err(KbaseUrlError), "{url:?}");
        }
        assert!("file:///etc".parse::<KbaseUrl>().is_err());
        assert!("https://kbase.us/#a".parse::<KbaseUrl>().is_err());
    }

    #[test]
    fn only_the_services_own_codes_are_refusals() {
        let invalid = AuthError::Invalid("KBase does not know it, or it has expired");
        let cases = [
            (401, error_body(10020), Some(invalid)),
            (403, error_body(20010), Some(AuthError::AccountDisabled)),
            (400, error_body(10010), None),
            (401, error_body(10010), None),
            (401, error_body(20010), None),
            (401, b"<html>log in</html>".to_vec(), None),
            (401, Vec::new(), None),
            (403, error_body(10020), None),
            (403, b"{}".to_vec(), None),
            (404, error_body(10020), None),
            (429, Vec::new(), None),
            (302, Vec::new(), None),
            (204, Vec::new(), None),
            (500, error_body(10020), None),
            (503, Vec::new(), None),
            (200, b"not json".to_vec(), None),
            (200, b"{}".to_vec(), None),
            (200, br#"{"user":"whee"}"#.to_vec(), None),
            (200, br#"{"user":"whee","expires":"SECRET","cachefor":1}"#.to_vec(), None),
            (200, br#"{"user":"whee","expires":1,"cachefor":-1}"#.to_vec(), None),
        ];
        for (status, body, refusal) in cases {
            let status = StatusCode::from_u16(status).unwrap();
            let error = interpret::<TokenAnswer>("/api/V2/token", status, &body).unwrap_err();
            assert!(!error.to_string().contains("SECRET"), "{error}");
            match refusal {
                Some(refusal) => assert_eq!(error, refusal),
                None => assert!(matches!(error, AuthError::Unavailable { .. }), "{status}: {error}"),
            }
        }
    }

    #[test]
    fn the_documented_answer_is_understood() {
        let body = br#"{"type":"Login","id":"x","expires":1,"created":2,"name":null,"user":"whee","custom":{},"cachefor":3,"mfa":"Used"}"#;
        let answer: TokenAnswer = interpret("/", StatusCode::OK, body).unwrap();
        assert_eq!(answer, TokenAnswer { user: "whee".into(), expires: 1, cachefor: 3, mfa: Some("Used".into()) });
    }

    #[test]
    fn a_refusal_outweighs_an_outage() {
        let invalid = || AuthError::Invalid("no");
        let outage = || unavailable("/", &"down");
        let disabled = || AuthError::AccountDisabled;
        for (token, me, expected) in [
            (Err(invalid()), Err(disabled()), disabled()),
            (Err(outage()), Err(disabled()), disabled()),
            (Err(invalid()), Err(outage()), invalid()),
            (Err(outage()), Err(invalid()), invalid()),
            (Ok(()), Err(invalid()), invalid()),
            (Err(outage()), Ok(()), outage()),
            (Ok(()), Err(outage()), outage()),
        ] {
            assert_eq!(both((token, me)), Err(expected));
        }
    }

    #[test]
    fn multi_factor_authentication_is_what_the_server_says_it_is() {
        let rules = RoleRules::default();
        for (mfa, required, admitted) in [
            (Some("Used"), MfaRule::Required, true),
            (Some("NotUsed"), MfaRule::Required, false),
            (Some("Unknown"), MfaRule::Required, false),
            (Some("used"), MfaRule::Required, false),
            (None, MfaRule::Required, false),
            (Some("NotUsed"), MfaRule::Optional, true),
            (None, MfaRule::Optional, true),
        ] {
            let (token, me) = answers(mfa, &[]);
            let judged = judge(token, me, &rules, required, at(1_000));
            match admitted {
                true => assert_eq!(judged.unwrap().trust_for, Duration::from_secs(300)),
                false => assert!(matches!(judged, Err(AuthError::MfaMissing { user }) if user.as_str() == "whee")),
            }
        }
    }

    #[test]
    fn trust_ends_with_the_token() {
        let judged_at = |second| {
            let (token, me) = answers(None, &[]);
            judge(token, me, &RoleRules::default(), MfaRule::Optional, at(second))
        };
        assert_eq!(judged_at(1_900).unwrap().trust_for, Duration::from_secs(100));
        assert_eq!(judged_at(1_000).unwrap().identity.expires_at, at(2_000));
        assert_eq!(judged_at(2_000), Err(AuthError::Invalid("it has expired")));
    }

    #[test]
    fn answers_that_cannot_be_true_are_outages() {
        let (token, me) = answers(None, &[]);
        let other_user = MeAnswer { user: "other".into(), ..me.clone() };
        let expiry = TokenAnswer { expires: i64::MAX, ..token.clone() };
        let hostile =
            (TokenAnswer { user: "../x".into(), ..token.clone() }, MeAnswer { user: "../x".into(), ..me.clone() });
        for (token, me) in [(token, other_user), (expiry, me), hostile] {
            let judged = judge(token, me, &RoleRules::default(), MfaRule::Optional, at(1_000));
            assert!(matches!(judged, Err(AuthError::Unavailable { .. })), "{judged:?}");
        }
    }
}
