use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, timeout};

use crate::Head;
use crate::head::head_len;

pub use self::play::Play;

mod play;
#[cfg(test)]
mod tests;

/// Serves scripts byte for byte on a local port, and sees when its peers leave. To drop it ends all connections.
///
/// It takes one request from each connection, and reads on only to see the peer go.
#[derive(Debug)]
pub struct Upstream {
    addr: SocketAddr,
    conns: Conns,
    server: JoinHandle<()>,
}

/// Records one connection.
#[derive(Clone, Debug)]
pub struct Conn {
    pub accepted_at: Instant,
    /// Holds the request head once it is received.
    pub head: Option<Head>,
    /// Holds the request body as far as its content-length says.
    pub body: Bytes,
    /// Tells when the peer closed (its half too) or reset; never set by a reset of our own.
    pub closed_at: Option<Instant>,
}

type Conns = Arc<watch::Sender<Vec<Conn>>>;

impl Upstream {
    /// Serves the n-th play to the n-th connection, and the last one to all after it.
    ///
    /// # Panics
    /// Without any play.
    pub async fn start(plays: impl IntoIterator<Item = Play>) -> Self {
        let plays: Vec<Play> = plays.into_iter().collect();
        assert!(!plays.is_empty(), "an upstream needs a play");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("no local port");
        let addr = listener.local_addr().expect("a bound socket has an address");
        let conns = Conns::default();
        let server = tokio::spawn(accept(listener, plays, Arc::clone(&conns)));
        Self { addr, conns, server }
    }

    /// Tells where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Gives the record of all connections so far, in the order of their coming.
    pub fn conns(&self) -> Vec<Conn> {
        self.conns.borrow().clone()
    }

    /// Waits for the request head of the n-th connection, counted from 0.
    ///
    /// # Panics
    /// At the limit.
    pub async fn request(&self, n: usize, limit: Duration) -> Head {
        self.until(n, limit, "no request", |conn| conn.head.clone()).await
    }

    /// Waits until the peer of the n-th connection, counted from 0, has left, and tells when it did.
    ///
    /// # Panics
    /// At the limit.
    pub async fn closed(&self, n: usize, limit: Duration) -> Instant {
        self.until(n, limit, "not closed", |conn| conn.closed_at).await
    }

    async fn until<T>(
        &self,
        n: usize,
        limit: Duration,
        missed: &str,
        find: impl Fn(&Conn) -> Option<T>,
    ) -> T {
        let mut conns = self.conns.subscribe();
        let found = timeout(limit, async {
            loop {
                if let Some(found) = conns.borrow_and_update().get(n).and_then(&find) {
                    return found;
                }
                // The sender lives in `self`: this can not fail.
                let _ = conns.changed().await;
            }
        });
        found.await.unwrap_or_else(|_| panic!("connection {n}: {missed} within {limit:?}"))
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn accept(listener: TcpListener, plays: Vec<Play>, conns: Conns) {
    let mut tasks = JoinSet::new();
    for n in 0.. {
        let Ok((stream, _)) = listener.accept().await else {
            return;
        };
        let accepted_at = Instant::now();
        conns.send_modify(|all| {
            all.push(Conn { accepted_at, head: None, body: Bytes::new(), closed_at: None });
        });
        let play = plays[n.min(plays.len() - 1)].clone();
        tasks.spawn(serve(stream, play, n, Arc::clone(&conns)));
    }
}

async fn serve(mut stream: TcpStream, play: Play, n: usize, conns: Conns) {
    let _ = stream.set_nodelay(true);
    let (mut read, mut write) = stream.split();
    let reset = async {
        let (head, body) = request(&mut read).await?;
        conns.send_modify(|all| (all[n].head, all[n].body) = (Some(head), body));
        tokio::select! {
            gone = gone(&mut read) => gone,
            played = play.perform(&mut write) => played,
        }
    };
    match reset.await {
        Ok(()) => {
            let _ = stream.set_zero_linger();
        }
        Err(_) => conns.send_modify(|all| all[n].closed_at = Some(Instant::now())),
    }
}

async fn request(read: &mut (impl AsyncRead + Unpin)) -> io::Result<(Head, Bytes)> {
    let mut bytes = Vec::new();
    let length = loop {
        if let Some(length) = head_len(&bytes) {
            break length;
        }
        read_some(read, &mut bytes).await?;
    };
    let mut body = bytes.split_off(length);
    let head = Head::new(&bytes);
    let expected =
        head.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    while body.len() < expected {
        read_some(read, &mut body).await?;
    }
    body.truncate(expected);
    Ok((head, body.into()))
}

/// Ends, with an error, when the peer leaves.
async fn gone(read: &mut (impl AsyncRead + Unpin)) -> io::Result<()> {
    loop {
        read_some(read, &mut Vec::new()).await?;
    }
}

async fn read_some(read: &mut (impl AsyncRead + Unpin), bytes: &mut Vec<u8>) -> io::Result<()> {
    match read.read_buf(bytes).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}
