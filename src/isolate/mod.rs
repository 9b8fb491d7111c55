//! Keeps a body that blocks its thread away from everything else.
//!
//! A poll can not be interrupted. A body that does slow work inside `poll_frame` (a synchronous read, a lock, a lot of
//! computing) holds the thread that polls it, and with it whatever else was to run there: the abort of its own stream, and
//! other tasks. This layer reads it on a thread of its own, behind a bounded channel.
//!
//! ```
//! use http_body_util::{BodyExt, Full};
//! use tower_lifeline::isolate::IsolateBody;
//!
//! # #[tokio::main] async fn main() {
//! let body = IsolateBody::new(Full::<bytes::Bytes>::from("slowly computed"), 4);
//! assert_eq!(body.collect().await.unwrap().to_bytes(), "slowly computed");
//! # }
//! ```
//!
//! | event | what happens |
//! |---|---|
//! | the head | the body is read from here on, by a blocking thread of tokio's, at most `capacity` + 1 frames ahead |
//! | data frame, trailers, end | pass unchanged, in order |
//! | error | reaches the reader in its place, boxed and otherwise untouched |
//! | panic of the body | is caught; what came before it is read first, then the error [`BodyPanicked`](crate::error::BodyPanicked). The cause of the exchange is `panicked` |
//! | the body blocks its thread | an abort or a time limit outside of this layer ends the stream at once |
//! | client gone, abort | the inner body is dropped on its own thread: at once, or when its poll returns |
//! | the runtime shuts down | the inner body is dropped; a reader that is still there gets the error [`PumpLost`] |
//! | the body has ended at once, HEAD and others without a body, 101, 2xx to CONNECT, no runtime | no thread: the body is polled by its reader |
//! | service error, panic, no response | goes on to the caller |
//!
//! `size_hint` is what the inner body said at first, less what was read since: exact stays exact, so headers are left alone.
//! The end of stream is reported when it was read, not before. The body's error becomes a [`BoxError`](crate::error::BoxError).
//!
//! Put it next to the service, inside of the layers that cut. It is made for bodies that are known to block, and it is not free: one
//! thread for each live stream, out of those that tokio keeps for blocking work (512, unless the runtime was built with
//! another number; file access and name lookups of others use them too). A stream beyond that waits for its first frame until a
//! thread is free. A thread that is blocked keeps the runtime from shutting down until its poll returns, unless the runtime is shut down
//! with a time limit. In tests, tokio's paused clock does not move by itself while such a thread is in use.

mod body;
mod error;
mod pump;
#[cfg(test)]
mod tests;

use http::{Method, Response, request::Parts};
use http_body::Body;
use tower_layer::Layer;

pub use self::{body::IsolateBody, error::PumpLost};
use crate::{
    error::BoxError,
    exchange::Exchange,
    head::Framing,
    wrap::{Guard, Plan, Wrap},
};

/// Reads each response body on a thread of its own. See the [module](self) for what happens when.
///
/// ```
/// use tower_lifeline::{abort::{AbortHandle, AbortLayer}, isolate::IsolateLayer};
///
/// let stop = AbortHandle::new();
/// let layers = tower::ServiceBuilder::new()
///     .layer(AbortLayer::new(move |_request| stop.child()))
///     .layer(IsolateLayer::new(8));
/// # let _ = layers.service(());
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct IsolateLayer {
    capacity: usize,
}

/// The service made by [`IsolateLayer`].
pub type Isolate<S> = Wrap<S, IsolateLayer>;

impl IsolateLayer {
    /// Lets each body run ahead of its reader by `capacity` frames, at least 1, and the one in hand.
    pub const fn new(capacity: usize) -> Self {
        Self { capacity }
    }
}

impl<S> Layer<S> for IsolateLayer {
    type Service = Isolate<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Wrap::new(inner, self.clone())
    }
}

impl Plan for IsolateLayer {
    type Guard = IsolateGuard;

    fn plan(&self, exchange: &Exchange, request: &Parts) -> Self::Guard {
        let (exchange, method) = (exchange.clone(), request.method.clone());
        IsolateGuard { capacity: self.capacity, exchange, method }
    }
}

/// Waits for the response whose body is to be read on a thread of its own.
#[derive(Debug)]
pub struct IsolateGuard {
    capacity: usize,
    exchange: Exchange,
    method: Method,
}

impl<B, E> Guard<B, E> for IsolateGuard
where
    B: Body + Send + 'static,
    B::Data: Send + 'static,
    B::Error: Into<BoxError>,
{
    type Body = IsolateBody<B>;

    fn wrap(self, response: Response<B>) -> Response<Self::Body> {
        let (head, body) = response.into_parts();
        // Tunnels are among those without a body.
        let framing = Framing::of(&self.method, &head, &body);
        let body = IsolateBody::with(body, framing, self.capacity, self.exchange);
        Response::from_parts(head, body)
    }
}
