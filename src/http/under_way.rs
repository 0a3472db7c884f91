//! Requests under way: how long their callers wait, and what they hold meanwhile.

use std::{sync::Arc, task::Poll, time::Duration};

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use futures::future::BoxFuture;
use tokio::{
    sync::{OwnedSemaphorePermit, watch},
    time::Instant,
};

use super::Problem;
use crate::broker::for_same_request;

/// The longest that a request may take whose answer takes its time: deletions purge data, polls wait for news.
const LONGEST: Duration = Duration::from_secs(120);

/// What is known of a request under way. In its extensions.
#[derive(Clone)]
pub(super) struct UnderWay(Arc<Inner>);

struct Inner {
    /// How long the caller waits, from when the request is there as a whole.
    limit: Duration,
    /// Until when the caller waits.
    until: watch::Sender<Instant>,
    /// The user's place. It is theirs for as long as the request runs, whether anybody waits for the answer or not.
    place: std::sync::OnceLock<OwnedSemaphorePermit>,
}

impl UnderWay {
    fn begin(request: &mut Request, limit: Duration) -> (Self, watch::Receiver<Instant>) {
        let (until, deadline) = watch::channel(Instant::now() + limit);
        let this = Self(Arc::new(Inner { limit, until, place: Default::default() }));
        request.extensions_mut().insert(this.clone());
        (this, deadline)
    }

    pub fn hold(&self, place: OwnedSemaphorePermit) {
        self.0.place.set(place).ok();
    }

    /// What comes first may take so long, and does not count.
    pub fn wait_for(&self, what_comes_first: Duration) {
        self.0.until.send_replace(Instant::now() + what_comes_first + self.0.limit);
    }
}

/// Answers soon, or says that it goes on: what was asked for is done to its end in a task of its own, and who asks again finds
/// it done.
pub(super) async fn answer_soon(State(limit): State<Duration>, mut request: Request, next: Next) -> Response {
    let (under_way, mut deadline) = UnderWay::begin(&mut request, limit);
    let mut deed = tokio::spawn(for_same_request(async move {
        let response = next.run(request).await;
        drop(under_way);
        response
    }));
    loop {
        let until = *deadline.borrow_and_update();
        tokio::select! {
            biased;
            done = &mut deed => return unwrap(done),
            Ok(()) = deadline.changed() => {}
            () = tokio::time::sleep_until(until) => return goes_on().into_response(),
        }
    }
}

/// For what takes its time by nature.
pub(super) async fn limit_time(mut request: Request, next: Next) -> Response {
    let _under_way = UnderWay::begin(&mut request, LONGEST);
    let late =
        |_| Problem::unavailable("the request took too long; it may or may not have had its effect").into_response();
    tokio::time::timeout(LONGEST, next.run(request)).await.unwrap_or_else(late)
}

/// One step of what takes its time: its answer soon, or that it goes on.
pub(super) async fn soon<T: Send + 'static>(
    limit: Duration,
    step: BoxFuture<'static, Result<T, Problem>>,
) -> Result<T, Problem> {
    let mut step = Box::pin(for_same_request(step));
    // What is in memory needs no task.
    if let Poll::Ready(done) = futures::poll!(step.as_mut()) {
        return done;
    }
    match tokio::time::timeout(limit, tokio::spawn(step)).await {
        Ok(done) => unwrap(done),
        Err(_) => Err(goes_on()),
    }
}

fn unwrap<T>(done: Result<T, tokio::task::JoinError>) -> T {
    done.unwrap_or_else(|panicked| std::panic::resume_unwind(panicked.into_panic()))
}

fn goes_on() -> Problem {
    Problem::unavailable("this takes long: what you asked for is still under way, so ask again in a moment")
}
