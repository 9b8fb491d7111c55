//! Commits the head of a response only when its stream has really begun, so that a failure before that is still a real
//! status, and a retry or a fallback outside can act on it.
//!
//! ```
//! use bytes::Bytes;
//! use http::{Request, Response, StatusCode, header};
//! use http_body_util::{BodyExt, Channel};
//! use tower::{Layer, ServiceExt, service_fn};
//! use tower_lifeline::first_frame::FirstFrameLayer;
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! let service = FirstFrameLayer::by_media().layer(service_fn(|request: Request<&'static str>| async {
//!     let (mut upstream, body) = Channel::<Bytes>::new(1);
//!     upstream.send_data(request.into_body().into()).await.unwrap();
//!     let response = Response::builder().header(header::CONTENT_TYPE, "text/event-stream");
//!     Ok::<_, std::io::Error>(response.body(body).unwrap())
//! }));
//!
//! let refused = "event: ping\ndata: {}\n\nevent: error\ndata: {\"type\":\"error\"}\n\n";
//! let response = service.clone().oneshot(Request::new(refused)).await.unwrap();
//! assert_eq!(response.status(), StatusCode::BAD_GATEWAY); // It said 200.
//!
//! let begun = "event: ping\ndata: {}\n\ndata: hello\n\n";
//! let response = service.oneshot(Request::new(begun)).await.unwrap();
//! assert_eq!(response.status(), StatusCode::OK);
//! assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), begun); // The ping too.
//! # }
//! ```
//!
//! | event | what happens |
//! |---|---|
//! | head with 2xx and a body | is held back, and with it what the body gives, until [`Begin`] says that the stream has begun: by default SSE begins with an event that is neither a ping nor an error, everything else with its first byte |
//! | the stream begins | the head goes out; then all frames that were held back, as they came; then the rest |
//! | an error event, or [`Verdict::Failed`], before that | a failed start: [`FailedStart::InBand`] |
//! | body error before that | a failed start: [`FailedStart::Body`] |
//! | clean end before that | a failed start, [`FailedStart::Ended`]; but for [`Begin::any_byte`] an empty body is a response like any other, unless its head announced bytes |
//! | a failed start | the inner body is dropped; then 502 is answered (504 for a [time limit](crate::timeouts) inside), or gRPC trailers-only with status 14 (4) for a gRPC request, or what [`FirstFrameLayer::answer`] says |
//! | 64 KiB held back, or 10 s since the head: see [`FirstFrameLayer::limits`] | the head goes out as it is; from then on failures are told in the stream |
//! | frame, trailers, end, error after the head went out | handed on unchanged |
//! | client gone, abort while held back | the inner body is dropped |
//! | panic of the inner body or service | goes on to the caller |
//! | service error | goes on to the caller |
//! | other statuses, 101, CONNECT, HEAD, 204 | handed on untouched, at once |
//!
//! Changes no bytes: headers stay, `size_hint` counts what is held back, and the end of stream is not reported before that
//! went out.
//!
//! A failed start leaves no cause in the [`Exchange`], unless it was an abort: the exchange ends as the next attempt does,
//! or as the answer does if there is none, and [`Ending::status`](crate::finalize::Ending::status) tells the two apart.
//!
//! Put it next to the service, inside of whatever is to act on the failure. An [`EarlyHeadLayer`](crate::early_head) outside
//! that commits 200 before there is a head makes it useless for that response, since whatever comes later can only be told in
//! the stream: keep the time limit here shorter than that layer's.
//!
//! The future must be polled on a tokio runtime with time enabled. The layer allocates per response, never per frame that
//! passes after the head.

mod answer;
mod begin;
mod body;
mod future;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, response};
use http_body::Body;
use tower_layer::Layer;
use tower_service::Service;

use self::answer::{Answer, Answering};
pub use self::{
    answer::FailedStart,
    begin::{Begin, Verdict},
    body::FirstFrameBody,
    future::FirstFrameFuture,
};
use crate::{
    error::BoxError,
    exchange::Exchange,
    head::Media,
    ready::{AlwaysReady, AlwaysReadyFuture},
};

/// Commits a head only when its stream has begun. See the [module](self) for what happens when.
#[derive(Clone)]
#[must_use]
pub struct FirstFrameLayer<F> {
    begin: F,
    limits: Limits,
    answer: Option<Answer>,
}

/// What is waited for at most.
#[derive(Clone, Copy, Debug)]
struct Limits {
    /// Bytes held back, with what a frame costs by itself.
    bytes: usize,
    /// Time after the head.
    time: Duration,
}

impl FirstFrameLayer<fn(&response::Parts) -> Begin> {
    /// Waits for what [`Begin::by_media`] says.
    pub const fn by_media() -> Self {
        Self::new(Begin::by_media)
    }
}

impl<F: Fn(&response::Parts) -> Begin> FirstFrameLayer<F> {
    /// Asks `begin`, for each response with its head, when its stream will have begun.
    pub const fn new(begin: F) -> Self {
        let limits = Limits { bytes: 64 * 1024, time: Duration::from_secs(10) };
        Self { begin, limits, answer: None }
    }
}

impl<F> FirstFrameLayer<F> {
    /// Sets how many bytes are held back, and for how long after the head. Whichever is reached first, the head goes out as
    /// it is. A frame is not divided, so that what is held may exceed `bytes` by the last one.
    pub const fn limits(mut self, bytes: usize, after_head: Duration) -> Self {
        self.limits = Limits { bytes, time: after_head };
        self
    }

    /// Replaces the answer to a failed start.
    ///
    /// ```
    /// use bytes::Bytes;
    /// use http::{Response, StatusCode};
    /// use tower_lifeline::first_frame::{FailedStart, FirstFrameLayer};
    ///
    /// let layer = FirstFrameLayer::by_media().answer(|failed| {
    ///     let mut response = Response::new(match failed {
    ///         FailedStart::InBand(data) => data.clone(), // The upstream's own words.
    ///         other => Bytes::from(other.to_string()),
    ///     });
    ///     *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    ///     response
    /// });
    /// # let _ = tower_layer::Layer::layer(&layer, ());
    /// ```
    pub fn answer<A>(mut self, answer: A) -> Self
    where
        A: Fn(&FailedStart) -> Response<Bytes> + Send + Sync + 'static,
    {
        self.answer = Some(Arc::new(answer));
        self
    }
}

impl<S, F: Clone> Layer<S> for FirstFrameLayer<F> {
    type Service = FirstFrame<S, F>;

    fn layer(&self, inner: S) -> Self::Service {
        FirstFrame { inner: AlwaysReady::new(inner), layer: self.clone() }
    }
}

/// The service made by [`FirstFrameLayer`].
#[derive(Clone)]
pub struct FirstFrame<S, F> {
    inner: AlwaysReady<S>,
    layer: FirstFrameLayer<F>,
}

impl<S, F, A, B> Service<Request<A>> for FirstFrame<S, F>
where
    S: Service<Request<A>, Response = Response<B>> + Clone,
    F: Fn(&response::Parts) -> Begin + Clone,
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Response = Response<FirstFrameBody<B>>;
    type Error = S::Error;
    type Future = FirstFrameFuture<AlwaysReadyFuture<S, Request<A>>, B, F>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<A>) -> Self::Future {
        let answering = Answering {
            exchange: Exchange::of(&mut request),
            grpc: Media::of(request.headers()) == Media::Grpc,
            answer: self.layer.answer.clone(),
        };
        let method = request.method().clone();
        let (begin, limits) = (self.layer.begin.clone(), self.layer.limits);
        FirstFrameFuture::new(self.inner.call(request), method, begin, limits, answering)
    }
}

impl<F> fmt::Debug for FirstFrameLayer<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FirstFrameLayer").field("limits", &self.limits).finish_non_exhaustive()
    }
}

impl<S: fmt::Debug, F> fmt::Debug for FirstFrame<S, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FirstFrame").field("inner", self.inner.get_ref()).finish_non_exhaustive()
    }
}
