//! A timer for deadlines that move.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use tokio::time::{Instant, Sleep, sleep_until};

/// A timer for a deadline that may be another at each poll.
///
/// Made at the first wait, so that what holds it can be made and dropped without a runtime.
#[derive(Debug, Default)]
pub(crate) struct Timer(Option<Pin<Box<Sleep>>>);

impl Timer {
    /// Ready when `due` has come.
    pub(crate) fn poll(&mut self, due: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let timer = self.0.get_or_insert_with(|| Box::pin(sleep_until(due)));
        // Set for an earlier time it is left alone, so that to move the deadline is cheap, unless it would come too late.
        if timer.deadline() > due {
            timer.as_mut().reset(due);
        }
        loop {
            // A task that has spent its budget is told nothing by a timer (truths.md 11), so the clock is asked.
            if timer.as_mut().poll(cx).is_pending() && Instant::now() < timer.deadline() {
                return Poll::Pending;
            }
            if Instant::now() >= due {
                return Poll::Ready(());
            }
            timer.as_mut().reset(due);
        }
    }
}
