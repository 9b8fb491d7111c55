//! Closes an HTTP/1 connection to an upstream as soon as the exchange that has it is over before its end.
//!
//! hyper's client closes a connection whose response or whose response future is dropped, but it does not look at that while
//! its write is blocked: an upstream that stops reading in the middle of an upload keeps the socket, and all that was read
//! of the request, until it goes away itself ([hyper#4176](https://github.com/hyperium/hyper/issues/4176) is a sibling).
//! Whatever cut the exchange, an abort, a limit or a client that left, would cut nothing there. Here the connection itself
//! can be closed: [`ClosableConnector`] makes such connections, and [`CloseUnfinishedLayer`], around hyper-util's client,
//! closes the one that an exchange has when the exchange is over too early.
//!
//! | what happens | the connection |
//! |---|---|
//! | the request was handed over, the response came to its end | is kept, for the next request |
//! | the response future or the response body is dropped before its end (client gone, abort, limit) | is closed at once, also while its write is blocked |
//! | the response comes to its end before all of the request is written (an early 401) | is closed at its end |
//! | the response body fails | is closed |
//! | no connection was made yet | hyper goes on making it, for the next request |
//! | 101, or 2xx to `CONNECT` | is the tunnel's: to drop its two sides closes it |
//! | HTTP/2 that was negotiated (ALPN) | is left alone: others are on it, and hyper resets the stream |
//!
//! Bodies pass unchanged, with their size, flags and trailers, and errors are hyper's. An HTTP/2 upstream that stops reading
//! is noticed by PINGs: set `http2_keep_alive_interval` of the client. With `http2_only` leave this layer out: the connector
//! does not say of what it makes that it is HTTP/2.
//!
//! ```
//! use std::error::Error;
//! use bytes::Bytes;
//! use http::Request;
//! use http_body_util::{BodyExt, Empty};
//! use hyper_util::{client::legacy::{Client, connect::HttpConnector}, rt::TokioExecutor};
//! use tower::{Layer, ServiceExt};
//! use tower_lifeline::connection::{ClosableConnector, CloseUnfinishedLayer};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn Error>> {
//! # use tokio::{io::{AsyncReadExt, AsyncWriteExt}, net::TcpListener};
//! # let listener = TcpListener::bind("127.0.0.1:0").await?;
//! # let uri = format!("http://{}/", listener.local_addr()?);
//! # let upstream = tokio::spawn(async move {
//! #     let (mut socket, _) = listener.accept().await?;
//! #     let _ = socket.read(&mut [0; 1024]).await?;
//! #     socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf").await?;
//! #     socket.read(&mut [0; 1024]).await
//! # });
//! let client = Client::builder(TokioExecutor::new()).build(ClosableConnector::new(HttpConnector::new()));
//! let client = CloseUnfinishedLayer::new().layer(client);
//!
//! let request = Request::get(uri).body(Empty::<Bytes>::new())?;
//! let mut body = client.oneshot(request).await?.into_body();
//! assert_eq!(body.frame().await.unwrap()?.into_data().unwrap(), "half");
//! drop(body);
//! assert_eq!(upstream.await??, 0); // It was closed.
//! # Ok(())
//! # }
//! ```

mod body;
mod stream;
#[cfg(test)]
mod tests;

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::{Extensions, Method, Request, Response, StatusCode, header::CONTENT_LENGTH};
use http_body::Body;
use hyper_util::client::legacy::connect::{CaptureConnection, capture_connection};
use pin_project::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use self::stream::Handle;
pub use self::{
    body::{RequestBody, ResponseBody},
    stream::{Closable, ClosableConnector, Connecting},
};
use crate::flag::Flag;

/// Closes the connection of an exchange that is over before its end. Goes around hyper-util's client with a
/// [`ClosableConnector`]. See the [module](self) for what happens when.
#[derive(Clone, Copy, Debug, Default)]
#[must_use]
pub struct CloseUnfinishedLayer;

impl CloseUnfinishedLayer {
    /// Closes what is unfinished.
    pub const fn new() -> Self {
        Self
    }
}

impl<S> Layer<S> for CloseUnfinishedLayer {
    type Service = CloseUnfinished<S>;

    fn layer(&self, inner: S) -> Self::Service {
        CloseUnfinished { inner }
    }
}

/// The service made by [`CloseUnfinishedLayer`].
#[derive(Clone, Copy, Debug)]
pub struct CloseUnfinished<S> {
    inner: S,
}

impl<S, A, B> Service<Request<A>> for CloseUnfinished<S>
where
    S: Service<Request<RequestBody<A>>, Response = Response<B>>,
    A: Body,
    B: Body,
{
    type Response = Response<ResponseBody<B>>;
    type Error = S::Error;
    type Future = CloseUnfinishedFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<A>) -> Self::Future {
        let connection = capture_connection(&mut request);
        let written = Arc::<Flag>::default();
        let connection = Some(connection);
        let lease = Lease { connection, written: written.clone(), finished: false };
        let connects = request.method() == Method::CONNECT;
        // hyper asks for no more than was announced, and not for the end behind it.
        let length = request.headers().get(CONTENT_LENGTH);
        let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
        let request = request.map(|body| RequestBody::new(body, length, written));
        CloseUnfinishedFuture { lease: Some(lease), connects, inner: self.inner.call(request) }
    }
}

/// The response future of [`CloseUnfinished`].
// The field order is the drop order: hyper may give a connection to the next request as soon as it knows that nobody waits.
#[derive(Debug)]
#[pin_project]
#[must_use = "futures do nothing unless polled"]
pub struct CloseUnfinishedFuture<F> {
    lease: Option<Lease>,
    connects: bool,
    #[pin]
    inner: F,
}

impl<F, B, E> Future for CloseUnfinishedFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body,
{
    type Output = Result<Response<ResponseBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let response = ready!(this.inner.poll(cx))?;
        let mut lease = this.lease.take();
        let tunnel = response.status() == StatusCode::SWITCHING_PROTOCOLS
            || (*this.connects && response.status().is_success());
        if let Some(lease) = lease.take_if(|_| tunnel) {
            lease.leave();
        }
        Poll::Ready(Ok(response.map(|body| ResponseBody::new(body, lease))))
    }
}

/// The connection of an exchange that is not over.
#[derive(Debug)]
struct Lease {
    /// `None` if it is no longer of this exchange alone.
    connection: Option<CaptureConnection>,
    /// hyper has taken all of the request.
    written: Arc<Flag>,
    /// The response has come to its end.
    finished: bool,
}

impl Lease {
    fn finish(mut self) {
        self.finished = true;
    }

    fn leave(mut self) {
        self.connection = None;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(connection) = &self.connection else { return };
        let mut extras = Extensions::new();
        if let Some(connected) = &*connection.connection_metadata() {
            connected.get_extras(&mut extras);
        }
        let Some(handle) = extras.remove::<Handle>() else {
            return; // Not made, HTTP/2, or not one of ours.
        };
        let over = self.finished && self.written.is_set();
        if !over || handle.is_blocked() {
            handle.close();
        }
    }
}
