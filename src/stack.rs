//! All layers in the right order, and one handle for the process.
//!
//! ```
//! use std::time::Duration;
//! use http::{Request, Response};
//! use http_body_util::{BodyExt, Full};
//! use tower::{Layer, ServiceExt, service_fn};
//! use tower_lifeline::{Lifeline, finalize::FinalizeLayer};
//! # use bytes::Bytes;
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
//! let lifeline = Lifeline::new();
//! let layer = lifeline.layer(FinalizeLayer::new(move |_request| {
//!     let tell = tell.clone();
//!     move |ending| drop(tell.send(ending))
//! }));
//!
//! let service = layer.layer(service_fn(|_: Request<()>| async {
//!     Ok::<_, std::io::Error>(Response::new(Full::<Bytes>::from("hello")))
//! }));
//! let response = service.oneshot(Request::new(())).await.unwrap();
//! assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "hello");
//! assert_eq!(told.recv().await.unwrap().outcome.as_str(), "completed");
//!
//! // At the end: let streams finish, then abort what is left, then wait for the last ending.
//! lifeline.shutdown(Duration::from_secs(5)).await;
//! # }
//! ```

#[cfg(test)]
mod tests;

use std::{
    fmt,
    sync::{Arc, Mutex},
    time::Duration,
};

use http::{request::Parts, response};
use tokio::time::timeout;
use tower_layer::{Identity, Stack};

use crate::{
    abort::{AbortHandle, AbortKind, AbortLayer, AbortRegistry},
    cut::lock,
    detach::{DetachLayer, DrainLimits},
    early_head::{AsksForEventStream, EarlyHeadLayer, asks_for_event_stream},
    exchange::{Exchange, ExchangeId},
    final_frame::{Failure, Final, FinalFrameLayer},
    finalize::{FinalizeLayer, FinalizeTracker},
    keepalive::{Heartbeat, IdleKeepaliveLayer},
    tee::{Limit, RecordingSink, TeeLayer},
    timeouts::{Limits, TimeoutsLayer},
};

/// Puts the layers of this crate together in the order in which they belong, with defaults for a gateway of language
/// models, and is the one handle to stop them all. Cheap to clone; clones are the same handle.
///
/// | layer, outermost first | default |
/// |---|---|
/// | [`IdleKeepaliveLayer`] | a heartbeat after 15 s, [by media type](Heartbeat::by_media) |
/// | [`FinalFrameLayer`] | [by media type](Final::by_media) |
/// | [`TimeoutsLayer`], of the client | unread 60 s |
/// | [`DetachLayer`] | off |
/// | [`EarlyHeadLayer`] | off; for requests that ask for a stream: [`asks_for_event_stream`] |
/// | [`AbortLayer`] | each exchange by its id: [`streams`](Self::streams) |
/// | [`TimeoutsLayer`], of the upstream | upload 60 s, head 20 min, first frame 5 min, idle 10 min, no total |
/// | [`FinalizeLayer`] | yours |
/// | [`TeeLayer`] | the first 1 MiB of each response, as a [`Recording`](crate::tee::Recording) in the exchange |
///
/// For more than these settings put the layers together yourself: this is only their order.
///
/// # Requests with bodies
///
/// A layer that watches the request's body changes its type, which the services of many would not take, so it is not among
/// these. Without it the limit on the head counts from the call (a slow upload runs into it), and the one on the upload does
/// not hold. Where requests have bodies put an [`UploadLayer`](crate::upload) inside; and where they say in their body that
/// they want a stream, what reads that. Name the type of the request then: rustc takes minutes to infer it through so many
/// layers, and a second to check it.
///
/// ```
/// use std::convert::Infallible;
/// use bytes::Bytes;
/// use http::{Request, Response};
/// use http_body_util::{BodyExt, Channel, Full};
/// use tower::{ServiceBuilder, ServiceExt, service_fn};
/// use tower_lifeline::{
///     Lifeline,
///     early_head::{AsksForStream, AsksForStreamSink},
///     finalize::{Ending, FinalizeLayer},
///     tee::{TeeBody, TeeRequestLayer},
///     upload::{UploadBody, UploadLayer},
/// };
///
/// type Upload = Request<UploadBody<TeeBody<Channel<Bytes>, AsksForStreamSink>>>;
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() {
/// let service = ServiceBuilder::new()
///     .layer(Lifeline::new().layer(FinalizeLayer::new(|_| drop::<Ending>)))
///     .layer(TeeRequestLayer::new(AsksForStream::sink))
///     .layer(UploadLayer::new())
///     .service(service_fn(|request: Upload| async {
///         let body = BodyExt::collect(request.into_body()).await;
///         Ok::<_, Infallible>(Response::new(Full::new(body.map_or(Bytes::new(), |body| body.to_bytes()))))
///     }));
/// let (mut client, body) = Channel::<Bytes>::new(1);
/// client.send_data("{".into()).await.unwrap(); // And then nothing.
/// let response = service.oneshot(Request::new(body)).await.unwrap();
/// assert_eq!(response.status(), 408);
/// # }
/// ```
#[derive(Clone)]
#[must_use]
pub struct Lifeline {
    keepalive: Duration,
    drain: DetachLayer<ChooseDrain>,
    early_head: Option<Duration>,
    timeouts: TimeoutsLayer,
    capture: Limit,
    streams: AbortRegistry<ExchangeId>,
    trackers: Arc<Mutex<Vec<FinalizeTracker>>>,
}

type ChooseDrain = fn(&Parts) -> fn(&response::Parts) -> bool;
type ChooseEarly = fn(&Parts) -> AsksForEventStream;
type ChooseHeartbeat = fn(&Parts) -> fn(&response::Parts) -> Heartbeat;

impl Lifeline {
    /// Takes the defaults.
    pub fn new() -> Self {
        let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
        // An answer that is no stream has its head at its end, and models think for minutes between two events.
        let upstream = Limits::new().head(minutes(20)).first_frame(minutes(5)).idle(minutes(10));
        let limits = upstream.upload(minutes(1)).unread(minutes(1));
        Self {
            keepalive: Duration::from_secs(15),
            drain: DetachLayer::new(DrainLimits::new()).when(|_| |_| false),
            early_head: None,
            timeouts: TimeoutsLayer::new(limits),
            capture: Limit::first(1024 * 1024),
            streams: AbortRegistry::new(),
            trackers: Arc::default(),
        }
    }

    /// Sends a heartbeat when a stream is idle for so long.
    pub const fn keepalive(mut self, interval: Duration) -> Self {
        self.keepalive = interval;
        self
    }

    /// Goes on reading a response after its client left.
    pub fn drain(mut self, limits: DrainLimits) -> Self {
        self.drain = DetachLayer::new(limits).when(|_| |_| true);
        self
    }

    /// Commits the head of a stream when the upstream has sent none for so long.
    pub const fn early_head(mut self, after: Duration) -> Self {
        self.early_head = Some(after);
        self
    }

    /// Sets the time limits. The one on an unread client holds outside of a drain, the others inside.
    pub fn timeouts(mut self, timeouts: TimeoutsLayer) -> Self {
        self.timeouts = timeouts;
        self
    }

    /// Sets how much of each response is recorded.
    pub fn capture(mut self, limit: Limit) -> Self {
        self.capture = limit;
        self
    }

    /// The layers, for one service; the endings go where `finalize` says. All that come from one `Lifeline` share its number
    /// of drains, its streams and its end.
    #[allow(clippy::type_complexity, reason = "it is the order itself")]
    pub fn layer<F, M>(
        &self,
        finalize: FinalizeLayer<F, M>,
    ) -> Stack<
        Stack<
            Stack<
                Stack<
                    Stack<
                        Stack<
                            Stack<
                                Stack<
                                    Stack<
                                        Identity,
                                        TeeLayer<
                                            impl Fn(&Parts) -> RecordingSink + Clone + use<F, M>,
                                        >,
                                    >,
                                    FinalizeLayer<F, M>,
                                >,
                                TimeoutsLayer,
                            >,
                            AbortLayer<impl Fn(&Parts) -> AbortHandle + Clone + use<F, M>>,
                        >,
                        EarlyHeadLayer<ChooseEarly>,
                    >,
                    DetachLayer<ChooseDrain>,
                >,
                TimeoutsLayer,
            >,
            FinalFrameLayer<fn(&Failure<'_>) -> Final>,
        >,
        IdleKeepaliveLayer<ChooseHeartbeat>,
    > {
        {
            let mut trackers = lock(&self.trackers);
            trackers.retain(FinalizeTracker::is_shared); // The others' services are gone.
            trackers.push(finalize.tracker());
        }
        let streams = self.streams.clone();
        let abort = AbortLayer::new(move |request: &Parts| {
            let exchange = Exchange::get(&request.extensions).unwrap_or_default();
            streams.handle(exchange.id())
        });
        let early: ChooseEarly = match self.early_head {
            Some(_) => asks_for_event_stream,
            None => |_| AsksForEventStream::NEVER,
        };
        let early = EarlyHeadLayer::new(self.early_head.unwrap_or(Duration::MAX)).when(early);
        let (unread, timeouts) = self.timeouts.part();
        // Innermost first.
        let stack = Stack::new(Identity::new(), TeeLayer::recording(self.capture.clone()));
        let stack = Stack::new(stack, finalize);
        let stack = Stack::new(stack, timeouts);
        let stack = Stack::new(stack, abort);
        let stack = Stack::new(stack, early);
        let stack = Stack::new(stack, self.drain.clone());
        let stack = Stack::new(stack, unread);
        let stack = Stack::new(stack, FinalFrameLayer::by_media());
        Stack::new(stack, IdleKeepaliveLayer::new(self.keepalive))
    }

    /// The live exchanges by id: to list them, to abort one, to abort all.
    pub const fn streams(&self) -> &AbortRegistry<ExchangeId> {
        &self.streams
    }

    /// Stops everything: lets what is live finish for `grace`, aborts the rest with [`AbortKind::Shutdown`], and waits until
    /// every ending is told and every async hook has run.
    ///
    /// What comes after the abort is aborted too. Stop accepting at the same time, as with
    /// `axum::serve(..).with_graceful_shutdown`, which by itself would wait for streams that never end (hyper#2787); see
    /// `examples/graceful_shutdown.rs`.
    pub async fn shutdown(&self, grace: Duration) {
        let _ = timeout(grace, self.drained()).await;
        self.streams.root().abort(AbortKind::Shutdown);
        self.drained().await;
    }

    async fn drained(&self) {
        let trackers = lock(&self.trackers).clone();
        for tracker in trackers {
            tracker.drained().await;
        }
    }
}

impl Default for Lifeline {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Lifeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lifeline")
            .field("keepalive", &self.keepalive)
            .field("drain", &self.drain)
            .field("early_head", &self.early_head)
            .field("timeouts", &self.timeouts)
            .finish_non_exhaustive()
    }
}
