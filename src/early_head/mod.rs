//! Gives the client its head before the upstream has: for streams whose first byte comes late.
//!
//! A model that thinks for two minutes before its head is cut off by the idle timer of some proxy in between, and no
//! heartbeat can help, since before the head there is nowhere to put one. So after a time this layer commits
//! `200 text/event-stream` by itself, and a keepalive layer outside of it begins.
//!
//! ```
//! use std::time::Duration;
//! use bytes::Bytes;
//! use http::{Request, Response};
//! use http_body_util::{BodyExt, Full};
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//! use tower_lifeline::{early_head::EarlyHeadLayer, keepalive::IdleKeepaliveLayer};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() {
//! let service = ServiceBuilder::new()
//!     .layer(IdleKeepaliveLayer::new(Duration::from_secs(10)))
//!     .layer(EarlyHeadLayer::new(Duration::from_secs(5)))
//!     .service(service_fn(|_: Request<()>| async {
//!         tokio::time::sleep(Duration::from_secs(20)).await; // It thinks.
//!         let response = Response::builder().header("content-type", "text/event-stream");
//!         Ok::<_, std::io::Error>(response.body(Full::<Bytes>::from("data: hello\n\n")).unwrap())
//!     }));
//!
//! let start = tokio::time::Instant::now();
//! let request = Request::get("/").header("accept", "text/event-stream").body(()).unwrap();
//! let response = service.oneshot(request).await.unwrap();
//! assert_eq!((response.status().as_u16(), start.elapsed().as_secs()), (200, 5));
//!
//! let text = response.into_body().collect().await.unwrap().to_bytes();
//! assert_eq!(text, ": keep-alive\ndata: hello\n\n");
//! # }
//! ```
//!
//! The time counts from the call; with an [`UploadLayer`](crate::upload) inside, from when the service has the whole request:
//! a head in the middle of an upload would hide a refusal.
//!
//! | event | what happens |
//! |---|---|
//! | head, service error or panic before the time | handed on untouched |
//! | the time passes, and a stream was asked for | the head goes out; [`EarlyHead`] is left in the exchange; the body waits for the inner future |
//! | the time passes, and none was asked for | nothing; asked again each time it has passed once more |
//! | head and time together | the head |
//! | the clock jumps | one question, not one for each time that has passed |
//! | HEAD, CONNECT, a request to upgrade (but to `h2c`, which some clients offer with every request) | handed on untouched, however late |
//! | late head, 2xx and `text/event-stream` without a content coding | its body streams on; its status, headers and extensions are lost |
//! | any other late head | its body is dropped; [`LateHead`] as an error of the body; the cause is `failed`, `upstream_status_429` or `upstream_not_a_stream` |
//! | late service error | the same error, as an error of the body; the cause is `failed` |
//! | late answer of an abort or a time limit inside | as any other head, but the cause is the abort or the limit: it came first |
//! | late panic of the inner future | it is dropped, the panic goes on out of the body |
//! | client gone while it waits | the inner future is dropped |
//!
//! # The price
//!
//! After the early head nothing can be told by a status any more: not a 429, not a `retry-after`, no header at all. Put a
//! [`FinalFrameLayer`](crate::final_frame) outside, which tells the client in the stream, and choose a time that honest
//! errors do not need: seconds. What the client must see of the headers has to be set outside of this layer.
//!
//! A [`FirstFrameLayer`](crate::first_frame) inside holds heads back on purpose. The two work together when it gives up, and
//! so answers, before this time is over: first a real status within its limit, then heartbeats.
//!
//! # Where it goes
//!
//! Inside of what faces the client, and outside of what cuts or watches: they still wait for the true head, so that a limit
//! on it holds and an ending says what the upstream did. The client's status then is in [`EarlyHead`].
//!
//! The response future must be polled on a tokio runtime with time enabled. The layer allocates per exchange, never per
//! frame.

mod accept;
mod asks;
mod body;
mod error;
mod future;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    task::{Context, Poll},
    time::Duration,
};

use http::{Method, Request, Response, StatusCode, request::Parts};
use http_body::Body;
use tower_layer::Layer;
use tower_service::Service;

pub use self::{
    accept::accepts_event_stream,
    asks::{
        AsksForEventStream, AsksForStream, AsksForStreamSink, WantsStream, asks_for_event_stream,
    },
    body::EarlyHeadBody,
    error::LateHead,
    future::EarlyHeadFuture,
};
use crate::{
    error::BoxError,
    exchange::Exchange,
    ready::{AlwaysReady, AlwaysReadyFuture},
};

/// The fact that a client was given a head before the upstream gave one. For hooks: [`Exchange::fact`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct EarlyHead {
    /// What the client was given.
    pub status: StatusCode,
    /// When, from the start of the exchange.
    pub time_to_head: Duration,
}

/// Commits a head when the inner service takes too long for one. See the [module](self) for what happens when.
#[derive(Clone)]
#[must_use]
pub struct EarlyHeadLayer<F> {
    after: Duration,
    when: F,
}

impl EarlyHeadLayer<fn(&Parts) -> AsksForEventStream> {
    /// Commits the head after this time, at least 1 ms, for requests that ask for an event stream by their `Accept`, or by
    /// their body where that is read: [`asks_for_event_stream`].
    pub const fn new(after: Duration) -> Self {
        Self { after, when: asks_for_event_stream }
    }
}

impl<F> EarlyHeadLayer<F> {
    /// Decides by a function of the request. What that returns is asked when the time has passed, and again each time it
    /// has passed once more, as long as it says no: what a request asks for may stand in a body that is still coming in.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tower_lifeline::early_head::{EarlyHeadLayer, WantsStream, asks_for_event_stream};
    ///
    /// let layer = EarlyHeadLayer::new(Duration::from_secs(15)).when(|request| {
    ///     let lines = request.uri.path().ends_with("/api/chat"); // Ollama streams lines of JSON.
    ///     let mut asks = asks_for_event_stream(request);
    ///     move || !lines && asks.wants_stream()
    /// });
    /// # let _: tower_lifeline::early_head::EarlyHeadService<(), _> = tower_layer::Layer::layer(&layer, ());
    /// ```
    pub fn when<G, W>(self, when: G) -> EarlyHeadLayer<G>
    where
        G: Fn(&Parts) -> W,
        W: WantsStream,
    {
        EarlyHeadLayer { after: self.after, when }
    }
}

impl<S, F: Clone> Layer<S> for EarlyHeadLayer<F> {
    type Service = EarlyHeadService<S, F>;

    fn layer(&self, inner: S) -> Self::Service {
        EarlyHeadService { inner: AlwaysReady::new(inner), layer: self.clone() }
    }
}

/// The service made by [`EarlyHeadLayer`].
#[derive(Clone)]
pub struct EarlyHeadService<S, F> {
    inner: AlwaysReady<S>,
    layer: EarlyHeadLayer<F>,
}

impl<S, F, W, A, B> Service<Request<A>> for EarlyHeadService<S, F>
where
    S: Service<Request<A>, Response = Response<B>> + Clone,
    S::Error: Into<BoxError>,
    F: Fn(&Parts) -> W,
    W: WantsStream,
    B: Body,
    B::Error: Into<BoxError>,
{
    type Response = Response<EarlyHeadBody<AlwaysReadyFuture<S, Request<A>>, B>>;
    type Error = S::Error;
    type Future = EarlyHeadFuture<AlwaysReadyFuture<S, Request<A>>, W>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<A>) -> Self::Future {
        let exchange = Exchange::of(&mut request);
        let (parts, body) = request.into_parts();
        // A 200 to CONNECT would open a tunnel, to HEAD there is no stream, and behind it there is no 101.
        let may = parts.method != Method::CONNECT
            && parts.method != Method::HEAD
            && !accept::asks_to_upgrade(&parts.headers);
        let asked = may.then(|| (self.layer.when)(&parts));
        let inner = self.inner.call(Request::from_parts(parts, body));
        EarlyHeadFuture::new(inner, asked, self.layer.after, exchange)
    }
}

impl<F> fmt::Debug for EarlyHeadLayer<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EarlyHeadLayer").field("after", &self.after).finish_non_exhaustive()
    }
}

impl<S: fmt::Debug, F> fmt::Debug for EarlyHeadService<S, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EarlyHeadService")
            .field("inner", self.inner.get_ref())
            .finish_non_exhaustive()
    }
}
