//! Decides what the client sees of an unclean end: an abort, a time limit, an upstream that fails or panics.
//!
//! ```
//! use bytes::Bytes;
//! use http::{Request, Response, header};
//! use http_body::Frame;
//! use http_body_util::{BodyExt, Channel};
//! use tower::{Layer, ServiceExt, service_fn};
//! use tower_lifeline::final_frame::FinalFrameLayer;
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! let service = FinalFrameLayer::by_media().layer(service_fn(|_: Request<()>| async {
//!     let (mut upstream, body) = Channel::<Bytes, std::io::Error>::new(2);
//!     upstream.send_data("data: one\n\ndata: tw".into()).await.unwrap();
//!     upstream.abort(std::io::Error::other("connection reset"));
//!     let response = Response::builder().header(header::CONTENT_TYPE, "text/event-stream");
//!     Ok::<_, std::io::Error>(response.body(body).unwrap())
//! }));
//!
//! let response = service.oneshot(Request::new(())).await.unwrap();
//! let text = response.into_body().collect().await.unwrap().to_bytes();
//! assert_eq!(
//!     text,
//!     "data: one\n\n\
//!      event: error\n\
//!      data: {\"type\":\"error\",\"error\":{\"type\":\"upstream\",\"message\":\"the upstream failed\",\"code\":\"failed\"}}\n\n"
//! );
//! # }
//! ```
//!
//! | event | what happens |
//! |---|---|
//! | data frame | SSE and NDJSON: as in [`keepalive`](crate::keepalive), whole events, the tail of an unfinished one held back; others: at once |
//! | trailers, end | what was held back goes out, then they are handed on |
//! | error | an unfinished event is dropped; then what the function says: see [`Final`] |
//! | panic of the body | is caught and taken for an error, [`BodyPanicked`], unless [`FinalFrameLayer::propagate_panics`] |
//! | abort, time limit | are errors of the inner body |
//! | error behind the end that the stream has said itself (feature `usage`) | a clean end: the client has all of it, or was told by the upstream |
//! | client gone | the inner body is dropped |
//! | service error, no response | goes on to the caller |
//!
//! Where the function's answer would corrupt, the error is passed on in its place: in the middle of an event too large
//! to be held back, in the middle of a gRPC message, and under a `Content-Length`, a digest or a range, where a clean early
//! end does not exist. An error waits 5 ms, because hyper loses what it was given directly before one (truths.md 4).
//!
//! The ready-made frames tell a fixed text for each cause, never that of an error: reqwest's, for one, has the URL of the
//! upstream with its query, and keys are put there. The error is for logs
//! ([`Ending::error`](crate::finalize::Ending::error)); [`Failure::with_message`] may tell more.
//!
//! # In a gRPC client
//!
//! tonic's client makes `Unknown` of a body's error that it does not know. Where a limit or an abort stands in a client, put
//! the final frame outside of it there too: then the call ends with `DeadlineExceeded`, `Cancelled` or `Unavailable`, as it
//! does before the head, where these layers answer with a status.
//!
//! ```
//! use std::{convert::Infallible, time::Duration};
//! use bytes::Bytes;
//! use http::{Request, Response};
//! use http_body_util::Channel;
//! use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
//! use tower::{ServiceBuilder, service_fn};
//! use tower_lifeline::{final_frame::FinalFrameLayer, timeouts::{Limits, TimeoutsLayer}};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() {
//! # let channel = service_fn(|_: Request<tonic::body::Body>| async {
//! #     let (upstream, body) = Channel::<Bytes>::new(1);
//! #     tokio::spawn(async move { tokio::time::sleep(Duration::from_secs(9)).await; drop(upstream) });
//! #     let response = Response::builder().header("content-type", "application/grpc");
//! #     Ok::<_, Infallible>(response.body(body).unwrap())
//! # });
//! let limits = Limits::new().idle(Duration::from_secs(5)).first_frame(Duration::from_secs(5));
//! let service = ServiceBuilder::new()
//!     .layer(FinalFrameLayer::by_media())
//!     .layer(TimeoutsLayer::new(limits))
//!     .service(channel); // a `tonic::transport::Channel`
//!
//! let mut client = HealthClient::new(service);
//! let mut watched = client.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
//! assert_eq!(watched.message().await.unwrap_err().code(), tonic::Code::DeadlineExceeded);
//! # }
//! ```
//!
//! A body that may get a final frame has no exact size. The inner body's error becomes a [`BoxError`]; nothing is lost of
//! it. With the feature `h2` a gRPC stream that breaks in the middle of a message is reset with `CANCEL`, as its
//! specification asks; without it, with `INTERNAL_ERROR`.

mod body;
mod error;
mod ready_made;
#[cfg(test)]
mod tests;

use std::{borrow::Cow, fmt};

use bytes::Bytes;
use http::{HeaderMap, Method, Response, request::Parts};
use http_body::Body;
use tower_layer::Layer;

pub use self::{body::FinalFrameBody, error::MessageCut};
pub use crate::error::BodyPanicked;
use crate::{
    error::BoxError,
    exchange::{Cause, Exchange},
    head::{Media, is_malleable},
    wrap::{Guard, Plan, Wrap},
};

/// An unclean end, for the function that decides what the client sees of it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Failure<'a> {
    /// The record shared with the other layers.
    pub exchange: &'a Exchange,
    /// The first cause of the end.
    pub cause: &'a Cause,
    /// The error of the body.
    pub error: &'a BoxError,
    /// What the body is made of.
    pub media: Media,
    message: Option<Cow<'a, str>>,
}

impl<'a> Failure<'a> {
    /// What the ready-made frames tell the client: fixed words for each cause, [`Cause::client_message`], unless
    /// [`with_message`](Self::with_message) gave others.
    pub fn message(&self) -> Cow<'_, str> {
        self.message.as_deref().map_or_else(|| self.cause.client_message(), Cow::Borrowed)
    }

    /// Tells the client something else. An error's own text may hold an address of the upstream, or a key: tell it only to
    /// clients that may know these.
    ///
    /// ```
    /// use tower_lifeline::{error::ErrorChain, final_frame::{Final, FinalFrameLayer}};
    ///
    /// // For a service whose clients are its own developers.
    /// let layer = FinalFrameLayer::new(|failure| {
    ///     Final::by_media(&failure.with_message(ErrorChain::of(&**failure.error).to_string()))
    /// });
    /// # let _ = tower_layer::Layer::layer(&layer, ());
    /// ```
    #[must_use]
    pub fn with_message(&self, message: impl Into<Cow<'a, str>>) -> Self {
        Self { message: Some(message.into()), ..self.clone() }
    }
}

/// The last thing that a client sees.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Final {
    /// The error. h1: the connection is cut without a final chunk; h2: the stream is reset.
    Error,
    /// A clean end, as if nothing had happened.
    End,
    /// These bytes, a whole event, then a clean end.
    Data(Bytes),
    /// These trailers, then a clean end.
    Trailers(HeaderMap),
}

/// Gives unclean ends a last frame. See the [module](self) for what happens when.
#[derive(Clone)]
#[must_use]
pub struct FinalFrameLayer<F> {
    choose: F,
    propagate_panics: bool,
}

/// The service made by [`FinalFrameLayer`].
pub type FinalFrame<S, F> = Wrap<S, FinalFrameLayer<F>>;

impl FinalFrameLayer<fn(&Failure<'_>) -> Final> {
    /// Decides by what the body is made of: [`Final::by_media`].
    pub const fn by_media() -> Self {
        Self { choose: Final::by_media, propagate_panics: false }
    }
}

impl<F: Fn(&Failure<'_>) -> Final> FinalFrameLayer<F> {
    /// Decides by a function.
    ///
    /// ```
    /// use tower_lifeline::{exchange::Outcome, final_frame::{Final, FinalFrameLayer}};
    ///
    /// let layer = FinalFrameLayer::new(|failure| match failure.cause.outcome() {
    ///     Outcome::Aborted => Final::Data("event: cancelled\ndata: {}\n\n".into()),
    ///     _ => Final::by_media(failure),
    /// });
    /// # let _ = tower_layer::Layer::layer(&layer, ());
    /// ```
    pub const fn new(choose: F) -> Self {
        Self { choose, propagate_panics: false }
    }

    /// Lets a panic of the body go on to the caller, after everything inside has been dropped and told.
    pub const fn propagate_panics(mut self) -> Self {
        self.propagate_panics = true;
        self
    }
}

impl<S, F: Clone> Layer<S> for FinalFrameLayer<F> {
    type Service = FinalFrame<S, F>;

    fn layer(&self, inner: S) -> Self::Service {
        Wrap::new(inner, self.clone())
    }
}

impl<F: Fn(&Failure<'_>) -> Final + Clone> Plan for FinalFrameLayer<F> {
    type Guard = FinalFrameGuard<F>;

    fn plan(&self, exchange: &Exchange, request: &Parts) -> Self::Guard {
        let (exchange, method) = (exchange.clone(), request.method.clone());
        FinalFrameGuard { layer: self.clone(), exchange, method }
    }
}

/// Waits for the response that may need a final frame.
#[derive(Debug)]
pub struct FinalFrameGuard<F> {
    layer: FinalFrameLayer<F>,
    exchange: Exchange,
    method: Method,
}

impl<F, B, E> Guard<B, E> for FinalFrameGuard<F>
where
    F: Fn(&Failure<'_>) -> Final,
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Body = FinalFrameBody<B, F>;

    fn wrap(self, response: Response<B>) -> Response<Self::Body> {
        let (head, body) = response.into_parts();
        let media = Media::of(&head.headers);
        let media = is_malleable(&self.method, &head, &body).then_some(media);
        let body = FinalFrameBody::with(body, media, self.exchange, self.layer);
        Response::from_parts(head, body)
    }
}

impl<F> fmt::Debug for FinalFrameLayer<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FinalFrameLayer").finish_non_exhaustive()
    }
}
