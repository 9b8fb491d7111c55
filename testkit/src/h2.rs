use std::io;
use std::net::{Shutdown, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{Builder, SendRequest};
use http::Request;
use http::response::Parts;
use socket2::Socket;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::LIMIT;
use crate::h1::swallow;

use self::stream::within;

pub use self::stream::{H2Body, H2Call, H2Next};

mod stream;
#[cfg(test)]
mod tests;

/// Speaks HTTP/2 with prior knowledge.
///
/// The connection is always read, and what came waits in its streams: to stop reading a body is not to call
/// [`next`](H2Body::next), and its window runs out. To drop it is to leave as a killed process does; say how with
/// [`close`](Self::close) or [`kill`](Self::kill). Its calls and bodies end with it.
#[derive(Debug)]
pub struct H2 {
    requests: SendRequest<Bytes>,
    driver: JoinHandle<()>,
    /// Is a second handle to the connection's socket, for the ways to leave that HTTP/2 does not know.
    socket: Socket,
}

impl H2 {
    /// Connects, with the usual window of 64 KiB for a stream and for the connection.
    pub async fn connect(addr: SocketAddr) -> io::Result<Self> {
        Self::with_window(addr, 65_535).await
    }

    /// Connects with this window for each stream, and for the connection when it is more than the usual.
    pub async fn with_window(addr: SocketAddr, stream_window: u32) -> io::Result<Self> {
        let stream = timeout(LIMIT, TcpStream::connect(addr)).await??;
        stream.set_nodelay(true)?;
        let stream = stream.into_std()?;
        let socket = Socket::from(stream.try_clone()?);
        let io = TcpStream::from_std(stream)?;
        let mut builder = Builder::new();
        builder.initial_window_size(stream_window);
        builder.initial_connection_window_size(stream_window.max(65_535));
        let handshake = timeout(LIMIT, builder.handshake(io)).await?;
        let (requests, connection) = handshake.map_err(io::Error::other)?;
        let driver = tokio::spawn(async move {
            // How it ends, each of its streams tells for itself.
            let _ = connection.await;
        });
        Ok(Self { requests, driver, socket })
    }

    /// Sends a request without body.
    pub async fn start(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Result<H2Call, H2Next> {
        self.send(method, path, headers, true).await
    }

    /// Sends the head of a request whose body is to follow: [`H2Call::send`].
    pub async fn upload(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Result<H2Call, H2Next> {
        self.send(method, path, headers, false).await
    }

    async fn send(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        last: bool,
    ) -> Result<H2Call, H2Next> {
        let mut request = Request::builder().method(method).uri(format!("http://test{path}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(()).expect("the test made a request that is none");
        let mut requests = within(LIMIT, self.requests.clone().ready()).await?;
        let (head, stream) = requests.send_request(request, last).map_err(H2Next::failed)?;
        Ok(H2Call::new(head, stream))
    }

    /// Sends a request without body and waits for the response head.
    pub async fn request(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Result<(Parts, H2Body), H2Next> {
        self.start(method, path, headers).await?.head(LIMIT).await
    }

    /// Plays dead: stays connected, but from now on neither reads nor writes, nor answers a ping.
    pub fn freeze(&self) {
        self.driver.abort();
    }

    /// Leaves with FIN, without a word of HTTP/2.
    pub async fn close(mut self) {
        let _ = self.socket.shutdown(Shutdown::Write);
        self.stop_driver().await;
        swallow(&self.socket);
    }

    /// Leaves with RST.
    pub async fn kill(mut self) {
        self.stop_driver().await;
        let _ = self.socket.set_linger(Some(Duration::ZERO));
    }

    async fn stop_driver(&mut self) {
        self.driver.abort();
        let _ = (&mut self.driver).await;
    }
}

impl Drop for H2 {
    fn drop(&mut self) {
        self.driver.abort();
    }
}
