//! Makes a WebSocket, or whatever else a connection is upgraded to, an exchange with a life.
//!
//! A 101 is over at its head for every layer: what the connection becomes is nobody's body. A proxy that forwards upgrades
//! wants more: to know how long a tunnel was open, what went through it and who closed it, and to be able to abort it. So it
//! answers with a [`TunnelBody`], which copies between both sides while it is polled and gives the bytes that went to the
//! client as its frames, and marks the head with [`Tunnel`]. [`TunnelLayer`], outside of all other layers, reads that body to
//! its end in a task and gives the server an empty one in its place.
//!
//! ```
//! use std::convert::Infallible;
//! use http::{Request, Response, StatusCode};
//! use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//! use tower_lifeline::{finalize::FinalizeLayer, tunnel::{Tunnel, TunnelBody, TunnelLayer}};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! let (ended, mut endings) = tokio::sync::mpsc::unbounded_channel();
//! let layers = ServiceBuilder::new().layer(TunnelLayer).layer(FinalizeLayer::new(move |_request| {
//!     let ended = ended.clone();
//!     move |ending| drop(ended.send(ending))
//! }));
//! // In a proxy these are the two upgraded connections: `hyper::upgrade::on` the request, and on the upstream's response.
//! let ((client, mut browser), (upstream, mut server)) = (duplex(64), duplex(64));
//! let sides = std::sync::Arc::new(std::sync::Mutex::new(Some((client, upstream))));
//! let service = layers.service(service_fn(move |_: Request<()>| {
//!     let (client, upstream) = sides.lock().unwrap().take().unwrap();
//!     let mut response = Response::new(TunnelBody::new(async { Ok::<_, Infallible>(client) }, upstream));
//!     *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
//!     response.extensions_mut().insert(Tunnel);
//!     async { Ok::<_, Infallible>(response) }
//! }));
//! service.oneshot(Request::new(())).await.unwrap();
//!
//! let mut read = [0; 4];
//! browser.write_all(b"ping").await.unwrap();
//! server.read_exact(&mut read).await.unwrap();
//! server.write_all(b"pong").await.unwrap();
//! drop(server);
//! browser.read_exact(&mut read).await.unwrap();
//! drop(browser);
//!
//! let ending = endings.recv().await.unwrap();
//! assert_eq!((ending.outcome.as_str(), ending.bytes), ("completed", 4));
//! # }
//! ```
//!
//! | event | what happens | how the body ends |
//! |---|---|---|
//! | bytes of the upstream's | go to the client, then they are a frame | – |
//! | bytes of the client's | go to the upstream | – |
//! | one side takes nothing | the other is not read: at most 16 KiB are held in each direction | – |
//! | the client ends its writing | the upstream is told so, and may go on until it ends, or says nothing for 60 s | – |
//! | the upstream ends its writing | the client is told so, and may go on until it ends, or says nothing for 1 s | – |
//! | the upstream ended, everything is with the client | | clean |
//! | the client ended first, and was answered no more | | [`TunnelError::Client`]: `disconnected` |
//! | the same of a [WebSocket](TunnelBody::websocket) whose upstream had sent a Close frame | the upstream may say nothing for 1 s | clean |
//! | the client's connection broke, or was never upgraded | both are dropped | [`TunnelError::Client`]: `disconnected` |
//! | TLS ends without `close_notify` | as an end, which many servers mean by it | |
//! | the upstream's connection broke | both are dropped | [`TunnelError::Upstream`]: `failed` |
//! | abort, total limit | both are dropped, polled or not | see [`abort`](crate::abort), [`timeouts`](crate::timeouts) |
//!
//! Of the layers only [`FinalizeLayer`](crate::finalize), [`AbortLayer`](crate::abort) and the total limit of
//! [`TimeoutsLayer`](crate::timeouts) have to do with a tunnel; to all others it is a 101 as any other. A 101 without the mark
//! is left alone by all of them. The mark on a response that is no 101, and no 2xx to CONNECT, means nothing.

mod body;
mod flow;
#[cfg(test)]
mod tests;
mod websocket;

use std::{
    pin::{Pin, pin},
    task::{Context, Poll},
};

use http::{Method, Response, request::Parts};
use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;
use tokio::runtime::Handle;
use tower_layer::Layer;

pub use self::body::{TunnelBody, TunnelError};
pub use crate::head::Tunnel;
use crate::{
    exchange::Exchange,
    head::is_tunnel_body,
    wrap::{Guard, Plan, Wrap},
};

/// Reads each tunnel to its end. See the [module](self) for what happens when.
#[derive(Clone, Copy, Debug, Default)]
#[must_use]
pub struct TunnelLayer;

/// The service made by [`TunnelLayer`].
pub type Tunnels<S> = Wrap<S, TunnelLayer>;

impl<S> Layer<S> for TunnelLayer {
    type Service = Tunnels<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Wrap::new(inner, *self)
    }
}

impl Plan for TunnelLayer {
    type Guard = TunnelGuard;

    fn plan(&self, _: &Exchange, request: &Parts) -> TunnelGuard {
        TunnelGuard { method: request.method.clone() }
    }
}

/// Waits for the response that may be a tunnel.
#[derive(Debug)]
pub struct TunnelGuard {
    method: Method,
}

impl<B, E> Guard<B, E> for TunnelGuard
where
    B: Body + Send + 'static,
    B::Data: Send,
{
    type Body = Beside<B>;

    fn wrap(self, response: Response<B>) -> Response<Beside<B>> {
        let (head, body) = response.into_parts();
        if !is_tunnel_body(&self.method, &head) {
            return Response::from_parts(head, Beside { body: Some(body) });
        }
        // Without a runtime there is nobody to read it: it ends here.
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(read(body));
        }
        Response::from_parts(head, Beside { body: None })
    }
}

async fn read<B: Body>(body: B) {
    let mut body = pin!(body);
    while let Some(Ok(_)) = std::future::poll_fn(|cx| body.as_mut().poll_frame(cx)).await {}
}

/// The body of a response, untouched; or none, beside a tunnel.
#[derive(Debug)]
#[pin_project]
pub struct Beside<B> {
    #[pin]
    body: Option<B>,
}

impl<B: Body> Body for Beside<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        match self.project().body.as_pin_mut() {
            Some(body) => body.poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}
