//! Bodies and parts of the address, read with a clear word on what is wrong.

use std::time::Duration;

use axum::{
    body::Bytes,
    extract::{FromRequest, FromRequestParts, Path, Query, Request, rejection::BytesRejection},
    http::{StatusCode, request::Parts},
};
use serde::de::DeserializeOwned;

use super::{BODY_TIME_LIMIT, Problem, under_way::UnderWay};
use crate::broker::note_subject;

/// A JSON object. Nothing at all is an empty one.
pub struct Body<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let Raw(bytes) = Raw::from_request(request, state).await?;
        let json = if bytes.is_empty() { &b"{}"[..] } else { &bytes };
        // serde would take a list of the fields' values as well.
        if !json.trim_ascii_start().starts_with(b"{") {
            return Err(Problem::invalid("the body: expected an object"));
        }
        serde_json::from_slice(json)
            .map(Self)
            .map_err(|error| Problem::invalid(format!("the body: {}", unquoted(error.to_string()))))
    }
}

/// A body as it is, of bounded size and within a bounded time.
pub struct Raw(pub Bytes);

impl<S: Send + Sync> FromRequest<S> for Raw {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let under_way = request.extensions().get::<UnderWay>().cloned();
        // Who waits for whom: until the body is there, we wait for the caller.
        let wait_for = |what_comes_first| under_way.iter().for_each(|under_way| under_way.wait_for(what_comes_first));
        wait_for(BODY_TIME_LIMIT);
        let bytes = tokio::time::timeout(BODY_TIME_LIMIT, Bytes::from_request(request, state)).await;
        wait_for(Duration::ZERO);
        let slow = |_| Problem::new("slow-body", StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time");
        Ok(Self(bytes.map_err(slow)?.map_err(refused)?))
    }
}

/// serde's words, without what they quote: somebody's token may be in the wrong place.
fn unquoted(words: String) -> String {
    match words.rsplit_once(", expected ") {
        Some((_, expected)) => format!("expected {expected}"),
        None => words,
    }
}

fn refused(rejection: BytesRejection) -> Problem {
    match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => {
            Problem::new("body-too-large", StatusCode::PAYLOAD_TOO_LARGE, "the body is too large: send less at once")
        }
        _ => Problem::new("bad-body", StatusCode::BAD_REQUEST, "the body cannot be read"),
    }
}

/// The one name in the address.
pub struct Name<T>(pub T);

impl<S: Send + Sync, T> FromRequestParts<S> for Name<T>
where
    T: std::str::FromStr<Err: std::fmt::Display> + Send,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Path(text) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|_| Problem::invalid("the name in the address cannot be read"))?;
        let name = text.parse().map_err(|error: T::Err| Problem::invalid(error.to_string()))?;
        note_subject(&text);
        Ok(Self(name))
    }
}

/// The query of the address.
pub struct Params<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let query = Query::<T>::from_request_parts(parts, state).await;
        query
            .map(|Query(params)| Self(params))
            .map_err(|error| Problem::invalid(format!("the query: {}", unquoted(error.body_text()))))
    }
}
