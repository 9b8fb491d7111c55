//! Captures a body while it streams.
//!
//! ```
//! use http_body_util::{BodyExt, Full};
//! use tower_lifeline::tee::{Limit, Recording, TeeBody};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! let recording = Recording::new(Limit::first(5));
//! let body = TeeBody::new(Full::from("hello world"), recording.sink());
//! assert_eq!(body.collect().await.unwrap().to_bytes(), "hello world");
//!
//! assert_eq!(recording.to_bytes(), "hello");
//! assert!(recording.is_truncated());
//! # }
//! ```
//!
//! What happens when, in a [`TeeBody`]:
//!
//! | event | reader | sink |
//! |---|---|---|
//! | data frame | gets it unchanged, at once | [`Sink::data`], a clone of the `Bytes`, before it is handed on |
//! | trailers | gets them unchanged | [`Sink::trailers`], then [`Sink::end`] |
//! | end | gets it | [`Sink::end`] with `completed`, or `truncated` when the announced length was not met |
//! | error | gets it, the very same | [`Sink::end`] with `failed` |
//! | client gone | – | [`Sink::end`] with `disconnected`, in the body's drop |
//! | client gone, inside of a [`DetachLayer`](crate::detach) | – | the rest of the frames, then [`Sink::end`] with how the body ended |
//! | abort or time limit in the same stack | see that layer | [`Sink::end`] with `aborted` or `timed_out` |
//! | panic of the body | gets the panic | [`Sink::end`] with `panicked` |
//! | service error, no response | gets the error | [`Sink::end`] with `failed`, or `disconnected` when nobody waited any more |
//! | panic of the sink | notices nothing | is dropped |
//!
//! Size, headers, trailers, `size_hint` and `is_end_stream` are left alone, and the body's error type is not touched.
//! `101` and `2xx` to `CONNECT` have no body to capture: the sink sees the head and `completed`.
//!
//! A [`Sink`] is given the frame's own `Bytes`. To keep one is to keep the buffer that it is a slice of: of 256 bytes from hyper,
//! 8 KiB and more. So a [`Recording`] copies what it keeps ([`Limit`] says what that takes), which costs less than what the
//! clone makes hyper allocate.

mod recording;
mod request;
mod sink;
#[cfg(test)]
mod tests;

use std::fmt;

use bytes::Bytes;
use http::request::Parts;
use http_body::Body;
use tower_layer::Layer;

pub use self::{
    recording::{Keep, Limit, Recording, RecordingSink},
    request::{RequestRecording, TeeRequest, TeeRequestLayer},
    sink::{Sink, SinkWatch},
};
pub use crate::log::Budget;
use crate::{
    exchange::Exchange,
    head::Framing,
    watch::{Awaiting, Watched},
    wrap::{Plan, Wrap},
};

/// A body that captures what passes. See the [module](self) for what happens when.
pub type TeeBody<B, S> = Watched<B, SinkWatch<S>>;

impl<B: Body<Data = Bytes>, S: Sink> TeeBody<B, S> {
    /// Captures `body` into `sink`.
    pub fn new(body: B, sink: S) -> Self {
        let framing = Framing::of_body(&body);
        Self::watch(body, framing, Some(SinkWatch::new(sink, None)))
    }
}

/// Captures response bodies: the function makes a [`Sink`] for each request.
///
/// ```
/// use tower_lifeline::{exchange::Exchange, tee::{Limit, Recording, TeeLayer}};
///
/// // Into a recording that hooks find in the exchange:
/// let layer = TeeLayer::recording(Limit::first(1024 * 1024));
/// // The same, by hand:
/// let layer = TeeLayer::new(|request| {
///     let recording = Recording::new(Limit::first(1024 * 1024));
///     if let Some(exchange) = Exchange::get(&request.extensions) {
///         exchange.insert(recording.clone());
///     }
///     recording.sink()
/// });
/// # let _: tower_lifeline::tee::Tee<(), _> = tower_layer::Layer::layer(&layer, ());
/// ```
#[derive(Clone)]
#[must_use]
pub struct TeeLayer<F> {
    make_sink: F,
}

/// The service made by [`TeeLayer`].
pub type Tee<S, F> = Wrap<S, TeeLayer<F>>;

impl<F, S> TeeLayer<F>
where
    F: Fn(&Parts) -> S,
    S: Sink,
{
    /// Captures each response into the sink that `make_sink` gives for its request.
    pub const fn new(make_sink: F) -> Self {
        Self { make_sink }
    }
}

impl TeeLayer<()> {
    /// Captures each response into a [`Recording`] of its own, left as a fact in the [`Exchange`].
    pub fn recording(limit: Limit) -> TeeLayer<impl Fn(&Parts) -> RecordingSink + Clone> {
        TeeLayer::new(move |request: &Parts| {
            let recording = Recording::new(limit.clone());
            if let Some(exchange) = Exchange::get(&request.extensions) {
                exchange.insert(recording.clone());
            }
            recording.sink()
        })
    }
}

impl<S, F: Clone> Layer<S> for TeeLayer<F> {
    type Service = Tee<S, F>;

    fn layer(&self, inner: S) -> Self::Service {
        Wrap::new(inner, self.clone())
    }
}

impl<F, S> Plan for TeeLayer<F>
where
    F: Fn(&Parts) -> S,
    S: Sink,
{
    type Guard = Awaiting<SinkWatch<S>>;

    fn plan(&self, exchange: &Exchange, request: &Parts) -> Self::Guard {
        let sink = SinkWatch::new((self.make_sink)(request), Some(exchange.clone()));
        Awaiting::new(request.method.clone(), sink)
    }
}

impl<F> fmt::Debug for TeeLayer<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TeeLayer").finish_non_exhaustive()
    }
}
