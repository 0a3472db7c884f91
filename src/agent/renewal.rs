//! Keeping keys at hand: asking for other ones all the time, and bearing with a broker that is away.

use std::{convert::Infallible, pin::pin, sync::Arc, time::Duration};

use jiff::Timestamp;
use tokio::{sync::watch, time::Instant};

use super::{
    client::{BrokerClient, FetchError, Fetched, Known},
    keys::Keys,
    token_source::TokenSource,
};
use crate::Clock;

/// How long the broker is to wait for news.
const WAIT: Duration = Duration::from_secs(50);
/// The first pause after a failure is at most this, and each further one at most twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(20);
/// The pause when asking again will not help soon: a refusal, or a broker that does not wait for news.
const SLOW: Duration = Duration::from_secs(30);
/// Whoever answers sooner than this that there is nothing new did not wait for it.
const DID_NOT_WAIT: Duration = Duration::from_secs(10);
/// Between two questions, whatever the answers are.
const LEAST_PAUSE: Duration = Duration::from_millis(500);

/// What the agent has.
#[derive(Default)]
pub struct Held {
    /// The newest keys, dead or alive.
    keys: Option<Arc<Keys>>,
    /// Why there are no newer ones.
    trouble: Option<FetchError>,
}

/// What whoever asks now is to be told.
pub enum Answer {
    Keys(Arc<Keys>),
    Trouble(FetchError),
    /// The broker has not answered yet.
    NotYet,
}

impl Held {
    /// Keys as long as they live, whatever the trouble.
    pub fn answer(&self, now: Timestamp) -> Answer {
        match (&self.keys, &self.trouble) {
            (Some(keys), _) if keys.are_alive(now) => Answer::Keys(keys.clone()),
            (_, Some(trouble)) => Answer::Trouble(trouble.clone()),
            (_, None) => Answer::NotYet,
        }
    }

    fn has(&self, other: &Keys) -> bool {
        self.keys.as_ref().is_some_and(|keys| keys.access_key_id == other.access_key_id)
    }
}

/// Keeps the newest keys in `held`, for ever.
pub async fn renew(
    client: BrokerClient,
    tokens: TokenSource,
    clock: Arc<dyn Clock>,
    held: watch::Sender<Held>,
) -> Infallible {
    let (mut tag, mut failures) = (None::<String>, 0);
    loop {
        let asked = Instant::now();
        let token = tokens.read();
        let digest = token.as_ref().ok().map(|token| token.sha256());
        let mut other_token = pin!(tokens.other_than(digest));
        let known = tag.as_deref().filter(|_| matches!(held.borrow().answer(clock.now()), Answer::Keys(_)));
        let known = known.map(|tag| Known { tag, wait: WAIT });
        let asking = async { client.ask(&*token?, known).await };
        let outcome = tokio::select! {
            outcome = asking => outcome,
            () = &mut other_token => {
                tracing::info!("another token is there");
                continue;
            }
        };
        failures = if outcome.is_ok() { 0 } else { failures + 1 };
        let pause = pause(&outcome, &held.borrow(), asked.elapsed(), failures, rand::random_range(0.0..1.0));
        if let Ok(Some(fetched)) = &outcome {
            tag.clone_from(&fetched.tag);
        }
        tell(&held, outcome);
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = other_token => tracing::info!("another token is there"),
        }
    }
}

/// How long not to ask again. `chance` is from 0 to 1: the many who lost a broker are not to come back all at once.
fn pause(
    outcome: &Result<Option<Fetched>, FetchError>,
    held: &Held,
    took: Duration,
    failures: u32,
    chance: f64,
) -> Duration {
    match outcome {
        Ok(Some(fetched)) if fetched.tag.is_some() && !held.has(&fetched.keys) => LEAST_PAUSE,
        Ok(None) if took >= DID_NOT_WAIT => LEAST_PAUSE,
        // It cannot tell when there are others: then it is asked now and then.
        Ok(Some(_) | None) => SLOW,
        Err(FetchError::Away { retry_after, .. }) => {
            let most = FIRST_PAUSE * 2_u32.saturating_pow(failures.saturating_sub(1).min(16));
            (retry_after.unwrap_or_default() + most.min(LONGEST_PAUSE).mul_f64(chance)).max(LEAST_PAUSE / 2)
        }
        Err(FetchError::Refused { .. } | FetchError::NoToken(_)) => SLOW.mul_f64(0.75 + chance / 2.0),
    }
}

/// Puts the outcome where the server finds it, and says in the log what has changed.
fn tell(held: &watch::Sender<Held>, outcome: Result<Option<Fetched>, FetchError>) {
    held.send_modify(|held| match outcome {
        Ok(fetched) => {
            if held.trouble.take().is_some() {
                tracing::info!("the broker gives keys again");
            }
            if let Some(Fetched { keys, .. }) = fetched {
                if !held.has(&keys) {
                    tracing::info!(access_key = %keys.access_key_id, expires_at = %keys.expires_at, "new keys");
                }
                held.keys = Some(Arc::new(keys));
            }
        }
        Err(error) => {
            if held.trouble.as_ref() != Some(&error) {
                tracing::warn!(%error, "no newer keys");
            }
            held.trouble = Some(error);
        }
    });
}

#[cfg(test)]
mod tests {
    use reqwest::StatusCode;

    use super::*;
    use crate::agent::keys::keys_for_tests;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn fetched(id: &str, tag: Option<&str>) -> Result<Option<Fetched>, FetchError> {
        Ok(Some(Fetched { keys: keys_for_tests(id, at(1_000)), tag: tag.map(str::to_owned) }))
    }

    fn away(retry_after: Option<Duration>) -> Result<Option<Fetched>, FetchError> {
        Err(FetchError::Away { reason: "away".into(), retry_after })
    }

    fn refused() -> Result<Option<Fetched>, FetchError> {
        let (code, message) = ("NotAdmitted".into(), "no".into());
        Err(FetchError::Refused { status: StatusCode::FORBIDDEN, code, message })
    }

    fn said(held: &watch::Sender<Held>, second: i64) -> String {
        match held.borrow().answer(at(second)) {
            Answer::Keys(keys) => keys.access_key_id.clone(),
            Answer::Trouble(error) => error.to_string(),
            Answer::NotYet => "not yet".into(),
        }
    }

    #[test]
    fn keys_are_served_until_they_die_and_then_the_trouble_is_told() {
        let held = watch::Sender::new(Held::default());
        assert_eq!(said(&held, 0), "not yet");
        tell(&held, away(None));
        assert!(said(&held, 0).contains("away"));
        tell(&held, fetched("ONE", None));
        for trouble in [away(None), refused()] {
            tell(&held, trouble);
            assert_eq!(said(&held, 999), "ONE");
        }
        assert!(said(&held, 1_000).contains("NotAdmitted"));
        tell(&held, fetched("TWO", None));
        assert_eq!(said(&held, 0), "TWO");
        tell(&held, Ok(None));
        assert_eq!((said(&held, 0), said(&held, 1_000)), ("TWO".into(), "not yet".into()));
    }

    #[test]
    fn pauses_grow_to_a_limit_and_differ_by_chance() {
        let held = Held::default();
        let paused = |outcome: &Result<_, _>, failures, chance| pause(outcome, &held, Duration::ZERO, failures, chance);
        let most: Vec<u128> = (1..9).map(|n| paused(&away(None), n, 1.0).as_millis()).collect();
        assert_eq!(most, [500, 1_000, 2_000, 4_000, 8_000, 16_000, 20_000, 20_000]);
        assert_eq!(paused(&away(None), 5, 0.5), Duration::from_secs(4));
        assert_eq!(paused(&away(None), u32::MAX, 0.0), Duration::from_millis(250), "never at once");
        let put_off = away(Some(Duration::from_secs(7)));
        assert_eq!(paused(&put_off, 1, 0.0), Duration::from_secs(7));
        assert_eq!(paused(&put_off, 3, 1.0), Duration::from_secs(9));
        assert!(paused(&refused(), 1, 0.0) > Duration::from_secs(20));
    }

    #[test]
    fn who_does_not_wait_for_news_is_not_asked_all_the_time() {
        let held = watch::Sender::new(Held::default());
        let paused = |outcome: &Result<_, _>, took| pause(outcome, &held.borrow(), Duration::from_secs(took), 0, 0.5);
        assert_eq!(paused(&fetched("ONE", Some("\"ONE\"")), 0), LEAST_PAUSE);
        assert_eq!(paused(&fetched("ONE", None), 0), SLOW);
        tell(&held, fetched("ONE", None));
        assert_eq!(paused(&fetched("ONE", Some("\"ONE\"")), 50), SLOW);
        assert_eq!(paused(&Ok(None), 50), LEAST_PAUSE);
        assert_eq!(paused(&Ok(None), 1), SLOW);
    }
}
