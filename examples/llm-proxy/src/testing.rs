//! What the tests of several modules share: loopback peers that speak raw bytes, and bounded waiting.

use std::{
    convert::Infallible,
    future::pending,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame};
use hyper::body::Incoming;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::oneshot,
    time::timeout,
};
use tower::{BoxError, Service, service_fn};

use crate::{
    forward::Forward,
    reply,
    serve::{Limits, serve},
    upstream::Upstream,
};

/// What does not happen within this time does not happen.
pub(crate) const LONG: Duration = Duration::from_secs(10);

pub(crate) async fn soon<F: Future>(future: F) -> F::Output {
    timeout(LONG, future).await.expect("it takes too long")
}

pub(crate) async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// A server that lives as long as the test.
pub(crate) async fn server<S, B>(service: S) -> SocketAddr
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send + 'static,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    let (listener, address) = listener().await;
    tokio::spawn(serve(listener, service, Limits::default(), pending()));
    address
}

/// A bare proxy in front of the upstream.
pub(crate) async fn proxy(upstream: &str) -> SocketAddr {
    let forward = forward(upstream);
    server(service_fn(move |request| reply::or_refusal(forward.clone(), request))).await
}

pub(crate) fn forward(upstream: &str) -> Forward {
    let upstream: Upstream = upstream.parse().unwrap();
    Forward::new(upstream, Default::default()).unwrap()
}

/// A peer that is spoken to in raw bytes.
pub(crate) struct Wire(pub(crate) TcpStream);

impl Wire {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self(TcpStream::connect(address).await.unwrap())
    }

    pub(crate) async fn accept(listener: &TcpListener) -> Self {
        Self(soon(listener.accept()).await.unwrap().0)
    }

    pub(crate) async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        soon(self.0.write_all(bytes.as_ref())).await.unwrap();
    }

    /// Reads up to and with `end`.
    pub(crate) async fn read_until(&mut self, end: &str) -> String {
        let mut read = Vec::new();
        while !read.ends_with(end.as_bytes()) {
            read.push(soon(self.0.read_u8()).await.expect("the peer left early"));
        }
        String::from_utf8(read).unwrap()
    }

    /// Reads until the peer closes or resets the connection.
    pub(crate) async fn read_to_close(&mut self) -> Vec<u8> {
        let mut read = Vec::new();
        let _ = soon(self.0.read_to_end(&mut read)).await;
        read
    }
}

/// A body of one piece.
pub(crate) fn full(text: impl Into<Bytes>) -> http_body_util::Full<Bytes> {
    http_body_util::Full::new(text.into())
}

/// A body that sends one piece and then nothing more, for ever; the receiver resolves when it is dropped.
pub(crate) struct Endless {
    piece: Option<Bytes>,
    _gone: oneshot::Sender<Infallible>,
}

impl Endless {
    pub(crate) fn new(piece: &'static str) -> (Self, oneshot::Receiver<Infallible>) {
        let (gone, dropped) = oneshot::channel();
        let endless = Self { piece: Some(piece.into()), _gone: gone };
        (endless, dropped)
    }
}

impl Body for Endless {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.piece.take() {
            Some(piece) => Poll::Ready(Some(Ok(Frame::data(piece)))),
            None => Poll::Pending,
        }
    }
}
