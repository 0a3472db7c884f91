//! A way to a server that misbehaves when it is told to, and counts what comes.

use std::{
    net::SocketAddr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
};

/// What becomes of a request on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    None,
    /// The connection is closed.
    Closed,
    /// It is taken and never answered. When that is over, the connection is closed.
    Hanging,
    /// It is passed on after a time.
    Slow(Duration),
    /// Somebody else answers, word for word, and closes the connection.
    Answered(&'static str),
}

/// Answers that no healthy MinIO and no healthy auth service gives.
pub const NONSENSE: [Fault; 6] = [
    Fault::Answered("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"),
    Fault::Answered("HTTP/1.1 200 OK\r\ncontent-length: 14\r\nconnection: close\r\n\r\n<html>hi</html"),
    Fault::Answered("HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"),
    Fault::Answered("HTTP/1.1 404 Not Found\r\ncontent-length: 9\r\nconnection: close\r\n\r\nnot found"),
    Fault::Answered("HTTP/1.1 403 Forbidden\r\ncontent-length: 9\r\nconnection: close\r\n\r\nforbidden"),
    Fault::Answered("no HTTP at all\r\n\r\n"),
];

pub struct FaultyWay {
    pub url: String,
    server: Arc<OnceLock<SocketAddr>>,
    fault: watch::Sender<Fault>,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    requests: AtomicU32,
    at_once: AtomicU32,
    most_at_once: AtomicU32,
}

/// A request that was not answered yet.
struct Open(Arc<Counts>);

impl FaultyWay {
    /// A way that is told later where it leads.
    pub async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (server, counts) = (Arc::new(OnceLock::new()), Arc::new(Counts::default()));
        let (fault, faults) = watch::channel(Fault::None);
        let (to, count) = (server.clone(), counts.clone());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(pass(client, to.clone(), faults.clone(), count.clone()));
            }
        });
        Self { url, server, fault, counts }
    }

    pub async fn to(server: SocketAddr) -> Self {
        let way = Self::new().await;
        way.leads_to(server);
        way
    }

    pub fn leads_to(&self, server: SocketAddr) {
        self.server.set(server).unwrap();
    }

    pub fn set(&self, fault: Fault) {
        self.fault.send_replace(fault);
    }

    pub fn requests(&self) -> u32 {
        self.counts.requests.load(Ordering::Relaxed)
    }

    /// The most requests that were there at once since this was asked last.
    pub fn most_at_once(&self) -> u32 {
        self.counts.most_at_once.swap(0, Ordering::Relaxed)
    }
}

impl Open {
    fn new(counts: &Arc<Counts>) -> Self {
        counts.requests.fetch_add(1, Ordering::Relaxed);
        let now = counts.at_once.fetch_add(1, Ordering::Relaxed) + 1;
        counts.most_at_once.fetch_max(now, Ordering::Relaxed);
        Self(counts.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.at_once.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One connection. Its requests come one after the other, as our clients send them.
async fn pass(
    mut client: TcpStream,
    to: Arc<OnceLock<SocketAddr>>,
    mut fault: watch::Receiver<Fault>,
    counts: Arc<Counts>,
) -> Option<()> {
    let mut server = TcpStream::connect(to.get()?).await.ok()?;
    let (mut asked, mut answered) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    let mut open = None;
    loop {
        let n = tokio::select! {
            n = client.read(&mut asked) => n.ok().filter(|n| *n > 0)?,
            n = server.read(&mut answered) => {
                let n = n.ok().filter(|n| *n > 0)?;
                open = None;
                client.write_all(&answered[..n]).await.ok()?;
                continue;
            }
        };
        let begins = asked[..n].windows(11).any(|window| window == b" HTTP/1.1\r\n");
        if begins {
            open = Some(Open::new(&counts));
        }
        let now = *fault.borrow_and_update();
        match now {
            Fault::None => {}
            Fault::Closed => return None,
            Fault::Hanging => {
                // Until it is over, or the client has had enough.
                tokio::select! {
                    _ = fault.wait_for(|fault| *fault != Fault::Hanging) => {}
                    _ = client.read(&mut asked) => {}
                }
                drop(open);
                return None;
            }
            Fault::Slow(pause) if begins => tokio::time::sleep(pause).await,
            Fault::Slow(_) => {}
            Fault::Answered(text) => {
                client.write_all(text.as_bytes()).await.ok()?;
                client.shutdown().await.ok()?;
                return None;
            }
        }
        server.write_all(&asked[..n]).await.ok()?;
    }
}
