//! MinIO's notification stream (`ListenBucketNotification`): which objects of a bucket change, as it happens.
//!
//! What it tells is a hint and no more. After a node was restarted, the others hear nothing of what is written through it
//! for 5 seconds, and their pings go on. MinIO's builds from October 2025 on hold everything back, headers and pings
//! too, until 4 KiB have come together.

use std::time::Duration;

use percent_encoding::percent_decode_str;
use reqwest::{Method, Response};
use serde::Deserialize;
use url::Url;

use super::{Minio, MinioError};

/// In the seconds that MinIO counts in.
const PING_EVERY: &str = "1";

/// Who hears nothing for so long hears nothing any more.
const SILENCE_LIMIT: Duration = Duration::from_secs(10);

/// An event is of about 1 KiB.
const MAX_LINE_BYTES: usize = 64 << 10;

const WHAT: &str = "ListenBucketNotification";

/// The events of a bucket from some moment on.
pub struct Events {
    response: Response,
    /// What has come and was not told yet.
    received: Vec<u8>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Line {
    /// Nothing in a ping.
    records: Option<Vec<Record>>,
}

#[derive(Deserialize)]
struct Record {
    s3: Entity,
}

#[derive(Deserialize)]
struct Entity {
    object: Object,
}

#[derive(Deserialize)]
struct Object {
    key: String,
}

impl Minio {
    pub async fn events(&self, bucket: &str) -> Result<Events, MinioError> {
        let request = self.events_url(bucket).and_then(|url| self.signed(&Method::GET, url, "us-east-1", &[]));
        let request = request.ok_or_else(|| away("the request cannot be signed"))?;
        let response = tokio::time::timeout(SILENCE_LIMIT, self.http.execute(request)).await;
        let response = response.map_err(|_| away("silence"))?;
        let response = response.and_then(Response::error_for_status);
        let response = response.map_err(|error| away(&error.without_url().to_string()))?;
        Ok(Events { response, received: Vec::new() })
    }

    fn events_url(&self, bucket: &str) -> Option<Url> {
        let mut url = self.url().join(bucket).ok()?;
        let events = ["s3:ObjectCreated:*", "s3:ObjectRemoved:*"].map(|event| ("events", event));
        url.query_pairs_mut().append_pair("ping", PING_EVERY).extend_pairs(events);
        Some(url)
    }
}

impl Events {
    /// The keys of the objects of the next event; none of a ping. After an error there are no more.
    pub async fn next(&mut self) -> Result<Vec<String>, MinioError> {
        loop {
            if let Some(end) = self.received.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.received.drain(..=end).collect();
                return keys(&line);
            }
            let chunk = tokio::time::timeout(SILENCE_LIMIT, self.response.chunk()).await;
            let chunk = chunk.map_err(|_| away("silence"))?.map_err(|_| away("it breaks off"))?;
            self.received.extend_from_slice(&chunk.ok_or_else(|| away("it has ended"))?);
            if self.received.len() > MAX_LINE_BYTES {
                return Err(away("a line is too long"));
            }
        }
    }
}

fn keys(line: &[u8]) -> Result<Vec<String>, MinioError> {
    let line: Line = serde_json::from_slice(line).map_err(|_| away("a line that is no event"))?;
    let key = |record: Record| percent_decode_str(&record.s3.object.key).decode_utf8_lossy().into_owned();
    Ok(line.records.into_iter().flatten().map(key).collect())
}

fn away(reason: &str) -> MinioError {
    MinioError::Unavailable { what: WHAT.into(), reason: reason.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_an_event_or_a_ping() {
        let event = br#"{"Records":[{"eventName":"s3:ObjectCreated:Put","s3":{"object":{"key":"users%2Fa.json"}}}]}"#;
        assert_eq!(keys(event).unwrap(), ["users/a.json"]);
        assert!(keys(b" {\"Records\":null}\n").unwrap().is_empty());
        assert!(keys(b"<html>").is_err());
    }
}
