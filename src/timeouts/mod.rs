//! Ends a response that takes too long: the very connection that is stuck, at once, with an error that says which limit.
//!
//! ```
//! use std::time::Duration;
//! use bytes::Bytes;
//! use http_body::Frame;
//! use http_body_util::{BodyExt, Channel};
//! use tower_lifeline::timeouts::{Activity, Limit, Limits, TimedOut, TimeoutsBody};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() {
//! let (mut upstream, body) = Channel::<Bytes>::new(8);
//! let limits = Limits::new().idle(Duration::from_secs(120));
//! let mut body = TimeoutsBody::new(body, &limits, Activity::events());
//!
//! upstream.send_data("data: one\n\n".into()).await.unwrap();
//! upstream.send_data(": still alive\n\n".into()).await.unwrap(); // Says the upstream, but nothing comes any more.
//! assert!(body.frame().await.unwrap().is_ok() && body.frame().await.unwrap().is_ok());
//! let error = body.frame().await.unwrap().unwrap_err();
//! assert_eq!(error.downcast_ref::<TimedOut>().unwrap().limit(), Limit::Idle);
//! # }
//! ```
//!
//! | limit | from | to | counts |
//! |---|---|---|---|
//! | [`upload`](Limits::upload) | the client's last byte of an unfinished request, once the service asks for more | the next | until the response head, with an [`UploadLayer`](crate::upload) inside; without it never |
//! | [`head`](Limits::head) | the call; with an [`UploadLayer`](crate::upload) inside, since the service has the whole request, or has taken no more of it | the response head | while it, and not the client, is waited for |
//! | [`first_frame`](Limits::first_frame) | the head | the first byte of the body | while somebody waits for it |
//! | [`idle`](Limits::idle) | the first byte, then each sign of progress ([`Activity`]) | the next | while somebody waits for it: not while the client does not read |
//! | [`total`](Limits::total) | the call | the end | always |
//! | [`unread`](Limits::unread) | the head, then each time that something was asked for | the next time | always |
//!
//! | event | what happens |
//! |---|---|
//! | frame, trailers, end, error | handed on unchanged |
//! | a limit before the head | the inner future is dropped; the answer is 504 (for `upload` 408 with `connection: close`), or gRPC trailers-only with 4 `DEADLINE_EXCEEDED`, or what [`TimeoutsLayer::answer`] says |
//! | a limit in the stream | the inner body is dropped at once, polled or not; the next poll gives [`TimedOut`] as an error; then `None` |
//! | a limit behind the end that the stream has said itself (feature `usage`) | nothing, where a `TerminatorGuardLayer` ends the stream in time; else the inner body is dropped, a clean end |
//! | data and a deadline in the same poll | the data |
//! | the clock jumps | one limit is hit, not many |
//! | service error, panic | goes on to the caller |
//! | client gone, abort | the inner body is dropped |
//! | 101, 2xx to CONNECT | handed on untouched, without limits |
//! | the same, marked as a [`Tunnel`](crate::tunnel::Tunnel) | the total limit alone |
//!
//! Size and headers are left alone, `size_hint` and `is_end_stream` are forwarded: a body that hits a limit is cut, it does
//! not end. For what the client is to see of it, put a [`FinalFrameLayer`](crate::final_frame) outside. The outcome in
//! [`Finalize`](crate::finalize) is `timed_out`, the reason the limit's name, wherever it stands.
//!
//! In a gRPC client, put [`FinalFrameLayer`](crate::final_frame#in-a-grpc-client) outside: without it tonic reads `Unknown`
//! from a limit in the stream.
//!
//! Put it inside of a keepalive layer, whose heartbeats are no progress. Inside of a retry layer it limits each attempt, and
//! what ends an attempt is not the cause of the end when another follows. The time in which a slow client is waited for is
//! not the upstream's, so a flood of pings that is always ready hits no idle limit: that is for `total`.
//!
//! Without an [`UploadLayer`](crate::upload) nobody knows whether a service that is silent still waits for the rest of its
//! request: then `head` counts from the call, and a long upload runs into it.
//!
//! `total` and `unread` hold while nobody polls, so they need a task for each response: the layer must be called on a tokio
//! runtime, or these two do nothing. hyper hands on up to half a megabyte to a client that does not read before it stops
//! asking (truths.md 2), and `unread` begins then. Whoever waits for a silent upstream asks for nothing either: so when the
//! time has passed it is woken, once, and only if it does not ask within that time again (at most 5 s) it is gone. The
//! response future and body must be `Send + 'static`. The layer allocates per response, never per frame.
//!
//! Where a [`DetachLayer`](crate::detach) drains, give `unread` to a layer of its own outside of that one: then a client that
//! was given up for not reading is drained as one that left, while the other limits, inside, hold during the drain.

mod activity;
mod body;
mod error;
mod future;
mod grpc;
mod head_clock;
mod limits;
mod patience;
#[cfg(test)]
pub(crate) mod tests;
mod watchdog;

use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response, response};
use http_body::Body;
use tower_layer::Layer;
use tower_service::Service;

pub use self::{
    activity::Activity,
    body::TimeoutsBody,
    error::{Limit, TimedOut},
    future::TimeoutsFuture,
    limits::Limits,
};
use self::{body::Clocks, head_clock::HeadClock};
use crate::{
    cut::{Answer, CutFuture, Reset, Slot},
    exchange::{Cause, Exchange},
    ready::{AlwaysReady, AlwaysReadyFuture},
};

type ChooseActivity = Arc<dyn Fn(&response::Parts) -> Activity + Send + Sync>;

/// Sets time limits to responses. See the [module](self) for what happens when.
#[derive(Clone)]
#[must_use]
pub struct TimeoutsLayer {
    limits: Limits,
    grpc: bool,
    choose: ChooseActivity,
    answer: Option<Answer>,
}

impl TimeoutsLayer {
    /// Sets these limits to every response.
    pub fn new(limits: Limits) -> Self {
        Self { limits, grpc: false, choose: Arc::new(Activity::by_media), answer: None }
    }

    /// Parts the limit on a client that does not read, for outside of a drain, from the others, which hold during one.
    #[cfg(feature = "final-frame")]
    pub(crate) fn part(&self) -> (Self, Self) {
        let mut inside = self.clone();
        let unread = inside.limits.unread.take();
        (Self::new(Limits::new().unread(unread)), inside)
    }

    /// Chooses by the head what counts as progress; by default [`Activity::by_media`].
    pub fn activity<F>(mut self, choose: F) -> Self
    where
        F: Fn(&response::Parts) -> Activity + Send + Sync + 'static,
    {
        self.choose = Arc::new(choose);
        self
    }

    /// Takes the `grpc-timeout` of a request for its total limit, where that is shorter: over the whole body, not only to
    /// the head.
    pub const fn grpc_timeout(mut self) -> Self {
        self.grpc = true;
        self
    }

    /// Replaces the answer that is given when a limit is hit before the head.
    pub fn answer<A>(mut self, answer: A) -> Self
    where
        A: Fn(&Exchange, &TimedOut) -> Response<Bytes> + Send + Sync + 'static,
    {
        self.answer = Some(Arc::new(move |exchange, cause| match cause {
            Cause::TimedOut(timed_out) => Some(answer(exchange, timed_out)),
            _ => None,
        }));
        self
    }
}

impl<S> Layer<S> for TimeoutsLayer {
    type Service = Timeouts<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Timeouts { inner: AlwaysReady::new(inner), layer: self.clone() }
    }
}

/// The service made by [`TimeoutsLayer`].
#[derive(Clone)]
pub struct Timeouts<S> {
    inner: AlwaysReady<S>,
    layer: TimeoutsLayer,
}

impl<S, A, B> Service<Request<A>> for Timeouts<S>
where
    S: Service<Request<A>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    A: Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
{
    type Response = Response<TimeoutsBody<B>>;
    type Error = S::Error;
    type Future = TimeoutsFuture<AlwaysReadyFuture<S, Request<A>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<A>) -> Self::Future {
        let exchange = Exchange::of(&mut request);
        let (parts, body) = request.into_parts();
        let limits = &self.layer.limits;
        let asked = self.layer.grpc.then(|| grpc::timeout(&parts.headers)).flatten();
        let total = [limits.total, asked].into_iter().flatten().min();

        let slot = Slot::new();
        let activity = Activity::any_byte(); // Until the head says otherwise.
        let (hold, clocks) = Clocks::start(&exchange, &slot, limits, total, activity);
        let waiting = HeadClock::new(limits);

        let ours = (exchange, self.layer.answer.clone(), Reset::DEFAULT);
        let call = |request| self.inner.call(request);
        let inner = CutFuture::call(slot, hold, ours, (parts, body), call);
        let choose = self.layer.choose.clone();
        TimeoutsFuture { inner, clocks: Some(clocks), waiting, choose }
    }
}

impl fmt::Debug for TimeoutsLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TimeoutsLayer").field("limits", &self.limits).finish_non_exhaustive()
    }
}

impl<S: fmt::Debug> fmt::Debug for Timeouts<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timeouts").field("inner", self.inner.get_ref()).finish_non_exhaustive()
    }
}
