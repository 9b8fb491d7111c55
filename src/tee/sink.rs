//! What captures: the trait, and how it watches a body.

use bytes::Bytes;
use http::{HeaderMap, response};
use http_body::Frame;

use crate::{
    contain::contain,
    exchange::{Exchange, Outcome},
    watch::{Await, End, Ends, Watch},
};

/// Takes what passes through a [`TeeBody`](super::TeeBody).
///
/// Every method runs inside the body's `poll_frame` (or its drop), on the task that serves the client: what it does
/// delays that client. So hand the `Bytes` on and do slow work elsewhere, for instance behind a channel; on a full
/// channel a sink can only leave data out, since it has no way to make the stream wait. A sink that panics is dropped,
/// and the stream goes on.
pub trait Sink {
    /// Sees the head of the response. Not called for bodies that are used without tower, nor for requests.
    fn head(&mut self, head: &response::Parts) {
        let _ = head;
    }

    /// Takes a data frame: a clone of the frame's own `Bytes`, never a copy. To keep it for long is to keep the read buffer that
    /// it is a slice of, mostly 8 KiB and more.
    fn data(&mut self, data: Bytes);

    /// Sees the trailers.
    fn trailers(&mut self, trailers: &HeaderMap) {
        let _ = trailers;
    }

    /// Sees how it ended, once, as the last call.
    fn end(self, outcome: Outcome)
    where
        Self: Sized,
    {
        let _ = outcome;
    }
}

/// Lets a [`Sink`] watch a body.
#[derive(Debug)]
pub struct SinkWatch<S> {
    /// `None` after a panic.
    sink: Option<S>,
    exchange: Option<Exchange>,
}

impl<S: Sink> SinkWatch<S> {
    pub(super) const fn new(sink: S, exchange: Option<Exchange>) -> Self {
        Self { sink: Some(sink), exchange }
    }

    fn call(&mut self, f: impl FnOnce(&mut S)) {
        let Some(sink) = &mut self.sink else { return };
        if contain(|| f(sink)).is_err() {
            let sink = self.sink.take();
            let _ = contain(|| drop(sink));
        }
    }
}

impl<S: Sink> Ends for SinkWatch<S> {
    fn end(self, end: End) {
        let Some(sink) = self.sink else { return };
        // What was set before the body was dropped says more than the drop. But a client that left, or was given up, says
        // nothing of a body that was read on to its end.
        let drained = self.exchange.as_ref().is_some_and(|known| known.progress().is_draining());
        let cause = self.exchange.and_then(|exchange| exchange.cause());
        let outcome = match (cause.map(|cause| cause.outcome()), end.outcome()) {
            (None, end) => end,
            (Some(cause), Outcome::Disconnected | Outcome::Discarded) => cause,
            (Some(Outcome::Disconnected), end) => end,
            (Some(Outcome::TimedOut), end) if drained => end,
            (Some(outcome), _) => outcome,
        };
        let _ = contain(|| sink.end(outcome));
    }
}

impl<S: Sink, E> Watch<Bytes, E> for SinkWatch<S> {
    fn frame(&mut self, frame: &Frame<Bytes>) {
        if let Some(data) = frame.data_ref() {
            self.call(|sink| sink.data(data.clone()));
        } else if let Some(trailers) = frame.trailers_ref() {
            self.call(|sink| sink.trailers(trailers));
        }
    }

    fn error(&mut self, _: &E) {}
}

impl<S: Sink, E> Await<E> for SinkWatch<S> {
    fn head(&mut self, head: &response::Parts) {
        self.call(|sink| sink.head(head));
    }

    fn failed(&mut self, _: &E) {}
}
