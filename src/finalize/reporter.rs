//! Gathers what an ending says, and calls the hook with it.

use std::{error::Error, fmt, marker::PhantomData, time::Duration};

use bytes::Buf;
use http::{HeaderMap, StatusCode, response};
use http_body::Frame;

use super::{Ending, FinalizeTracker, tracker::Live};
use crate::{
    contain::contain,
    error::AsError,
    exchange::{Cause, Drained, Exchange},
    span::CallSpan,
    watch::{Await, End, Ends, Watch},
};

/// A hook that sees more than the end. Implemented by every `FnOnce(Ending)`.
pub trait Finalizer {
    /// Sees the head of the response.
    fn on_response(&mut self, head: &response::Parts) {
        let _ = head;
    }

    /// Sees the error of the service or the body itself, where it can still be downcast. The ending follows.
    fn on_error(&mut self, error: &(dyn Error + 'static)) {
        let _ = error;
    }

    /// Sees the end, once, as the last call.
    fn on_end(self, ending: Ending)
    where
        Self: Sized;
}

impl<F: FnOnce(Ending)> Finalizer for F {
    fn on_end(self, ending: Ending) {
        self(ending);
    }
}

/// Watches a body for its [`Finalizer`].
pub struct Reporter<H, M> {
    /// `None` after a panic.
    hook: Option<H>,
    span: CallSpan,
    exchange: Exchange,
    live: Live,
    /// Whether the numbers of the exchange are ours to write.
    publishes: bool,
    /// A layer that goes on reading after the client left stands outside.
    sees_drain: bool,
    status: Option<StatusCode>,
    grpc_status: Option<u16>,
    bytes: u64,
    frames: u64,
    /// Bytes that came after the client had left.
    drained: u64,
    head_at: Option<Duration>,
    first_frame_at: Option<Duration>,
    last_frame_at: Option<Duration>,
    trailers: Option<HeaderMap>,
    /// What an error, seen but not reported yet, says.
    failure: Option<Cause>,
    error_types: PhantomData<fn() -> M>,
}

impl<H, M> Reporter<H, M> {
    pub(super) fn new(exchange: Exchange, hook: H, tracker: FinalizeTracker) -> Self {
        let publishes = exchange.progress().claim();
        let sees_drain = exchange.expects_drain();
        Self {
            hook: Some(hook),
            span: CallSpan::current(),
            exchange,
            sees_drain,
            live: tracker.live_one(),
            publishes,
            status: None,
            grpc_status: None,
            bytes: 0,
            frames: 0,
            drained: 0,
            head_at: None,
            first_frame_at: None,
            last_frame_at: None,
            trailers: None,
            failure: None,
            error_types: PhantomData,
        }
    }
}

impl<H: Finalizer, M> Reporter<H, M> {
    fn call(&mut self, f: impl FnOnce(&mut H)) {
        let Some(hook) = &mut self.hook else { return };
        if contain(|| self.span.in_scope(|| f(hook))).is_err() {
            self.live.count_panic();
            let hook = self.hook.take();
            let _ = contain(|| drop(hook));
        }
    }

    fn see_error(&mut self, error: &(dyn Error + 'static)) {
        self.failure = Some(Cause::failed(error));
        self.call(|hook| hook.on_error(error));
    }
}

impl<H: Finalizer, M> Ends for Reporter<H, M> {
    fn end(self, end: End) {
        let drain_end = if self.sees_drain { self.exchange.drain_end(&end) } else { None };
        let observed = match end {
            End::Completed => Cause::Completed,
            End::Truncated => Cause::Truncated,
            End::Failed => self.failure.unwrap_or(Cause::Failed { reason: None, error: None }),
            End::Panicked(message) => Cause::Panicked(message),
            End::Dropped => Cause::Disconnected,
            End::Unread => Cause::Discarded,
        };
        let cause = self.exchange.settle(observed, self.sees_drain);
        let Some(hook) = self.hook else { return };
        let elapsed = self.exchange.progress().elapsed();
        let ending = Ending {
            outcome: cause.outcome(),
            cause,
            status: self.status,
            grpc_status: self.grpc_status,
            bytes: self.bytes,
            frames: self.frames,
            time_to_head: self.head_at,
            time_to_first_frame: self.first_frame_at,
            since_last_frame: self.last_frame_at.map(|at| elapsed.saturating_sub(at)),
            elapsed,
            drained: drain_end.map(|end| Drained { bytes: self.drained, end }),
            trailers: self.trailers,
            exchange: self.exchange,
        };
        let span = self.span; // Dropped in there: that may close it, and so call a subscriber.
        if contain(move || span.in_scope(|| hook.on_end(ending))).is_err() {
            self.live.count_panic();
        }
    }
}

impl<H: Finalizer, D: Buf, E: AsError<M>, M, N> Watch<D, E> for Reporter<H, (M, N)> {
    fn frame(&mut self, frame: &Frame<D>) {
        if let Some(data) = frame.data_ref() {
            let progress = self.exchange.progress();
            let at = progress.elapsed();
            if progress.is_draining() {
                self.drained += data.remaining() as u64;
                if self.publishes {
                    progress.drained(at);
                }
                return;
            }
            self.frames += 1;
            self.bytes += data.remaining() as u64;
            self.first_frame_at.get_or_insert(at);
            self.last_frame_at = Some(at);
            if self.publishes {
                progress.frame(self.frames, self.bytes, at);
            }
        } else if let Some(trailers) = frame.trailers_ref() {
            self.grpc_status = grpc_status(trailers).or(self.grpc_status);
            self.trailers = Some(trailers.clone());
        }
    }

    fn error(&mut self, error: &E) {
        self.see_error(error.as_error());
    }
}

impl<H: Finalizer, E: AsError<N>, M, N> Await<E> for Reporter<H, (M, N)> {
    fn head(&mut self, head: &response::Parts) {
        let at = self.exchange.progress().elapsed();
        self.status = Some(head.status);
        self.head_at = Some(at);
        self.grpc_status = grpc_status(&head.headers);
        if self.publishes {
            self.exchange.progress().head(at);
        }
        self.call(|hook| hook.on_response(head));
    }

    fn follows_tunnels(&self) -> bool {
        true
    }

    fn failed(&mut self, error: &E) {
        self.see_error(error.as_error());
    }
}

fn grpc_status(headers: &HeaderMap) -> Option<u16> {
    headers.get("grpc-status")?.to_str().ok()?.parse().ok()
}

impl<H, M> fmt::Debug for Reporter<H, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reporter").field("exchange", &self.exchange).finish_non_exhaustive()
    }
}
