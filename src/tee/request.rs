//! Captures request bodies.

use std::{
    fmt,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, request::Parts};
use http_body::Body;
use tower_layer::Layer;
use tower_service::Service;

use super::{Limit, Recording, RecordingSink, Sink, TeeBody};
use crate::{
    exchange::Exchange,
    ready::{AlwaysReady, AlwaysReadyFuture},
};

/// Captures request bodies, as [`TeeLayer`](super::TeeLayer) does response bodies.
///
/// A request body ends `completed` when the handler read it to its end, `disconnected` when the handler dropped it
/// before that, `discarded` when nobody read from it, and `failed` when the client did not send all of it.
///
/// ```
/// use tower_lifeline::tee::{Limit, TeeRequestLayer};
///
/// // A hook finds it as `exchange.fact::<RequestRecording>()`.
/// let layer = TeeRequestLayer::recording(Limit::first(64 * 1024));
/// # let _ = tower_layer::Layer::layer(&layer, ());
/// ```
#[derive(Clone)]
#[must_use]
pub struct TeeRequestLayer<F> {
    make_sink: F,
}

/// The recording of a request body, as a fact in the exchange.
#[derive(Clone, Debug)]
pub struct RequestRecording(pub Recording);

impl<F, S> TeeRequestLayer<F>
where
    F: Fn(&Parts) -> S,
    S: Sink,
{
    /// Captures each request body into the sink that `make_sink` gives for it.
    pub const fn new(make_sink: F) -> Self {
        Self { make_sink }
    }
}

impl TeeRequestLayer<()> {
    /// Captures each request body into a [`RequestRecording`] of its own, left as a fact in the [`Exchange`].
    pub fn recording(limit: Limit) -> TeeRequestLayer<impl Fn(&Parts) -> RecordingSink + Clone> {
        TeeRequestLayer::new(move |request: &Parts| {
            let recording = Recording::new(limit.clone());
            if let Some(exchange) = Exchange::get(&request.extensions) {
                exchange.insert(RequestRecording(recording.clone()));
            }
            recording.sink()
        })
    }
}

impl<S, F: Clone> Layer<S> for TeeRequestLayer<F> {
    type Service = TeeRequest<S, F>;

    fn layer(&self, inner: S) -> Self::Service {
        TeeRequest { inner: AlwaysReady::new(inner), make_sink: self.make_sink.clone() }
    }
}

/// The service made by [`TeeRequestLayer`].
#[derive(Clone)]
pub struct TeeRequest<S, F> {
    inner: AlwaysReady<S>,
    make_sink: F,
}

impl<S, F, K, B> Service<Request<B>> for TeeRequest<S, F>
where
    S: Service<Request<TeeBody<B, K>>> + Clone,
    F: Fn(&Parts) -> K,
    K: Sink,
    B: Body<Data = Bytes>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = AlwaysReadyFuture<S, Request<TeeBody<B, K>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        Exchange::of(&mut request);
        let (parts, body) = request.into_parts();
        let sink = (self.make_sink)(&parts);
        self.inner.call(Request::from_parts(parts, TeeBody::new(body, sink)))
    }
}

impl<F> fmt::Debug for TeeRequestLayer<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TeeRequestLayer").finish_non_exhaustive()
    }
}

impl<S: fmt::Debug, F> fmt::Debug for TeeRequest<S, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TeeRequest").field("inner", self.inner.get_ref()).finish_non_exhaustive()
    }
}
