//! The body whose rest is read when its reader leaves.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Buf;
use http_body::{Body, Frame, SizeHint};
use tokio::task::coop;

use super::{
    DetachLayer,
    drain::{Departure, depart},
};
use crate::{contain::contain, exchange::Exchange, flag::Flag, head::Framing};

/// A body that is read on after its reader left. See the [module](super) for what happens when.
pub struct DetachBody<B> {
    /// Boxed, since it may have to move into a task.
    inner: Option<Pin<Box<B>>>,
    framing: Framing,
    bytes: u64,
    polled: bool,
    /// What a reader was told of the end of the stream.
    flag: Flag,
    departure: Option<Departure>,
    /// Made where `B` is known to be a body that can be sent to a task, so that `Drop` needs no bounds.
    depart: fn(Pin<Box<B>>, Departure, Option<u64>, bool),
}

impl<B: Body + Send + 'static> DetachBody<B> {
    /// Drains `body` as `layer` says, and counts it among the drains of that layer.
    ///
    /// Without tower there is no record that layers share: whatever watches inside sees a body that was read to its end.
    ///
    /// ```
    /// use http_body_util::{BodyExt, Channel};
    /// use tower_lifeline::{
    ///     detach::{DetachBody, DetachLayer, DrainLimits},
    ///     tee::{Limit, Recording, TeeBody},
    /// };
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() {
    /// let (mut upstream, body) = Channel::<bytes::Bytes>::new(2);
    /// let recording = Recording::new(Limit::first(1024));
    /// let layer = DetachLayer::new(DrainLimits::new());
    /// let mut body = DetachBody::new(TeeBody::new(body, recording.sink()), &layer);
    ///
    /// upstream.send_data("read, ".into()).await.unwrap();
    /// body.frame().await.unwrap().unwrap();
    /// drop(body);
    /// upstream.send_data("drained".into()).await.unwrap();
    /// drop(upstream);
    /// while recording.outcome().is_none() {
    ///     tokio::task::yield_now().await;
    /// }
    /// assert_eq!(recording.to_bytes(), "read, drained");
    /// # }
    /// ```
    pub fn new<F>(body: B, layer: &DetachLayer<F>) -> Self {
        let framing = Framing::of_body(&body);
        Self::with(body, framing, layer.drains.departure(Exchange::new()))
    }

    /// `None` for the departure: the body is dropped with its reader.
    pub(super) fn with(body: B, framing: Framing, departure: Option<Departure>) -> Self {
        Self {
            inner: Some(Box::pin(body)),
            framing,
            bytes: 0,
            polled: false,
            flag: Flag::new(),
            departure,
            depart,
        }
    }
}

impl<B: Body> Body for DetachBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let this = &mut *self;
        let Some(inner) = &mut this.inner else { return Poll::Ready(None) };
        let budget = ready!(coop::poll_proceed(cx));
        this.polled = true;
        let polled = match catch_unwind(AssertUnwindSafe(|| inner.as_mut().poll_frame(cx))) {
            Ok(polled) => ready!(polled),
            Err(payload) => {
                // There is nothing to read on. Not unwinding here, so that the body's Drop can not abort the process.
                let _ = contain(|| this.inner = None);
                resume_unwind(payload)
            }
        };
        budget.made_progress();
        match &polled {
            Some(Ok(frame)) if !frame.is_trailers() => {
                this.bytes += frame.data_ref().map_or(0, |data| data.remaining() as u64);
            }
            _ => {
                let _ = contain(|| this.inner = None);
            }
        }
        Poll::Ready(polled)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(|inner| self.flag.tell(|| inner.is_end_stream()))
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl<B> Drop for DetachBody<B> {
    fn drop(&mut self) {
        let left = self.framing.expected.map(|length| length.saturating_sub(self.bytes));
        // hyper drops a complete body without having seen its `None` (truths.md 1).
        let complete = self.framing.no_body || self.flag.is_set() || left == Some(0);
        if complete {
            return;
        }
        if let (Some(inner), Some(departure)) = (self.inner.take(), self.departure.take()) {
            (self.depart)(inner, departure, left, self.polled);
        }
    }
}

impl<B> fmt::Debug for DetachBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DetachBody").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}
