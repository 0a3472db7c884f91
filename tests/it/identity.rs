//! Who is asking is found out once, correctly, and an outage is never taken for a bad token.

mod cache;
pub mod issuer;
mod jwt;
mod jwt_keys;
mod kbase;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use jiff::Timestamp;
use lakepass::{
    Clock,
    identity::{AuthError, Token, Username},
};

/// The status that a caller gets. No wildcard: a new error must be decided on here as well.
fn status(error: &AuthError) -> u16 {
    match error {
        AuthError::Invalid(_) | AuthError::UnknownIssuer(_) => 401,
        AuthError::AccountDisabled
        | AuthError::RolesMissing { .. }
        | AuthError::MfaMissing { .. }
        | AuthError::UnusableUsername { .. } => 403,
        AuthError::TooManyWrong { .. } => 429,
        AuthError::Unavailable { .. } => 503,
    }
}

/// A clock that stands still until it is told.
struct TestClock(Mutex<Timestamp>);

impl TestClock {
    fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new(start())))
    }

    fn advance(&self, by: Duration) -> Timestamp {
        let mut now = self.0.lock().unwrap();
        *now += by;
        *now
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap()
    }
}

/// When the tests begin. Far from the machine's own time, so that nobody reads that one unnoticed.
fn start() -> Timestamp {
    "2031-05-06T07:08:09Z".parse().unwrap()
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn user(name: &str) -> Username {
    name.parse().unwrap()
}

/// Thirty-two characters, as KBase's are.
fn opaque_token() -> Token {
    Token::parse("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567").unwrap()
}

fn set(names: &[&str]) -> std::collections::BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}
