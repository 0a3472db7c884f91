//! Serving connections, within limits. Knows nothing of what is served.

use std::{
    collections::HashMap,
    net::IpAddr,
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{Router, body::Body, extract::Request};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::TcpListener,
    sync::{OwnedSemaphorePermit, Semaphore, watch},
};
use tower::ServiceExt;

use crate::limits::{count_refusal, household};

/// What [`Limits::headers`] is for everybody.
pub const HEADERS_LIMIT: Duration = Duration::from_secs(30);
/// The most that the headers of a request may have, in bytes; also the most that is read ahead of a body.
const MAX_HEADERS_BYTES: usize = 64 * 1024;
/// How long nothing is accepted after accepting failed: there is no file descriptor left, for example.
const PAUSE: Duration = Duration::from_millis(100);

/// What a server takes on.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// How many connections there may be. Others wait outside.
    pub connections: usize,
    /// How many of them one address may have. Others are hung up on.
    pub of_one_address: usize,
    /// How long a connection may be without a request, or take to bring the headers of one.
    pub headers: Duration,
    /// How long requests that are under way may go on after the end was asked for.
    pub grace: Duration,
}

/// Where a request's connection comes from. In its extensions.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub IpAddr);

/// One of the places for connections, while it is held. In the extensions of a request: what an upgrade goes on with is a
/// connection still.
#[derive(Clone)]
pub struct Place(#[expect(dead_code, reason = "it is held")] Arc<(OwnedSemaphorePermit, OfAddress)>);

/// Serves until `shutdown`, and then finishes what is under way, if that is soon.
pub async fn serve(listener: TcpListener, router: Router, limits: Limits, shutdown: impl Future<Output = ()>) {
    let places = Arc::new(Semaphore::new(limits.connections));
    let addresses = Addresses::default();
    let (ending, ends) = watch::channel(());
    // Not hyper-util's builder for all versions: it waits for a first byte for ever.
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(limits.headers).max_buf_size(MAX_HEADERS_BYTES);
    let mut shutdown = pin!(shutdown);
    loop {
        let next = async { (places.clone().acquire_owned().await, listener.accept().await) };
        let (place, accepted) = tokio::select! {
            () = &mut shutdown => break,
            next = next => next,
        };
        let (stream, peer) = match accepted {
            Ok((stream, peer)) => (stream, peer.ip()),
            Err(error) => {
                tracing::warn!(%error, "a connection cannot be accepted");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let Some(of_address) = addresses.enter(household(peer), limits.of_one_address) else {
            count_refusal("connections of an address");
            continue;
        };
        let Ok(place) = place else { break };
        let place = Place(Arc::new((place, of_address)));
        let of_request = place.clone();
        let service = router.clone().map_request(move |request: Request<hyper::body::Incoming>| {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(Peer(peer));
            request.extensions_mut().insert(of_request.clone());
            request
        });
        let connection = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service)).with_upgrades();
        let mut ends = ends.clone();
        tokio::spawn(async move {
            let _held = place;
            let mut connection = pin!(connection);
            // A caller may hang up at any time, and send anything.
            tokio::select! {
                _ = connection.as_mut() => {}
                _ = ends.changed() => {
                    connection.as_mut().graceful_shutdown();
                    connection.await.ok();
                }
            }
        });
    }
    drop(listener);
    ending.send_replace(());
    let all = u32::try_from(limits.connections).unwrap_or(u32::MAX);
    tokio::time::timeout(limits.grace, places.acquire_many(all)).await.ok();
}

/// How many connections there are from each address.
#[derive(Clone, Default)]
struct Addresses(Arc<Mutex<HashMap<IpAddr, usize>>>);

/// One of an address's connections, while it is held.
struct OfAddress {
    addresses: Addresses,
    address: IpAddr,
}

impl Addresses {
    fn enter(&self, address: IpAddr, limit: usize) -> Option<OfAddress> {
        let entered = self.with(|counts| {
            let count = counts.entry(address).or_default();
            let free = *count < limit;
            *count += usize::from(free);
            free
        });
        entered.then(|| OfAddress { addresses: self.clone(), address })
    }

    /// Counts are whole after each of these.
    fn with<T>(&self, look: impl FnOnce(&mut HashMap<IpAddr, usize>) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for OfAddress {
    fn drop(&mut self) {
        self.addresses.with(|counts| {
            if let Some(count) = counts.get_mut(&self.address) {
                *count -= 1;
                if *count == 0 {
                    counts.remove(&self.address);
                }
            }
        });
    }
}
