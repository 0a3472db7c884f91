//! The console's cookie, tightened.

use std::{fmt, time::Duration};

use axum::http::{HeaderMap, HeaderValue, header};
use secrecy::{ExposeSecret, SecretString};

use super::UI;

/// What the console calls its cookie, and reads it by.
const NAME: &str = "token";

/// The value of the console's cookie: session keys, sealed by the console. It is as good as the keys.
///
/// - It has 1 to 8192 bytes, of those that a cookie's value may have (RFC 6265, `cookie-octet`).
/// - It is never printed.
pub(super) struct ConsoleToken(SecretString);

impl ConsoleToken {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let octet = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b',' | b';' | b'\\');
        let legal = (1..=8192).contains(&text.len()) && text.bytes().all(octet);
        legal.then(|| Self(SecretString::from(text)))
    }

    /// The one that a browser sends. It sends the one with the longest path first, which is ours.
    pub(super) fn sent(headers: &HeaderMap) -> Option<Self> {
        let lines = headers.get_all(header::COOKIE).iter().filter_map(|line| line.to_str().ok());
        let mut values = lines.flat_map(|line| line.split(';')).filter_map(|pair| value_of(pair.trim()));
        values.next().and_then(Self::parse)
    }

    /// The one that the console sets.
    pub(super) fn set(headers: &HeaderMap) -> Option<Self> {
        let lines = headers.get_all(header::SET_COOKIE).iter().filter_map(|line| line.to_str().ok());
        let mut values = lines.filter_map(|line| value_of(line.split(';').next().unwrap_or_default().trim()));
        values.next().and_then(Self::parse)
    }

    /// For the console, as the only cookie that it gets.
    pub(super) fn to_console(&self) -> HeaderValue {
        sensitive(&format!("{NAME}={}", self.0.expose_secret()))
    }

    /// For the browser: for our path to the console alone, out of the reach of scripts and of other sites, and for as long as
    /// the keys live.
    pub(super) fn to_browser(&self, life: Duration, transport: Transport) -> HeaderValue {
        let secure = transport.attribute();
        let attributes = format!("Path={UI}; Max-Age={}; HttpOnly; SameSite=Strict{secure}", life.as_secs());
        sensitive(&format!("{NAME}={}; {attributes}", self.0.expose_secret()))
    }
}

/// Takes the cookie away from the browser.
pub(super) fn none_any_more(transport: Transport) -> HeaderValue {
    let secure = transport.attribute();
    sensitive(&format!("{NAME}=; Path={UI}; Max-Age=0; HttpOnly; SameSite=Strict{secure}"))
}

/// How the browser reaches us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transport {
    Https,
    Plain,
}

impl Transport {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        if super::provenance::is_https(headers) { Self::Https } else { Self::Plain }
    }

    fn attribute(self) -> &'static str {
        match self {
            Self::Https => "; Secure",
            Self::Plain => "",
        }
    }
}

impl fmt::Debug for ConsoleToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ConsoleToken([redacted])")
    }
}

fn value_of(pair: &str) -> Option<&str> {
    pair.split_once('=').filter(|(name, _)| *name == NAME).map(|(_, value)| value)
}

/// All of its characters were checked.
fn sensitive(text: &str) -> HeaderValue {
    let mut value = HeaderValue::from_str(text).expect("it is visible ASCII and spaces");
    value.set_sensitive(true);
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(line: &str) -> Option<String> {
        let headers = HeaderMap::from_iter([(header::COOKIE, line.parse().unwrap())]);
        ConsoleToken::sent(&headers).map(|token| token.0.expose_secret().to_owned())
    }

    #[test]
    fn only_the_consoles_own_cookie_is_taken_and_the_first_of_several() {
        assert_eq!(sent("a=1; token=abc+/==; b=2").as_deref(), Some("abc+/=="));
        assert_eq!(sent("token=ours; token=other").as_deref(), Some("ours"));
        for none in ["", "a=1", "token", "token=", "tokens=a", "xtoken=a", "token=a b", "token=\"a\"", "token=a,b"] {
            assert_eq!(sent(none), None, "{none}");
        }
    }

    #[test]
    fn the_browser_is_given_a_tight_one() {
        let token = ConsoleToken::parse("SECRET").unwrap();
        let value = token.to_browser(Duration::from_secs(900), Transport::Https);
        assert_eq!(value, "token=SECRET; Path=/minio-ui/; Max-Age=900; HttpOnly; SameSite=Strict; Secure");
        assert!(!format!("{token:?} {value:?} {:?}", token.to_console()).contains("SECRET"));
        assert!(!token.to_browser(Duration::ZERO, Transport::Plain).to_str().unwrap().contains("Secure"));
        assert!(none_any_more(Transport::Plain).to_str().unwrap().starts_with("token=; Path=/minio-ui/; Max-Age=0;"));
    }
}
