//! The limits before the response head: on the service, and on a client whose request is unfinished.

use std::{
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::time::Instant;

use super::{Limit, Limits, TimedOut};
use crate::{
    exchange::{Exchange, Upload},
    timer::Timer,
};

/// Measures how long the service, or else the client, has been waited for.
#[derive(Debug)]
pub(super) struct HeadClock {
    head: Option<Duration>,
    upload: Option<Duration>,
    /// When the wait began.
    called: Option<Instant>,
    timer: Timer,
}

impl HeadClock {
    pub(super) fn new(limits: &Limits) -> Self {
        Self { head: limits.head, upload: limits.upload, called: None, timer: Timer::default() }
    }

    /// Waits for the head; ready, once, when a limit is hit.
    pub(super) fn poll(&mut self, exchange: &Exchange, cx: &mut Context<'_>) -> Poll<TimedOut> {
        let Some(shortest) = [self.head, self.upload].into_iter().flatten().min() else {
            return Poll::Pending;
        };
        loop {
            let now = Instant::now();
            let called = *self.called.get_or_insert(now);
            let (limit, after, since) = match exchange.upload() {
                Upload::Unwatched => (Limit::Head, self.head, called),
                Upload::Expected => (Limit::Upload, None, called),
                Upload::Service(since) | Upload::Given(since) => (Limit::Head, self.head, since),
                Upload::Client(since) => (Limit::Upload, self.upload, since),
            };
            let due = after.and_then(|after| Some((since.max(called).checked_add(after)?, after)));
            if let Some((_, after)) = due.filter(|(due, _)| now >= *due) {
                (self.head, self.upload) = (None, None);
                return Poll::Ready(TimedOut::new(limit, after));
            }
            // Nobody wakes this when the body passes: whatever changes from now on is not due before the shortest limit.
            let look = now.checked_add(shortest.max(Duration::from_millis(1)));
            let due = due.map(|(due, _)| due);
            let Some(next) = [due, look].into_iter().flatten().min() else { return Poll::Pending };
            ready!(self.timer.poll(next, cx));
        }
    }
}
