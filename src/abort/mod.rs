//! Ends a response from outside: at once, whoever is blocked, and with a reason.
//!
//! ```
//! use bytes::Bytes;
//! use http::{Request, Response, StatusCode};
//! use http_body_util::Full;
//! use tower::{Layer, Service, ServiceExt, service_fn};
//! use tower_lifeline::abort::{AbortHandle, AbortLayer, AbortKind};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! let shutdown = AbortHandle::new();
//! let layer = AbortLayer::new({
//!     let shutdown = shutdown.clone();
//!     move |_request| shutdown.child()
//! });
//! let mut service = layer.layer(service_fn(|_: Request<()>| async {
//!     std::future::pending::<()>().await; // An upstream that never answers.
//!     Ok::<_, std::io::Error>(Response::new(Full::<Bytes>::default()))
//! }));
//!
//! let response = service.ready().await.unwrap().call(Request::new(()));
//! shutdown.abort(AbortKind::Shutdown);
//! assert_eq!(response.await.unwrap().status(), StatusCode::SERVICE_UNAVAILABLE);
//! # }
//! ```
//!
//! | event | what happens |
//! |---|---|
//! | frame, trailers, end, error | handed on unchanged |
//! | client gone | the inner body is dropped; the handle forgets the exchange |
//! | abort before the call | the inner service is not called; the answer is 503, or gRPC trailers-only for a gRPC request, or what [`AbortLayer::answer`] says; to HEAD without its body |
//! | abort before the head | the inner future is dropped, the same answer |
//! | service error after an abort | the same answer: whatever the error says, it was the abort |
//! | abort in the stream | the inner body is dropped without waiting for a poll; the next poll gives [`Aborted`] as an error; then `None` |
//! | abort after the end | nothing; [`AbortHandle::abort`] returns `false` |
//! | abort after the end that the stream has said itself (feature `usage`), though its body goes on | the inner body is dropped, a clean end; [`AbortHandle::abort`] returns `false` |
//! | a frame is taken at the moment of the abort | it is handed on, the error follows |
//! | panic of the inner body or service | goes on to the caller |
//! | 101, 2xx to CONNECT | handed on untouched; out of reach of the handle, unless it is a [`Tunnel`](crate::tunnel::Tunnel) |
//!
//! Size and headers are left alone, `size_hint` and `is_end_stream` are forwarded: an aborted body is cut, it does not end.
//! For what the client is to see of it, put a [`FinalFrameLayer`](crate::final_frame) outside.
//!
//! What aborts a handle by itself is a future, given to [`AbortHandle::abort_when`], whose example has a
//! `CancellationToken`. Ready-made are [`deadline`] and [`ask_every`].
//!
//! The response future and body must be `Send + 'static`, since an abort drops them in a task of its own. The layer
//! allocates per exchange, never per frame; a frame costs two short uncontended locks.

mod body;
mod error;
mod future;
mod handle;
mod reason;
mod registry;
mod sources;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response, request::Parts};
use http_body::Body;
use tower_layer::Layer;
use tower_service::Service;

use self::future::hold;
pub(crate) use self::handle::Listen;
pub use self::{
    body::AbortBody,
    error::Aborted,
    future::AbortFuture,
    handle::AbortHandle,
    reason::{AbortKind, AbortReason},
    registry::AbortRegistry,
    sources::{ask_every, deadline},
};
use crate::{
    cut::{Answer, CutFuture, Reset, Slot},
    exchange::{Cause, Exchange},
    ready::{AlwaysReady, AlwaysReadyFuture},
};

/// Races responses against an [`AbortHandle`]. See the [module](self) for what happens when.
#[derive(Clone)]
#[must_use]
pub struct AbortLayer<F> {
    source: F,
    answer: Option<Answer>,
    reset: Reset,
}

impl<F: Fn(&Parts) -> AbortHandle> AbortLayer<F> {
    /// Asks `source` for the handle of each request: a child of a handle for all, an entry of an [`AbortRegistry`], or
    /// one that came with the request.
    pub fn new(source: F) -> Self {
        Self { source, answer: None, reset: Reset::DEFAULT }
    }
}

impl<F> AbortLayer<F> {
    /// Replaces the answer that is given for an abort before the head.
    pub fn answer<A>(mut self, answer: A) -> Self
    where
        A: Fn(&Exchange, &AbortReason) -> Response<Bytes> + Send + Sync + 'static,
    {
        self.answer = Some(Arc::new(move |exchange, cause| match cause {
            Cause::Aborted(reason) => Some(answer(exchange, reason)),
            _ => None,
        }));
        self
    }

    /// Sets the code that hyper resets an aborted HTTP/2 stream with; by default it is `INTERNAL_ERROR`.
    ///
    /// `NO_ERROR` would make a cut body look complete to its reader (truths.md 4), so it is taken as `INTERNAL_ERROR`.
    #[cfg(feature = "h2")]
    pub fn reset(mut self, code: h2::Reason) -> Self {
        let harmless = code == h2::Reason::NO_ERROR;
        self.reset = if harmless { Reset::DEFAULT } else { Reset { code } };
        self
    }
}

impl<S, F: Clone> Layer<S> for AbortLayer<F> {
    type Service = Abort<S, F>;

    fn layer(&self, inner: S) -> Self::Service {
        Abort { inner: AlwaysReady::new(inner), layer: self.clone() }
    }
}

/// The service made by [`AbortLayer`].
#[derive(Clone)]
pub struct Abort<S, F> {
    inner: AlwaysReady<S>,
    layer: AbortLayer<F>,
}

impl<S, F, A, B> Service<Request<A>> for Abort<S, F>
where
    S: Service<Request<A>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    A: Send + 'static,
    F: Fn(&Parts) -> AbortHandle,
    B: Body<Data = Bytes> + Send + 'static,
{
    type Response = Response<AbortBody<B>>;
    type Error = S::Error;
    type Future = AbortFuture<AlwaysReadyFuture<S, Request<A>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<A>) -> Self::Future {
        let exchange = Exchange::of(&mut request);
        let (parts, body) = request.into_parts();
        let handle = (self.layer.source)(&parts);
        let slot = Slot::new();
        let hold = hold(&exchange, &handle, &slot);
        let ours = (exchange, self.layer.answer.clone(), self.layer.reset);
        let call = |request| self.inner.call(request);
        AbortFuture { inner: CutFuture::call(slot, hold, ours, (parts, body), call) }
    }
}

impl<F> fmt::Debug for AbortLayer<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AbortLayer").finish_non_exhaustive()
    }
}

impl<S: fmt::Debug, F> fmt::Debug for Abort<S, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Abort").field("inner", self.inner.get_ref()).finish_non_exhaustive()
    }
}
