//! The limits on the upstream: the time for which it was waited for.

use std::{
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::time::Instant;

use super::{Limit, TimedOut};
use crate::timer::Timer;

/// Measures how long the upstream was waited for, and nothing else: not the time in which nobody asked it.
#[derive(Debug, Default)]
pub(super) struct Patience {
    limit: Option<(Limit, Duration)>,
    /// When this wait began; `None` while nobody waits.
    since: Option<Instant>,
    /// For how long it was waited before, without progress.
    waited: Duration,
    timer: Timer,
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
        ready!(self.timer.poll(due, cx));
        self.limit = None;
        Poll::Ready(TimedOut::new(limit, after))
    }
}
