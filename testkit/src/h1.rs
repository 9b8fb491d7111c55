use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, timeout, timeout_at};

use crate::head::head_len;
use crate::{Head, LIMIT};

#[cfg(test)]
mod tests;

/// Speaks HTTP/1 to a server byte for byte.
///
/// It reads only when told, so to stop reading is to do nothing; to pipeline is to send twice. What was read and not
/// yet taken is kept: [`read_until`](Self::read_until) shows it, [`read_head`](Self::read_head),
/// [`read_to_end`](Self::read_to_end) and [`take`](Self::take) take from it. To drop it is to leave as a killed process
/// does (FIN, or RST when there was more to read); say which with [`close`](Self::close) or [`reset`](Self::reset).
#[derive(Debug)]
pub struct H1 {
    stream: TcpStream,
    unread: Vec<u8>,
}

/// Holds what was read up to an end, or to the limit of a wait.
#[derive(Debug, PartialEq, Eq)]
pub struct ReadEnd {
    pub bytes: Vec<u8>,
    pub how: How,
}

/// Says why there was no more to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// Says that the server closed its side in order.
    Fin,
    /// Says that the read failed: the server reset the connection.
    Reset,
    /// Says that it is still open.
    TimedOut,
}

impl H1 {
    /// Connects.
    pub async fn connect(addr: SocketAddr) -> io::Result<Self> {
        Self::connect_by(TcpSocket::new_v4()?, addr).await
    }

    /// Connects so that a server is held back after about 100 kB unread, not 4 MB.
    pub async fn connect_with_small_buffers(addr: SocketAddr) -> io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.set_recv_buffer_size(4096)?;
        // The kernel of the server sizes its send buffer by the segments of the connection, 64 kB on loopback.
        SockRef::from(&socket).set_tcp_mss(1400)?;
        Self::connect_by(socket, addr).await
    }

    async fn connect_by(socket: TcpSocket, addr: SocketAddr) -> io::Result<Self> {
        let stream = within_limit(socket.connect(addr)).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, unread: Vec::new() })
    }

    /// Sends these bytes as they are.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        within_limit(self.stream.write_all(bytes.as_ref())).await
    }

    /// Sends a minimal GET.
    pub async fn get(&mut self, path: &str) -> io::Result<()> {
        self.get_with(path, &[]).await
    }

    /// Sends a minimal GET with more headers.
    pub async fn get_with(&mut self, path: &str, headers: &[(&str, &str)]) -> io::Result<()> {
        let more: String =
            headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        self.send(format!("GET {path} HTTP/1.1\r\nhost: test\r\n{more}\r\n")).await
    }

    /// Reads until the bytes not yet taken fulfil the predicate, and gives a copy of them; or else says how it ended.
    pub async fn read_until(
        &mut self,
        done: impl Fn(&[u8]) -> bool,
        limit: Duration,
    ) -> Result<Vec<u8>, ReadEnd> {
        let deadline = Instant::now() + limit;
        while !done(&self.unread) {
            if let Some(how) = self.read_more(deadline).await {
                return Err(ReadEnd { bytes: self.unread.clone(), how });
            }
        }
        Ok(self.unread.clone())
    }

    /// Reads a response head and takes it, so that the body comes next.
    pub async fn read_head(&mut self, limit: Duration) -> Result<Head, ReadEnd> {
        let bytes = self.read_until(|bytes| head_len(bytes).is_some(), limit).await?;
        let length = head_len(&bytes).unwrap_or(bytes.len());
        self.unread.drain(..length);
        Ok(Head::new(&bytes[..length]))
    }

    /// Reads until the server ends or the limit comes, and takes all.
    pub async fn read_to_end(&mut self, limit: Duration) -> ReadEnd {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(how) = self.read_more(deadline).await {
                return ReadEnd { bytes: self.take(), how };
            }
        }
    }

    /// Takes what was read, without reading more.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.unread)
    }

    /// Sends FIN and can still read.
    pub async fn half_close(&mut self) -> io::Result<()> {
        within_limit(self.stream.shutdown()).await
    }

    /// Leaves with FIN.
    pub async fn close(mut self) {
        let _ = self.half_close().await;
        if let Ok(stream) = self.stream.into_std() {
            swallow(stream);
        }
    }

    /// Leaves with RST.
    pub fn reset(self) {
        let _ = self.stream.set_zero_linger();
    }

    async fn read_more(&mut self, deadline: Instant) -> Option<How> {
        match timeout_at(deadline, self.stream.read_buf(&mut self.unread)).await {
            Ok(Ok(0)) => Some(How::Fin),
            Ok(Ok(_)) => None,
            Ok(Err(_)) => Some(How::Reset),
            Err(_) => Some(How::TimedOut),
        }
    }
}

async fn within_limit<T>(work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(LIMIT, work).await?
}

/// Reads what has arrived and closes, for the kernel answers unread bytes with RST. Ends even in a flood.
pub(crate) fn swallow(mut stream: impl io::Read) {
    let mut scrap = vec![0; 64 * 1024];
    for _ in 0..64 {
        if !matches!(stream.read(&mut scrap), Ok(1..)) {
            break;
        }
    }
}
