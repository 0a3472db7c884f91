//! Asking the broker for session keys, as any client of its container credentials endpoint would.

use std::time::Duration;

use reqwest::{Client, Response, StatusCode, header, redirect};
use serde::Deserialize;
use url::Url;

use super::{keys::Keys, token_source::NoToken};
use crate::identity::{Token, fetch};

/// The longest that an answer may take, besides what it was asked to wait.
const TIME_LIMIT: Duration = Duration::from_secs(10);
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
const MAX_BODY_BYTES: usize = 64 << 10;
/// The longest that a broker may put us off.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(300);
/// The longest explanation of the broker's that is passed on, in characters.
const MAX_MESSAGE: usize = 500;

/// The broker, and what it is asked for.
///
/// - No redirect is followed: a token reaches the configured host and no other.
/// - Every answer is bounded in time and size.
pub struct BrokerClient {
    http: Client,
    url: Url,
}

/// What was wrong with the configured address. Never quotes it: there may be a password in it.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("the broker's URL is an http or https address, without a user name, a query or a fragment")]
    Url,
    #[error("no HTTPS can be spoken: {0}")]
    Http(String),
}

/// Keys that we have, and how long the broker is to wait for others, at most a minute.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    pub tag: &'a str,
    pub wait: Duration,
}

/// Keys that the broker gave, and how it tells them from others.
pub struct Fetched {
    pub keys: Keys,
    pub tag: Option<String>,
}

/// Why there are no keys. For logs and for callers: it never holds a token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    #[error(transparent)]
    NoToken(#[from] NoToken),
    /// Another time it may be otherwise.
    #[error("the broker gives no keys now: {reason}")]
    Away { reason: String, retry_after: Option<Duration> },
    /// With this token and request it will stay so.
    #[error("the broker refuses ({status}, {code}): {message}")]
    Refused { status: StatusCode, code: String, message: String },
}

/// An error as the broker spells it for SDKs.
#[derive(Deserialize)]
struct Explanation {
    code: String,
    message: String,
}

impl BrokerClient {
    pub fn new(broker: &Url, scope: Option<&str>, duration: Option<Duration>) -> Result<Self, ClientError> {
        let plain = broker.username().is_empty() && broker.password().is_none();
        let whole = broker.query().is_none() && broker.fragment().is_none();
        if !(matches!(broker.scheme(), "http" | "https") && plain && whole) {
            return Err(ClientError::Url);
        }
        let mut url = broker.clone();
        url.set_path(&format!("{}/aws/container-credentials", broker.path().trim_end_matches('/')));
        if let Some(scope) = scope {
            url.query_pairs_mut().append_pair("scope", scope);
        }
        if let Some(duration) = duration {
            url.query_pairs_mut().append_pair("duration_seconds", &duration.as_secs().to_string());
        }
        let http = Client::builder()
            .redirect(redirect::Policy::none())
            .connect_timeout(CONNECT_LIMIT)
            .user_agent(concat!("lakepass/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| ClientError::Http(fetch::transport(error).to_string()))?;
        Ok(Self { http, url })
    }

    /// Where and for what it asks. No secret.
    pub fn address(&self) -> &str {
        self.url.as_str()
    }

    /// The keys that the token's user may have now; or nothing, if they are still the known ones after the wait.
    pub async fn ask(&self, token: &Token, known: Option<Known<'_>>) -> Result<Option<Fetched>, FetchError> {
        let mut authorization = header::HeaderValue::from_str(&format!("Bearer {}", token.expose_secret()))
            .expect("a token is visible ASCII");
        authorization.set_sensitive(true);
        let request = self.http.get(self.url.clone()).header(header::AUTHORIZATION, authorization);
        let request = match known {
            Some(Known { tag, wait }) => {
                let request = request.query(&[("wait", wait.as_secs())]).header(header::IF_NONE_MATCH, tag);
                request.timeout(wait + TIME_LIMIT)
            }
            None => request.timeout(TIME_LIMIT),
        };
        let unanswered = |error: fetch::FetchError| FetchError::away(error);
        let response = request.send().await.map_err(fetch::transport).map_err(unanswered)?;
        let (status, retry_after) = (response.status(), retry_after(&response));
        let tag = response.headers().get(header::ETAG).and_then(|tag| tag.to_str().ok()).map(str::to_owned);
        if status == StatusCode::NOT_MODIFIED {
            return Ok(None);
        }
        let body = zeroize::Zeroizing::new(fetch::body(response, MAX_BODY_BYTES).await.map_err(unanswered)?);
        if status == StatusCode::OK {
            let keys = fetch::json(&body).map_err(unanswered)?;
            return Ok(Some(Fetched { keys, tag }));
        }
        let (code, message) = explanation(&body, token);
        if is_passing(status) {
            return Err(FetchError::Away { reason: format!("{status}: {message}"), retry_after });
        }
        Err(FetchError::Refused { status, code, message })
    }
}

impl FetchError {
    fn away(reason: impl ToString) -> Self {
        Self::Away { reason: reason.to_string(), retry_after: None }
    }
}

fn is_passing(status: StatusCode) -> bool {
    status.is_server_error() || matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS)
}

fn retry_after(response: &Response) -> Option<Duration> {
    let seconds = response.headers().get(header::RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds).min(MAX_RETRY_AFTER))
}

/// The broker's own words, fit to be passed on: something on the way may answer in its place, and echo what it was sent.
fn explanation(body: &[u8], token: &Token) -> (String, String) {
    let Ok(Explanation { code, message }) = serde_json::from_slice(body) else {
        return ("UnexpectedAnswer".into(), "this is not how a Lakepass broker answers: is its URL right?".into());
    };
    let fit = |text: String| -> String {
        let text = text.replace(token.expose_secret(), "[token]");
        text.chars().filter(|c| !c.is_control()).take(MAX_MESSAGE).collect()
    };
    (fit(code), fit(message))
}

#[cfg(test)]
mod tests {
    use wiremock::{
        Mock, MockServer, ResponseTemplate,
        matchers::{header, method, path, query_param},
    };

    use super::*;

    async fn answered(answer: ResponseTemplate) -> Result<Option<Fetched>, FetchError> {
        let server = MockServer::start().await;
        Mock::given(method("GET")).respond_with(answer).mount(&server).await;
        let client = BrokerClient::new(&server.uri().parse().unwrap(), None, None).unwrap();
        client.ask(&Token::parse("THETOKEN").unwrap(), None).await
    }

    async fn error(answer: ResponseTemplate) -> FetchError {
        answered(answer).await.err().unwrap()
    }

    fn keys() -> ResponseTemplate {
        let body = r#"{"AccessKeyId":"ID","SecretAccessKey":"s","Token":"t","Expiration":"2030-01-01T00:00:00Z"}"#;
        ResponseTemplate::new(200).set_body_raw(body, "application/json").insert_header("etag", "\"ID\"")
    }

    #[tokio::test]
    async fn it_asks_as_the_broker_wants_to_be_asked() {
        let server = MockServer::start().await;
        let asked = || {
            Mock::given(path("/below/aws/container-credentials"))
                .and(header("authorization", "Bearer THETOKEN"))
                .and(query_param("scope", "[{\"path\":\"a b&c\"}]"))
                .and(query_param("duration_seconds", "900"))
        };
        asked()
            .and(query_param("wait", "50"))
            .and(header("if-none-match", "\"ID\""))
            .respond_with(ResponseTemplate::new(304))
            .with_priority(1)
            .mount(&server)
            .await;
        asked().respond_with(keys()).mount(&server).await;
        let url = format!("{}/below/", server.uri()).parse().unwrap();
        let client = BrokerClient::new(&url, Some("[{\"path\":\"a b&c\"}]"), Some(Duration::from_secs(900))).unwrap();
        let token = Token::parse("THETOKEN").unwrap();
        let fetched = client.ask(&token, None).await.unwrap().unwrap();
        assert_eq!((fetched.keys.access_key_id.as_str(), fetched.tag.as_deref()), ("ID", Some("\"ID\"")));
        let known = Known { tag: "\"ID\"", wait: Duration::from_secs(50) };
        assert!(client.ask(&token, Some(known)).await.unwrap().is_none());
    }

    #[test]
    fn an_address_that_is_none_of_a_broker_is_refused_and_not_quoted() {
        for bad in ["ftp://x/", "http://me:SECRET@x/", "http://me@x/", "http://x/?token=SECRET", "http://x/#SECRET"] {
            let error = BrokerClient::new(&bad.parse().unwrap(), None, None).err().unwrap().to_string();
            assert!(!error.contains("SECRET"), "{error}");
        }
    }

    #[tokio::test]
    async fn a_refusal_is_the_brokers_own_words_and_never_the_token() {
        let body = r#"{"code":"NotAdmitted","message":"no THETOKEN\n here"}"#;
        let refused = error(ResponseTemplate::new(403).set_body_string(body)).await;
        let (code, message) = ("NotAdmitted".to_owned(), "no [token] here".to_owned());
        assert_eq!(refused, FetchError::Refused { status: StatusCode::FORBIDDEN, code, message });
        for (status, body) in [(404, "<html>THETOKEN</html>"), (401, ""), (307, "{}")] {
            let text = error(ResponseTemplate::new(status).set_body_string(body)).await.to_string();
            assert!(text.contains("is its URL right") && !text.contains("THETOKEN"), "{text}");
        }
    }

    #[tokio::test]
    async fn what_may_pass_is_no_refusal() {
        for status in [408, 429, 500, 502, 503] {
            let answer = ResponseTemplate::new(status).insert_header("retry-after", "7");
            let FetchError::Away { retry_after, .. } = error(answer).await else { panic!("{status}") };
            assert_eq!(retry_after, Some(Duration::from_secs(7)), "{status}");
        }
        let put_off = error(ResponseTemplate::new(503).insert_header("retry-after", "99999999")).await;
        assert!(matches!(put_off, FetchError::Away { retry_after: Some(MAX_RETRY_AFTER), .. }));
    }

    #[tokio::test]
    async fn a_redirect_is_not_followed_and_a_strange_or_huge_answer_is_told_without_being_quoted() {
        let elsewhere = MockServer::start().await;
        Mock::given(method("GET")).respond_with(keys()).expect(0).mount(&elsewhere).await;
        let to = ResponseTemplate::new(302).insert_header("location", elsewhere.uri().as_str());
        assert!(matches!(error(to).await, FetchError::Refused { .. }));
        let huge = "x".repeat(MAX_BODY_BYTES + 1);
        for body in ["SECRET", "{\"AccessKeyId\": \"SECRET\"}", &huge] {
            let text = error(ResponseTemplate::new(200).set_body_string(body)).await.to_string();
            assert!(text.contains("no keys now") && !text.contains("SECRET"), "{text}");
        }
    }
}
