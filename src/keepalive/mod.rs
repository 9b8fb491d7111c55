//! Sends heartbeats while a stream is idle.
//!
//! ```
//! use std::time::Duration;
//! use bytes::Bytes;
//! use http_body::Frame;
//! use http_body_util::{BodyExt, Channel};
//! use tower_lifeline::keepalive::{Heartbeat, IdleKeepaliveBody};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() {
//! let (mut upstream, body) = Channel::<Bytes>::new(1);
//! let mut body = IdleKeepaliveBody::new(body, Duration::from_secs(15), Heartbeat::comment());
//!
//! upstream.send_data("data: one\n\ndata: tw".into()).await.unwrap();
//! let mut next = async || body.frame().await.unwrap().unwrap().into_data().unwrap();
//! assert_eq!(next().await, "data: one\n\n"); // Half an event is held back, ...
//! assert_eq!(next().await, ": keep-alive\n"); // ... 15 s pass ...
//! upstream.send_data("o\n\n".into()).await.unwrap();
//! assert_eq!([next().await, next().await].concat(), b"data: two\n\n"); // ... and it goes on.
//! # }
//! ```
//!
//! | event | what happens |
//! |---|---|
//! | data frame | whole events are handed on at once; the tail of an unfinished one is held back until it is complete (at most 64 KiB with the memory of its pieces; a larger event is passed through, without heartbeats until it ends) |
//! | an NDJSON record whose line end is still to come | goes out when its object or array is complete, any other value at once; then no heartbeats until the line ends |
//! | nothing for the interval since a frame went out | one heartbeat; an empty frame counts as nothing |
//! | the client does not read | nothing: a heartbeat is made when hyper has room for it, and no second one before that went out. hyper's HTTP/1 has room for up to 16 frames of its own |
//! | the clock jumps | one heartbeat, not one for each interval |
//! | data and heartbeat due together | the data |
//! | trailers, end, error | what was held back goes out first, then it is handed on unchanged |
//! | client gone, abort | the inner body is dropped |
//! | service error, no response | goes on to the caller |
//!
//! Adds bytes between events and nowhere else, so `Content-Length` must not be there, `size_hint` is not exact, and the
//! end of stream is not reported while something is held back. A byte order mark behind a heartbeat would not be one any
//! more, so it is taken out.
//!
//! The layer stands aside, and hands everything on untouched, where a heartbeat could corrupt (protocol.md 1d): responses
//! with `Content-Length` or an exact size, with a content coding, a digest, a signature or a range; HEAD, 1xx, 204, 205,
//! 206, 304, CONNECT; gRPC; media types that the heartbeat is not made for. It can not work outside of a compression
//! layer's encoder, and it must be outside of whatever measures whether the upstream is idle.
//!
//! `multipart/mixed`, in which GraphQL servers answer subscriptions, gets no heartbeats: what its clients take for one is a part
//! of their own protocol, which the server sends by itself.
//!
//! A heartbeat is also how a client is found to be gone that hyper does not watch: one whose request was not read to its
//! end, or that pipelines. The second write after it left fails, so it takes up to two intervals.
//!
//! The body must be polled on a tokio runtime with time enabled; it may be dropped anywhere.

mod body;
mod heartbeat;
#[cfg(test)]
mod tests;

use std::{fmt, time::Duration};

use bytes::Bytes;
use http::{
    Method, Response,
    request::Parts,
    response::{self},
};
use http_body::Body;
use tower_layer::Layer;

pub use self::{body::IdleKeepaliveBody, heartbeat::Heartbeat};
use crate::{
    exchange::Exchange,
    head::{Media, is_malleable},
    wrap::{Guard, Plan, Wrap},
};

/// Sends heartbeats while a stream is idle. See the [module](self) for what happens when.
#[derive(Clone)]
#[must_use]
pub struct IdleKeepaliveLayer<F> {
    interval: Duration,
    choose: F,
}

/// The service made by [`IdleKeepaliveLayer`].
pub type IdleKeepalive<S, F> = Wrap<S, IdleKeepaliveLayer<F>>;

type ByMedia = fn(&Parts) -> fn(&response::Parts) -> Heartbeat;

impl IdleKeepaliveLayer<ByMedia> {
    /// Sends a heartbeat whenever nothing was sent for `interval`; at least 1 ms. Which one:
    /// [`Heartbeat::by_media`].
    pub const fn new(interval: Duration) -> Self {
        Self { interval, choose: |_| Heartbeat::by_media }
    }
}

impl<F> IdleKeepaliveLayer<F> {
    /// Chooses the heartbeat by the request, and then by the head of its response.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tower_lifeline::keepalive::{Heartbeat, IdleKeepaliveLayer};
    ///
    /// let layer = IdleKeepaliveLayer::new(Duration::from_secs(15)).heartbeat(|request| {
    ///     let anthropic = request.uri.path() == "/v1/messages";
    ///     move |head| if anthropic { Heartbeat::anthropic_ping() } else { Heartbeat::by_media(head) }
    /// });
    /// # let _: tower_lifeline::keepalive::IdleKeepalive<(), _> = tower_layer::Layer::layer(&layer, ());
    /// ```
    pub fn heartbeat<G, H>(self, choose: G) -> IdleKeepaliveLayer<G>
    where
        G: Fn(&Parts) -> H,
        H: FnOnce(&response::Parts) -> Heartbeat,
    {
        IdleKeepaliveLayer { interval: self.interval, choose }
    }
}

impl<S, F: Clone> Layer<S> for IdleKeepaliveLayer<F> {
    type Service = IdleKeepalive<S, F>;

    fn layer(&self, inner: S) -> Self::Service {
        Wrap::new(inner, self.clone())
    }
}

impl<F, H> Plan for IdleKeepaliveLayer<F>
where
    F: Fn(&Parts) -> H,
    H: FnOnce(&response::Parts) -> Heartbeat,
{
    type Guard = KeepaliveGuard<H>;

    fn plan(&self, _: &Exchange, request: &Parts) -> Self::Guard {
        let choose = (self.choose)(request);
        KeepaliveGuard { interval: self.interval, method: request.method.clone(), choose }
    }
}

/// Waits for the response that may need heartbeats.
pub struct KeepaliveGuard<H> {
    interval: Duration,
    method: Method,
    choose: H,
}

impl<H, B, E> Guard<B, E> for KeepaliveGuard<H>
where
    H: FnOnce(&response::Parts) -> Heartbeat,
    B: Body<Data = Bytes>,
{
    type Body = IdleKeepaliveBody<B>;

    fn wrap(self, response: Response<B>) -> Response<Self::Body> {
        let (head, body) = response.into_parts();
        let heartbeat = (self.choose)(&head);
        let fits =
            heartbeat.media == Media::of(&head.headers) && is_malleable(&self.method, &head, &body);
        let heartbeat = if fits { heartbeat } else { Heartbeat::none() };
        Response::from_parts(head, IdleKeepaliveBody::new(body, self.interval, heartbeat))
    }
}

impl<F> fmt::Debug for IdleKeepaliveLayer<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IdleKeepaliveLayer")
            .field("interval", &self.interval)
            .finish_non_exhaustive()
    }
}

impl<H> fmt::Debug for KeepaliveGuard<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeepaliveGuard").field("interval", &self.interval).finish_non_exhaustive()
    }
}
