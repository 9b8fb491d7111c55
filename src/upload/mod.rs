//! Watches the body of the request: whether the client or the service is waited for.
//!
//! A limit on the response head is meant for the service, but a service can not answer what it does not have yet: counted
//! from the call, a client with a slow line runs into the upstream's limit. With this layer inside of them,
//! [`TimeoutsLayer`](crate::timeouts) and [`EarlyHeadLayer`](crate::early_head) know who is waited for.
//!
//! ```
//! use std::{convert::Infallible, time::Duration};
//! use bytes::Bytes;
//! use http::{Request, Response};
//! use http_body_util::{BodyExt, Channel, Full};
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//! use tower_lifeline::{timeouts::{Limits, TimeoutsLayer}, upload::{UploadBody, UploadLayer}};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() {
//! let second = Duration::from_secs(1);
//! let service = ServiceBuilder::new()
//!     .layer(TimeoutsLayer::new(Limits::new().head(10 * second).upload(5 * second)))
//!     .layer(UploadLayer::new())
//!     .service(service_fn(|request: Request<UploadBody<Channel<Bytes>>>| async {
//!         let body = request.into_body().collect().await.unwrap().to_bytes();
//!         Ok::<_, Infallible>(Response::new(Full::new(body)))
//!     }));
//!
//! // Twelve seconds of an upload are not the service's ...
//! let (mut client, body) = Channel::new(1);
//! tokio::spawn(async move {
//!     for _ in 0..3 {
//!         tokio::time::sleep(4 * second).await;
//!         client.send_data(Bytes::from("x")).await.unwrap();
//!     }
//! });
//! assert_eq!(service.clone().oneshot(Request::new(body)).await.unwrap().status(), 200);
//!
//! // ... and a client that stops in the middle is not waited for.
//! let (_client, body) = Channel::new(1);
//! assert_eq!(service.oneshot(Request::new(body)).await.unwrap().status(), 408);
//! # }
//! ```
//!
//! | of the request's body | who is waited for | counts |
//! |---|---|---|
//! | not watched: no such layer | the service, since the call | `head`, and the time of an early head |
//! | empty | the service, since the call | `head`, and the time of an early head |
//! | the service has not asked for it, or not for more of it | the service, since it last took some | `head` |
//! | the client waits for a `100 Continue`, and was not told to go on: [`UploadBody::expecting`] | nobody | |
//! | the service asked, and nothing has come | the client, since it last sent some | `upload` |
//! | an empty frame | as before | |
//! | its end, its trailers, its error; the service has dropped it | the service, since then | `head`, and the time of an early head |
//!
//! Put it inside of the layers that ask. When there are several, or a service makes a new [`UploadBody`] for the exchange (a
//! proxy that reads ahead of its upstream knows only there what the upstream has taken; so does each attempt of a retry),
//! the newest counts. What the service has taken is taken for given: one that queues (hyper's HTTP/2 client takes a frame
//! before the peer's window has room for it) should be handed no large frames. Frames, trailers, errors, `size_hint` and `is_end_stream` are handed on unchanged.

#[cfg(test)]
mod tests;

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Buf;
use http::Request;
use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;
use tokio::{task::coop, time::Instant};
use tower_layer::Layer;
use tower_service::Service;

use crate::{
    contain::contain,
    exchange::{Exchange, Upload as Waited, UploadState},
    ready::{AlwaysReady, AlwaysReadyFuture},
};

/// Watches the bodies of requests. See the [module](self) for what counts when.
#[derive(Clone, Copy, Debug, Default)]
#[must_use]
pub struct UploadLayer;

impl UploadLayer {
    /// Watches each request's body.
    pub const fn new() -> Self {
        Self
    }
}

impl<S> Layer<S> for UploadLayer {
    type Service = Upload<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Upload { inner: AlwaysReady::new(inner) }
    }
}

/// The service made by [`UploadLayer`].
#[derive(Clone, Debug)]
pub struct Upload<S> {
    inner: AlwaysReady<S>,
}

impl<S, A> Service<Request<A>> for Upload<S>
where
    S: Service<Request<UploadBody<A>>> + Clone,
    A: Body,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = AlwaysReadyFuture<S, Request<UploadBody<A>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<A>) -> Self::Future {
        let exchange = Exchange::of(&mut request);
        self.inner.call(request.map(|body| UploadBody::new(body, &exchange)))
    }
}

/// The body of a request that is watched. See the [module](self) for what counts when.
#[pin_project]
pub struct UploadBody<B> {
    /// `None` after the end.
    #[pin]
    inner: Option<B>,
    state: UploadState,
}

impl<B: Body> UploadBody<B> {
    /// Watches `body` from now on, in place of what was watched for this exchange before.
    pub fn new(body: B, exchange: &Exchange) -> Self {
        Self::from(body, exchange, Waited::Service(Instant::now()))
    }

    /// As [`new`](Self::new), for a client that waits to be told that its body is wanted (`Expect: 100-continue`), which to
    /// poll the body is taken for: until then no limit counts.
    ///
    /// ```
    /// use std::{convert::Infallible, time::Duration};
    /// use bytes::Bytes;
    /// use http::{Request, Response};
    /// use http_body_util::{BodyExt, Channel, Empty};
    /// use tower::{Layer, ServiceExt, service_fn};
    /// use tower_lifeline::{exchange::Exchange, timeouts::{Limits, TimeoutsLayer}, upload::UploadBody};
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() {
    /// let second = Duration::from_secs(1);
    /// let limits = TimeoutsLayer::new(Limits::new().head(5 * second).upload(5 * second));
    /// let service = limits.layer(service_fn(|request: Request<Channel<Bytes>>| async move {
    ///     let exchange = Exchange::get(request.extensions()).unwrap();
    ///     let body = UploadBody::expecting(request.into_body(), &exchange);
    ///     tokio::time::sleep(60 * Duration::from_secs(1)).await; // Somebody else decides whether it is wanted.
    ///     let _ = body.collect().await;
    ///     Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
    /// }));
    ///
    /// let (_client, body) = Channel::new(1);
    /// let start = tokio::time::Instant::now();
    /// assert_eq!(service.oneshot(Request::new(body)).await.unwrap().status(), 408);
    /// assert_eq!(start.elapsed(), 65 * second);
    /// # }
    /// ```
    pub fn expecting(body: B, exchange: &Exchange) -> Self {
        Self::from(body, exchange, Waited::Expected)
    }

    fn from(body: B, exchange: &Exchange, from: Waited) -> Self {
        let state = exchange.watch_upload(from);
        if body.is_end_stream() {
            state.given();
        }
        Self { inner: Some(body), state }
    }
}

impl<B: Body> Body for UploadBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let mut this = self.project();
        let Some(mut inner) = this.inner.as_mut().as_pin_mut() else {
            return Poll::Ready(None);
        };
        let budget = ready!(coop::poll_proceed(cx));
        let frame = match catch_unwind(AssertUnwindSafe(|| inner.as_mut().poll_frame(cx))) {
            Ok(Poll::Ready(frame)) => frame,
            Ok(Poll::Pending) => {
                this.state.asked();
                return Poll::Pending;
            }
            Err(payload) => {
                // Not unwinding here, so that the body's Drop can not abort the process.
                let _ = contain(|| this.inner.set(None));
                this.state.given();
                resume_unwind(payload)
            }
        };
        budget.made_progress();
        let data = match &frame {
            Some(Ok(frame)) => frame.data_ref(),
            Some(Err(_)) | None => None,
        };
        match data {
            None => {
                let _ = contain(|| this.inner.set(None));
                this.state.given();
            }
            Some(_) if inner.is_end_stream() => this.state.given(),
            // Nothing was sent.
            Some(data) if !data.has_remaining() => {}
            Some(_) => this.state.taken(),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        let ended = self.inner.as_ref().is_none_or(Body::is_end_stream);
        if ended {
            self.state.given(); // Whoever asks believes it and polls no more.
        }
        ended
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl<B> fmt::Debug for UploadBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UploadBody").field("state", &self.state).finish_non_exhaustive()
    }
}
