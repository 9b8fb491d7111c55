//! How much of an HTTP/1 answer hyper holds.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Buf;
use http_body::{Body, Frame, SizeHint};

#[cfg(test)]
mod tests;

/// What hyper holds of an answer before its client has read it. It is given no more until all of that is written, so a slow
/// reader is taken for one that does not read if it takes longer for so much than `--unread-timeout`. hyper's own limit is
/// one for what it reads, too, and has to be as large as a head may be.
const HELD: usize = 64 * 1024;

/// What hyper was given on a connection since everything was written. Cheap to clone; clones are the same count.
#[derive(Clone, Debug, Default)]
pub(crate) struct Given(Arc<AtomicUsize>);

impl Given {
    /// Everything is written. Returns whether that was waited for.
    pub(crate) fn written(&self) -> bool {
        self.0.swap(0, Ordering::Relaxed) >= HELD
    }
}

/// A body that waits when hyper holds enough of it.
#[derive(Debug)]
pub(super) struct Paced<B> {
    /// `None`: there is no body.
    body: Option<Pin<Box<B>>>,
    /// `None` in HTTP/2, which has windows.
    given: Option<Given>,
}

impl<B> Paced<B> {
    pub(super) fn new(body: B, given: Option<Given>) -> Self {
        Self { body: Some(Box::pin(body)), given }
    }

    pub(super) const fn none() -> Self {
        Self { body: None, given: None }
    }
}

impl<B: Body> Body for Paced<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let this = &mut *self;
        let Some(body) = &mut this.body else { return Poll::Ready(None) };
        // Whoever writes it all runs in this same task, and wakes it.
        if this.given.as_ref().is_some_and(|given| given.0.load(Ordering::Relaxed) >= HELD) {
            return Poll::Pending;
        }
        let polled = body.as_mut().poll_frame(cx);
        if let (Poll::Ready(Some(Ok(frame))), Some(given)) = (&polled, &this.given)
            && let Some(data) = frame.data_ref()
        {
            given.0.fetch_add(data.remaining(), Ordering::Relaxed);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}
