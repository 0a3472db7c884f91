//! Asking a service over HTTP, with bounds. Knows no token's meaning; what it reports never holds a header or a body.

use std::{error::Error, time::Duration};

use reqwest::{Client, Response, StatusCode, redirect};
use serde::de::DeserializeOwned;

/// An answer that could not be had. For logs: it names what happened, never what was sent or received.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FetchError {
    #[error("no answer within the time limit")]
    TimedOut,
    #[error("{0}")]
    Transport(String),
    #[error("the answer is larger than {0} bytes")]
    TooLarge(usize),
    #[error("the answer has status {0}")]
    Status(StatusCode),
    #[error("the answer is not the JSON expected ({category} error at line {line}, column {column})")]
    Json { category: &'static str, line: usize, column: usize },
}

/// A client that follows no redirect (a token must reach the configured host and no other) and takes at most `limit` for
/// a call, its body included.
pub(crate) fn client(limit: Duration) -> Result<Client, FetchError> {
    Client::builder()
        .redirect(redirect::Policy::none())
        .timeout(limit)
        .user_agent(concat!("lakepass/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(transport)
}

/// Reads the body up to `max_bytes`. Counts what arrives: a length in the headers is only a promise.
pub(crate) async fn body(mut response: Response, max_bytes: usize) -> Result<Vec<u8>, FetchError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(transport)? {
        if body.len() + chunk.len() > max_bytes {
            return Err(FetchError::TooLarge(max_bytes));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// Parses a body. serde's own message is dropped: it quotes the text, and a broken proxy may echo a token in it.
pub(crate) fn json<T: DeserializeOwned>(body: &[u8]) -> Result<T, FetchError> {
    serde_json::from_slice(body).map_err(|error| FetchError::Json {
        category: match error.classify() {
            serde_json::error::Category::Io => "read",
            serde_json::error::Category::Syntax => "syntax",
            serde_json::error::Category::Data => "data",
            serde_json::error::Category::Eof => "end of file",
        },
        line: error.line(),
        column: error.column(),
    })
}

/// The causes of a failed call in one line, without its URL: the caller knows which service it asked.
pub(crate) fn transport(error: reqwest::Error) -> FetchError {
    if error.is_timeout() {
        return FetchError::TimedOut;
    }
    let error = error.without_url();
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    FetchError::Transport(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parse_error_does_not_quote_the_text() {
        let error = json::<u64>(br#""SECRET""#).unwrap_err().to_string();
        assert!(!error.contains("SECRET"), "{error}");
        assert!(error.contains("data error at line 1"), "{error}");
    }
}
