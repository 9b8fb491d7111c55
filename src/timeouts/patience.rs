//! The limits on the upstream: the time for which it was waited for.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep_until};

use super::{Limit, TimedOut};

/// Measures how long the upstream was waited for, and nothing else: not the time in which nobody asked it.
#[derive(Debug, Default)]
pub(super) struct Patience {
    limit: Option<(Limit, Duration)>,
    /// When this wait began; `None` while nobody waits.
    since: Option<Instant>,
    /// For how long it was waited before, without progress.
    waited: Duration,
    /// Made at the first wait, so that a body can be made and dropped without a runtime.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Patience {
    /// Begins anew under another limit.
    pub(super) fn set(&mut self, limit: Limit, after: Option<Duration>) {
        self.limit = after.map(|after| (limit, after));
        self.progress();
    }

    /// There was progress.
    pub(super) fn progress(&mut self) {
        self.since = None;
        self.waited = Duration::ZERO;
    }

    /// Something came that is no progress.
    pub(super) fn pause(&mut self) {
        if let Some(since) = self.since.take() {
            self.waited += since.elapsed();
        }
    }

    /// Waits for the upstream; ready, once, when the limit is hit.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<TimedOut> {
        let Some((limit, after)) = self.limit else { return Poll::Pending };
        let since = *self.since.get_or_insert_with(Instant::now);
        let Some(due) = since.checked_add(after.saturating_sub(self.waited)) else {
            return Poll::Pending; // A time that no clock will reach.
        };
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(due)));
        // Set for an earlier wait it is left alone, so that frames stay cheap, unless it would come too late.
        if timer.deadline() > due {
            timer.as_mut().reset(due);
        }
        ready!(timer.as_mut().poll(cx));
        if Instant::now() < due {
            timer.as_mut().reset(due);
            ready!(timer.as_mut().poll(cx));
        }
        self.limit = None;
        Poll::Ready(TimedOut::new(limit, after))
    }
}
