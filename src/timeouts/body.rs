//! The body with time limits.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::{
    Activity, Limit, Limits, TimedOut,
    head_clock::HeadClock,
    patience::Patience,
    watchdog::{Unread, Watchdog},
};
use crate::{
    cut::{Cut, CutBody, Hold, Reset, Slot},
    error::BoxError,
    exchange::{Cause, Exchange, Knife},
};

/// A body with time limits. See the [module](super) for what happens when.
pub struct TimeoutsBody<B> {
    inner: CutBody<B, Watchdog>,
    clocks: Clocks,
}

/// What measures, for one body.
pub(super) struct Clocks {
    exchange: Exchange,
    knife: Knife,
    patience: Patience,
    limits: Limits,
    pub(super) activity: Activity,
    unread: Option<Arc<Unread>>,
    begun: bool,
}

impl Clocks {
    /// Begins to measure what is to be in `slot`, and holds that for as long as it may be cut.
    pub(super) fn start(
        exchange: &Exchange,
        slot: &Arc<impl Cut + 'static>,
        limits: &Limits,
        total: Option<Duration>,
        activity: Activity,
    ) -> (Hold<Watchdog>, Self) {
        let (mut hold, knife) = Hold::apart(exchange, slot);
        let watchdog = Watchdog::spawn(total, limits.unread, exchange, knife.clone());
        let unread = watchdog.as_ref().and_then(Watchdog::unread);
        if let Some(watchdog) = watchdog {
            hold.keep(watchdog);
        }
        let (exchange, patience, limits) = (exchange.clone(), Patience::default(), limits.clone());
        (hold, Self { exchange, knife, patience, limits, activity, unread, begun: false })
    }

    /// The head went out.
    pub(super) fn head(&mut self) {
        self.patience.set(Limit::FirstFrame, self.limits.first_frame);
        self.asked();
    }

    /// A tunnel may be silent for as long as both sides like.
    pub(super) const fn tunnel(&mut self) {
        self.limits.first_frame = None;
        self.limits.idle = None;
    }

    fn asked(&self) {
        if let Some(unread) = &self.unread {
            unread.asked();
        }
    }

    fn see(&mut self, data: &Bytes) {
        let progress = self.activity.sees(data);
        if !self.begun && !data.is_empty() {
            self.begun = true;
            self.patience.set(Limit::Idle, self.limits.idle);
        } else if progress {
            self.patience.progress();
        } else {
            self.patience.pause();
        }
    }

    /// Cuts if the upstream was waited for too long. Returns whether it did.
    pub(super) fn lose_patience(&mut self, cx: &mut Context<'_>) -> bool {
        let Poll::Ready(timed_out) = self.patience.poll(cx) else { return false };
        self.cut(timed_out)
    }

    /// The same before the head: the service, or the client.
    pub(super) fn lose_patience_with(&self, waiting: &mut HeadClock, cx: &mut Context<'_>) -> bool {
        let Poll::Ready(timed_out) = waiting.poll(&self.exchange, cx) else { return false };
        self.cut(timed_out)
    }

    fn cut(&self, timed_out: TimedOut) -> bool {
        let timed_out = timed_out.at(self.exchange.progress().elapsed());
        self.knife.cut(&Cause::TimedOut(timed_out))
    }
}

impl<B: Body + Send + 'static> TimeoutsBody<B> {
    /// Sets `limits` to `body`: all but the one on the head.
    pub fn new(body: B, limits: &Limits, activity: Activity) -> Self {
        let slot = Slot::new();
        let (hold, mut clocks) =
            Clocks::start(&Exchange::new(), &slot, limits, limits.total, activity);
        drop(slot.put(Box::pin(body))); // A new slot takes it.
        clocks.head();
        Self { inner: CutBody::live(slot, hold, Reset::DEFAULT), clocks }
    }
}

impl<B> TimeoutsBody<B> {
    pub(super) fn of(inner: CutBody<B, Watchdog>, mut clocks: Clocks) -> Self {
        clocks.head();
        Self { inner, clocks }
    }
}

impl<B> Body for TimeoutsBody<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        this.clocks.asked();
        // The body first: when data and a deadline come together the data wins.
        let polled = match Pin::new(&mut this.inner).poll_frame(cx) {
            Poll::Pending if this.inner.is_live() && this.clocks.lose_patience(cx) => {
                Pin::new(&mut this.inner).poll_frame(cx)
            }
            polled => polled,
        };
        match (&polled, &this.clocks.unread) {
            (Poll::Ready(Some(Ok(frame))), _) => {
                if let Some(data) = frame.data_ref() {
                    this.clocks.see(data);
                }
            }
            (Poll::Pending, Some(unread)) => unread.waits(cx.waker()),
            _ => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl<B> fmt::Debug for TimeoutsBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TimeoutsBody").field("limits", &self.clocks.limits).finish_non_exhaustive()
    }
}
