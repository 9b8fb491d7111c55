//! The end-of-stream flag, as the readers of one body were told it.

use std::{
    pin::Pin,
    sync::atomic::{AtomicBool, Ordering},
    task::{Context, Poll},
};

use http_body::{Body, Frame};

/// Remembers that a reader was told that nothing follows: it may believe that, and ask no more (truths.md 1).
///
/// A flag may come true between two polls, in another thread. Then nobody but the one who asked knows of it.
#[derive(Debug, Default)]
pub(crate) struct Flag(AtomicBool);

impl Flag {
    pub(crate) const fn new() -> Self {
        Self(AtomicBool::new(false))
    }

    /// Tells what the body says; once that is yes, it stays so.
    pub(crate) fn tell(&self, is_end_stream: impl FnOnce() -> bool) -> bool {
        if self.is_set() {
            return true;
        }
        let set = is_end_stream();
        if set {
            self.0.store(true, Ordering::Relaxed);
        }
        set
    }

    /// Whether it was told so.
    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Polls for a frame, and asks behind data whether it was the last.
#[allow(clippy::type_complexity, reason = "it is what a body gives, and a flag")]
pub(crate) fn poll_flagged<B: Body>(
    mut body: Pin<&mut B>,
    cx: &mut Context<'_>,
) -> Poll<(Option<Result<Frame<B::Data>, B::Error>>, bool)> {
    body.as_mut().poll_frame(cx).map(|polled| {
        let goes_on = matches!(&polled, Some(Ok(frame)) if !frame.is_trailers());
        (polled, goes_on && body.is_end_stream())
    })
}
