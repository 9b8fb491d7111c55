//! Goes on reading a response after its client left, to learn what it cost or to record it whole.
//!
//! ```
//! use std::{sync::mpsc, time::Duration};
//! use bytes::Bytes;
//! use http::{Request, Response};
//! use http_body_util::{BodyExt, Channel};
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//! use tower_lifeline::{
//!     detach::{DetachLayer, DrainLimits},
//!     exchange::DrainEnd,
//!     finalize::FinalizeLayer,
//! };
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
//! let service = ServiceBuilder::new()
//!     .layer(DetachLayer::new(DrainLimits::new().time(Duration::from_secs(30))))
//!     .layer(FinalizeLayer::new(move |_request| {
//!         let tell = tell.clone();
//!         move |ending| drop(tell.send(ending))
//!     }))
//!     .service(service_fn(|_: Request<()>| async {
//!         let (mut upstream, body) = Channel::<Bytes>::new(1);
//!         tokio::spawn(async move {
//!             upstream.send_data("data: hello\n\n".into()).await.unwrap();
//!             upstream.send_data("data: {\"usage\":7}\n\n".into()).await.unwrap();
//!         });
//!         Ok::<_, std::io::Error>(Response::new(body))
//!     }));
//!
//! let mut body = service.oneshot(Request::new(())).await.unwrap().into_body();
//! body.frame().await.unwrap().unwrap();
//! drop(body); // The client leaves.
//!
//! let ending = told.recv().await.unwrap();
//! assert_eq!((ending.outcome.as_str(), ending.bytes), ("disconnected", 13));
//! let drained = ending.drained.unwrap();
//! assert_eq!((drained.end, drained.bytes), (DrainEnd::Completed, 19));
//! # }
//! ```
//!
//! | event | what happens |
//! |---|---|
//! | data frame, trailers, end, error | go on unchanged, at once |
//! | client gone, in the stream, or given up by an `unread` limit outside of this layer | a task reads the rest and throws it away; the watchers inside see it, and the end |
//! | the rest ends, with its end-of-stream flag and its announced length too | `drained` says `completed` |
//! | the rest fails, panics or ends too early | `drained` says `failed` |
//! | more than [`DrainLimits::bytes`], or [`DrainLimits::time`] is over | the inner body is dropped; `drained` says `limit` |
//! | [`DrainLimits::streams`] are being drained already | the inner body is dropped at once; `drained` says `limit`, of 0 bytes |
//! | abort during the drain | works as ever, and says that it worked; `drained` says `aborted` |
//! | a limit of a [timeouts layer](crate::timeouts) inside, during the drain | holds as ever; `drained` says `limit` |
//! | the runtime shuts down | the inner body is dropped; `drained` says `aborted` |
//! | client gone when all announced bytes were read, at the end-of-stream flag, or where no body is sent | the inner body is dropped: it is complete |
//! | dropped before anyone read from it, unless by that limit | the inner body is dropped: it was discarded |
//! | client gone after an abort, another time limit, a failure | the inner body is dropped: it has a cause already |
//! | [`DetachLayer::when`] says no; 101, 2xx to CONNECT; no runtime | the inner body is dropped with its reader |
//! | client gone before the head | the call is cancelled, as without this layer |
//! | service error, panic, no response | goes on to the caller |
//!
//! Size, headers, trailers, `size_hint`, `is_end_stream` and both error types are left alone.
//!
//! What ends the exchange is that the client left, so the outcome is `disconnected`, or `timed_out` for one that was given
//! up, and [`Ending`](crate::finalize::Ending) counts bytes and frames until then; its `drained` says the rest. The watchers
//! *inside* report when the drain is over; one outside of this layer reports at once, without `drained`. A recording inside
//! has every byte, and its own outcome is how the *body* ended.
//!
//! Put it outside of the layers that cut, so that their limits and the kill switch hold during a drain, and inside of those
//! that face the client. Only the limit on an unread client goes outside of it, in a [timeouts layer](crate::timeouts) of its
//! own: inside it would take away what is to be drained. What it costs: upstream tokens that nobody reads. Some providers
//! stop when they are left, and bill less; others bill on: [`DetachLayer::when`] tells them apart.
//!
//! The runtime is the one that was current when the response passed; it needs time enabled. The body may be dropped anywhere.

mod body;
mod drain;
mod limits;
#[cfg(test)]
mod tests;

use std::{fmt, sync::Arc};

use http::{Method, Response, request::Parts, response};
use http_body::Body;
use tokio::{runtime::Handle, sync::Semaphore};
use tower_layer::Layer;

use self::drain::Departure;
pub use self::{body::DetachBody, limits::DrainLimits};
use crate::{
    exchange::Exchange,
    head::Framing,
    wrap::{Guard, Plan, Wrap},
};

/// Goes on reading a response after its client left. See the [module](self) for what happens when.
///
/// Clones share the number of drains at once.
#[derive(Clone)]
#[must_use]
pub struct DetachLayer<F> {
    drains: Drains,
    choose: F,
}

/// What all bodies of a layer share.
#[derive(Clone, Debug)]
struct Drains {
    limits: DrainLimits,
    free: Arc<Semaphore>,
}

impl Drains {
    /// What a body needs to be drained; `None` where no runtime is there to do it.
    fn departure(&self, exchange: Exchange) -> Option<Departure> {
        let runtime = Handle::try_current().ok()?;
        Some(Departure { exchange, limits: self.limits, free: self.free.clone(), runtime })
    }
}

/// The service made by [`DetachLayer`].
pub type Detach<S, F> = Wrap<S, DetachLayer<F>>;

type All = fn(&Parts) -> fn(&response::Parts) -> bool;

impl DetachLayer<All> {
    /// Drains every response, within `limits`.
    pub fn new(limits: DrainLimits) -> Self {
        let free = Arc::new(Semaphore::new(limits.streams.min(Semaphore::MAX_PERMITS)));
        Self { drains: Drains { limits, free }, choose: |_| |_| true }
    }
}

impl<F> DetachLayer<F> {
    /// Chooses by the request, and then by the head of its response, which responses are drained.
    ///
    /// ```
    /// use tower_lifeline::detach::{DetachLayer, DrainLimits};
    ///
    /// let layer = DetachLayer::new(DrainLimits::new()).when(|request| {
    ///     let bills_on = request.uri.path() == "/v1/messages";
    ///     move |head| bills_on && head.status.is_success()
    /// });
    /// # let _: tower_lifeline::detach::Detach<(), _> = tower_layer::Layer::layer(&layer, ());
    /// ```
    pub fn when<G, H>(self, choose: G) -> DetachLayer<G>
    where
        G: Fn(&Parts) -> H,
        H: FnOnce(&response::Parts) -> bool,
    {
        DetachLayer { drains: self.drains, choose }
    }
}

impl<S, F: Clone> Layer<S> for DetachLayer<F> {
    type Service = Detach<S, F>;

    fn layer(&self, inner: S) -> Self::Service {
        Wrap::new(inner, self.clone())
    }
}

impl<F, H> Plan for DetachLayer<F>
where
    F: Fn(&Parts) -> H,
    H: FnOnce(&response::Parts) -> bool,
{
    type Guard = DetachGuard<H>;

    fn plan(&self, exchange: &Exchange, request: &Parts) -> Self::Guard {
        let choose = (self.choose)(request);
        exchange.expect_drain();
        DetachGuard {
            drains: self.drains.clone(),
            exchange: exchange.clone(),
            method: request.method.clone(),
            choose,
        }
    }
}

/// Waits for the response that may have to be drained.
pub struct DetachGuard<H> {
    drains: Drains,
    exchange: Exchange,
    method: Method,
    choose: H,
}

impl<H, B, E> Guard<B, E> for DetachGuard<H>
where
    H: FnOnce(&response::Parts) -> bool,
    B: Body + Send + 'static,
{
    type Body = DetachBody<B>;

    fn wrap(self, response: Response<B>) -> Response<Self::Body> {
        let (head, body) = response.into_parts();
        // A tunnel is among those without a body.
        let framing = Framing::of(&self.method, &head, &body);
        let drains = (self.choose)(&head);
        let departure = if drains { self.drains.departure(self.exchange) } else { None };
        Response::from_parts(head, DetachBody::with(body, framing, departure))
    }
}

impl<F> fmt::Debug for DetachLayer<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DetachLayer").field("limits", &self.drains.limits).finish_non_exhaustive()
    }
}

impl<H> fmt::Debug for DetachGuard<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DetachGuard").field("limits", &self.drains.limits).finish_non_exhaustive()
    }
}
