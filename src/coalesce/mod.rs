//! Gathers frames that are already waiting into one.
//!
//! An upstream that sends a word at a time sends many of them at once when its reader was late, and each is a frame: for
//! every layer further out, for the server's framing, for the client. This layer makes one frame of what waits, and never
//! waits itself: a lone event goes out as early as without it.
//!
//! ```
//! use bytes::Bytes;
//! use http_body_util::{BodyExt, Channel};
//! use tower_lifeline::coalesce::CoalesceBody;
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! let (mut upstream, body) = Channel::<Bytes>::new(3);
//! let mut body = CoalesceBody::new(body, 16 * 1024);
//! let mut next = async || body.frame().await.unwrap().unwrap().into_data().unwrap();
//!
//! for event in ["data: 1\n\n", "data: 2\n\n", "data: 3\n\n"] {
//!     upstream.send_data(event.into()).await.unwrap();
//! }
//! assert_eq!(next().await, "data: 1\n\ndata: 2\n\ndata: 3\n\n");
//!
//! upstream.send_data("data: 4\n\n".into()).await.unwrap();
//! assert_eq!(next().await, "data: 4\n\n");
//! # }
//! ```
//!
//! | event | what happens |
//! |---|---|
//! | data frame, nothing waits behind it | is handed on at once, the very same `Bytes` |
//! | data frames that wait | are copied into one frame, once, up to the limit and at most 64 of them; empty ones add nothing to it |
//! | a frame that does not fit behind what was gathered | that is handed on, and the frame at the next poll |
//! | a frame of the limit or larger | is handed on uncopied, by itself |
//! | trailers, end, error, panic of the body | what was gathered goes out first, then it is handed on unchanged |
//! | the task's budget is spent, or the inner body is pending | what was gathered goes out; there is no timer, and no yield |
//! | client gone, abort | the inner body is dropped, and with it what it had not given |
//! | HEAD and others without a body, 101, 2xx to CONNECT | every frame passes as it is |
//! | service error, no response | goes on to the caller |
//!
//! Bytes and their order are the same, only the boundaries of frames are not; none of the media that this crate knows of
//! (SSE, NDJSON, gRPC) means anything by them. So headers are left alone, `size_hint` stays as exact as it was, and the
//! error type is not touched. Between two polls at most one frame of the inner body is held. What is made of several
//! frames costs one allocation of just its size, since a recording may keep it for long.
//!
//! Put it next to the service, so that all others see fewer frames. Heartbeats and time limits need nothing else: a larger
//! frame is progress when an event in it is, and idle times count from it. The numbers of frames in
//! [`Ending`](crate::finalize::Ending) and in recordings are of what is left of them. A body that blocks its thread would
//! hold back what was gathered before: put this layer outside of [`IsolateLayer`](crate::isolate::IsolateLayer).
//!
//! What waits depends on who reads the upstream. hyper's HTTP/2 client keeps all that came. Its HTTP/1 client gives one chunk
//! at a time and reads the next when that was taken, so that of a chunked answer hardly ever two wait.

mod body;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use http::{Method, Response, request::Parts};
use http_body::Body;
use tower_layer::Layer;

pub use self::body::CoalesceBody;
use crate::{
    exchange::Exchange,
    head::Framing,
    wrap::{Guard, Plan, Wrap},
};

/// Gathers frames that are already waiting into one. See the [module](self) for what happens when.
///
/// ```
/// use tower_lifeline::{coalesce::CoalesceLayer, tee::{Limit, TeeLayer}};
///
/// let layers = tower::ServiceBuilder::new()
///     .layer(TeeLayer::recording(Limit::first(1024 * 1024)))
///     .layer(CoalesceLayer::new(16 * 1024));
/// # let _ = layers.service(());
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct CoalesceLayer {
    bytes: usize,
}

/// The service made by [`CoalesceLayer`].
pub type Coalesce<S> = Wrap<S, CoalesceLayer>;

impl CoalesceLayer {
    /// Gathers up to so many bytes; 0 gathers nothing. A TLS record holds 16 KiB.
    pub const fn new(bytes: usize) -> Self {
        Self { bytes }
    }
}

impl<S> Layer<S> for CoalesceLayer {
    type Service = Coalesce<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Wrap::new(inner, self.clone())
    }
}

impl Plan for CoalesceLayer {
    type Guard = CoalesceGuard;

    fn plan(&self, _: &Exchange, request: &Parts) -> Self::Guard {
        CoalesceGuard { bytes: self.bytes, method: request.method.clone() }
    }
}

/// Waits for the response whose frames are to be gathered.
#[derive(Debug)]
pub struct CoalesceGuard {
    bytes: usize,
    method: Method,
}

impl<B: Body<Data = Bytes>, E> Guard<B, E> for CoalesceGuard {
    type Body = CoalesceBody<B>;

    fn wrap(self, response: Response<B>) -> Response<Self::Body> {
        let (head, body) = response.into_parts();
        // Tunnels are among those without a body.
        let untouched = Framing::of(&self.method, &head, &body).no_body;
        let body = CoalesceBody::new(body, if untouched { 0 } else { self.bytes });
        Response::from_parts(head, body)
    }
}
