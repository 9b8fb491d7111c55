use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

#[cfg(test)]
mod tests;

const PREFACE: usize = 24;
/// The types of frames (RFC 9113, 6).
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
/// Flags: of DATA and HEADERS, of SETTINGS and PING, of HEADERS.
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
/// Is `:status: 200` (RFC 7541, appendix A).
const STATUS_200: u8 = 0x88;

/// Serves HTTP/2 with prior knowledge frame by frame, as real servers do only when they go down. To drop it ends all
/// connections.
#[derive(Debug)]
pub struct H2Upstream {
    addr: SocketAddr,
    conns: Conns,
    server: JoinHandle<()>,
}

/// Says what an [`H2Upstream`] does with a request.
#[derive(Clone, Debug)]
pub struct H2Play {
    /// Acts when so much of the body is there; else when the request is whole.
    after: Option<usize>,
    act: Act,
    closes: bool,
}

#[derive(Clone, Debug)]
enum Act {
    Answer(Bytes),
    Head(Bytes),
    Reset(Reason),
    GoAway(u32),
    Stall,
}

/// Records one connection.
#[derive(Clone, Debug, Default)]
pub struct H2Conn {
    /// Holds the bodies, as far as they are there, of the requests in their order.
    pub requests: Vec<Vec<u8>>,
    /// Tells whether the peer has left.
    pub closed: bool,
}

type Conns = Arc<watch::Sender<Vec<H2Conn>>>;

impl H2Play {
    fn new(act: Act) -> Self {
        Self { after: None, act, closes: false }
    }

    /// Answers 200 with this body.
    pub fn answer(body: impl Into<Bytes>) -> Self {
        Self::new(Act::Answer(body.into()))
    }

    /// Answers 200 with the beginning of a body, and no more.
    pub fn begin(body: impl Into<Bytes>) -> Self {
        Self::new(Act::Head(body.into()))
    }

    /// Resets the stream.
    pub fn reset(reason: Reason) -> Self {
        Self::new(Act::Reset(reason))
    }

    /// Says that it has not looked at any stream above this one, and goes on with those below.
    pub fn go_away(last_stream: u32) -> Self {
        Self::new(Act::GoAway(last_stream))
    }

    /// Does nothing.
    pub fn stall() -> Self {
        Self::new(Act::Stall)
    }

    /// Closes the connection then.
    pub fn and_close(mut self) -> Self {
        self.closes = true;
        self
    }

    /// Does so as soon as so many bytes of the body are there.
    pub fn after(mut self, bytes: usize) -> Self {
        self.after = Some(bytes);
        self
    }
}

impl H2Upstream {
    /// Serves the n-th play of the m-th list to the n-th request of the m-th connection, and the last one to all after.
    ///
    /// # Panics
    /// Without any play.
    pub async fn start<P: IntoIterator<Item = H2Play>>(
        connections: impl IntoIterator<Item = P>,
    ) -> Self {
        let plays: Vec<Vec<H2Play>> =
            connections.into_iter().map(|plays| plays.into_iter().collect()).collect();
        assert!(!plays.is_empty() && plays.iter().all(|list| !list.is_empty()), "no play");
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
    pub fn conns(&self) -> Vec<H2Conn> {
        self.conns.borrow().clone()
    }

    /// Waits until this is true of the connections.
    ///
    /// # Panics
    /// At the limit.
    pub async fn until(&self, done: impl Fn(&[H2Conn]) -> bool, limit: Duration) {
        let mut conns = self.conns.subscribe();
        let waited = timeout(limit, conns.wait_for(|conns| done(conns))).await;
        assert!(waited.is_ok(), "not within {limit:?}: {:?}", self.conns());
    }
}

impl Drop for H2Upstream {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn accept(listener: TcpListener, plays: Vec<Vec<H2Play>>, conns: Conns) {
    let mut tasks = JoinSet::new();
    for n in 0.. {
        let Ok((stream, _)) = listener.accept().await else {
            return;
        };
        conns.send_modify(|all| all.push(H2Conn::default()));
        let plays = plays[n.min(plays.len() - 1)].clone();
        let conns = Arc::clone(&conns);
        tasks.spawn(async move {
            let mut peer = Peer { stream, plays, n, conns, streams: Vec::new() };
            if peer.serve().await.is_err() {
                peer.conns.send_modify(|all| all[n].closed = true);
            }
        });
    }
}

struct Peer {
    stream: TcpStream,
    plays: Vec<H2Play>,
    n: usize,
    conns: Conns,
    /// Holds the streams in the order of their requests, and whether each was acted upon.
    streams: Vec<(u32, bool)>,
}

impl Peer {
    /// Returns when it closes, or with an error when the peer has left.
    async fn serve(&mut self) -> io::Result<()> {
        let _ = self.stream.set_nodelay(true);
        self.stream.read_exact(&mut [0; PREFACE]).await?;
        // So large windows that no test meets them.
        let window = [&[0, 4][..], &0x7fff_ffff_u32.to_be_bytes()].concat();
        self.send(SETTINGS, 0, 0, &window).await?;
        self.send(WINDOW_UPDATE, 0, 0, &0x3fff_ffff_u32.to_be_bytes()).await?;
        loop {
            let mut head = [0; 9];
            self.stream.read_exact(&mut head).await?;
            let [high, middle, low, kind, flags, stream @ ..] = head;
            let mut payload = vec![0; u32::from_be_bytes([0, high, middle, low]) as usize];
            self.stream.read_exact(&mut payload).await?;
            let stream = u32::from_be_bytes(stream);
            match kind {
                SETTINGS | PING if flags & ACK == 0 => {
                    let echo = if kind == PING { &payload[..] } else { &[] };
                    self.send(kind, ACK, 0, echo).await?;
                }
                HEADERS => {
                    self.streams.push((stream, false));
                    self.conns.send_modify(|all| all[self.n].requests.push(Vec::new()));
                    if !self.act(stream, flags).await? {
                        return Ok(());
                    }
                }
                DATA => {
                    if let Some(at) = self.at(stream) {
                        let n = self.n;
                        self.conns.send_modify(|all| all[n].requests[at].extend(&payload));
                    }
                    if !self.act(stream, flags).await? {
                        return Ok(());
                    }
                }
                _ => {}
            }
        }
    }

    fn at(&self, stream: u32) -> Option<usize> {
        self.streams.iter().position(|(known, _)| *known == stream)
    }

    /// Acts if it is time to. Tells whether the connection goes on.
    async fn act(&mut self, stream: u32, flags: u8) -> io::Result<bool> {
        let Some(at) = self.at(stream).filter(|at| !self.streams[*at].1) else {
            return Ok(true);
        };
        let play = self.plays[at.min(self.plays.len() - 1)].clone();
        let length = self.conns.borrow()[self.n].requests[at].len();
        if flags & END_STREAM == 0 && play.after.is_none_or(|after| length < after) {
            return Ok(true);
        }
        self.streams[at].1 = true;
        match play.act {
            Act::Answer(body) => {
                self.send(HEADERS, END_HEADERS, stream, &[STATUS_200]).await?;
                self.send(DATA, END_STREAM, stream, &body).await?;
            }
            Act::Head(body) => {
                self.send(HEADERS, END_HEADERS, stream, &[STATUS_200]).await?;
                self.send(DATA, 0, stream, &body).await?;
            }
            Act::Reset(reason) => {
                self.send(RST_STREAM, 0, stream, &u32::from(reason).to_be_bytes()).await?;
            }
            Act::GoAway(last) => {
                let no_error = [last.to_be_bytes(), [0; 4]].concat();
                self.send(GOAWAY, 0, 0, &no_error).await?;
            }
            Act::Stall => {}
        }
        if play.closes {
            self.stream.shutdown().await?;
        }
        Ok(!play.closes)
    }

    async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> io::Result<()> {
        let length = u32::try_from(payload.len()).map_err(io::Error::other)?.to_be_bytes();
        let head = [&length[1..], &[kind, flags], &stream.to_be_bytes()].concat();
        self.stream.write_all(&[&head, payload].concat()).await
    }
}
