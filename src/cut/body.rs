//! The body that can be cut: the one under `AbortBody` and `TimeoutsBody`.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::task::coop;

use super::{
    Slot,
    error::{Reset, cut_error},
    hold::Hold,
};
use crate::{error::BoxError, flag::Flag};

/// A body that may be taken away at any moment, polled or not.
pub(crate) struct CutBody<B, K> {
    state: State<B, K>,
}

enum State<B, K> {
    /// In the slot, from where it can be taken away.
    Live(Live<B, K>),
    /// Nothing to cut: a connection that became something else.
    Tunnel(Pin<Box<B>>),
    /// The answer to a call that was cut before its head.
    Answer(Bytes),
    Ended,
}

struct Live<B, K> {
    slot: Arc<Slot<Pin<Box<B>>>>,
    hold: Hold<K>,
    reset: Reset,
    flag: Flag,
}

impl<B, K> CutBody<B, K> {
    pub(crate) const fn live(slot: Arc<Slot<Pin<Box<B>>>>, hold: Hold<K>, reset: Reset) -> Self {
        Self { state: State::Live(Live { slot, hold, reset, flag: Flag::new() }) }
    }

    pub(super) fn tunnel(body: B) -> Self {
        Self { state: State::Tunnel(Box::pin(body)) }
    }

    pub(super) const fn answer(bytes: Bytes) -> Self {
        Self { state: State::Answer(bytes) }
    }

    /// Whether there is a body that a limit may be set to.
    pub(crate) const fn is_live(&self) -> bool {
        matches!(self.state, State::Live(_))
    }
}

type Polled = Option<Result<Frame<Bytes>, BoxError>>;

impl<B, K: Unpin> Body for CutBody<B, K>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Polled> {
        let (polled, ended) = match &mut self.state {
            State::Live(live) => ready!(live.poll(cx)),
            State::Tunnel(body) => {
                let polled = ready!(body.as_mut().poll_frame(cx));
                (polled.map(|frame| frame.map_err(Into::into)), false)
            }
            State::Answer(bytes) => {
                let bytes = std::mem::take(bytes);
                ((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))), true)
            }
            State::Ended => (None, false),
        };
        if ended {
            self.state = State::Ended;
        }
        Poll::Ready(polled)
    }

    fn is_end_stream(&self) -> bool {
        match &self.state {
            State::Live(live) => live.is_over(),
            State::Tunnel(body) => body.is_end_stream(),
            State::Answer(bytes) => bytes.is_empty(),
            State::Ended => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.state {
            State::Live(live) => live.slot.peek(|body| B::size_hint(body)).unwrap_or_default(),
            State::Tunnel(body) => body.size_hint(),
            State::Answer(bytes) => SizeHint::with_exact(bytes.len() as u64),
            State::Ended => SizeHint::with_exact(0),
        }
    }
}

impl<B, K> Live<B, K>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    /// Tells that nothing follows. Its reader may believe that, so whoever cuts from then on is told that it is too late.
    fn is_over(&self) -> bool {
        let over = |body: &Pin<Box<B>>| body.is_end_stream() && self.hold.close().is_ok();
        self.flag.tell(|| self.slot.peek(over).unwrap_or(false))
    }

    /// Polls the body; the flag says that nothing follows.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<(Polled, bool)> {
        let Some(mut body) = self.slot.take() else {
            // Without a cause it panicked in the poll before.
            let error = self.hold.cause().and_then(|cause| cut_error(&cause, self.reset));
            return Poll::Ready((error.map(Err), true));
        };
        let budget = coop::poll_proceed(cx);
        let polled = match &budget {
            Poll::Ready(_) => body.as_mut().poll_frame(cx),
            Poll::Pending => Poll::Pending,
        };
        let Poll::Ready(polled) = polled else {
            self.hold.alive();
            return match self.slot.put_and_wait(body, cx.waker()) {
                Ok(()) => Poll::Pending,
                // Cut while it was polled: the body is dropped here, and nobody else would wake us.
                Err(body) => {
                    drop(body);
                    self.poll(cx)
                }
            };
        };
        if let Poll::Ready(budget) = budget {
            budget.made_progress();
        }
        let ended = match &polled {
            Some(Ok(frame)) => frame.is_trailers(),
            Some(Err(_)) | None => true,
        };
        if ended || body.is_end_stream() {
            // Whoever cuts from here on is told that it is too late; whoever did before was told that it worked.
            if let Err(cause) = self.hold.release() {
                drop(body);
                return match polled {
                    // This frame came first. The error follows it.
                    Some(Ok(frame)) if frame.is_data() => Poll::Ready((Some(Ok(frame)), false)),
                    _ => Poll::Ready((cut_error(&cause, self.reset).map(Err), true)),
                };
            }
        }
        if ended {
            drop(body);
        } else {
            self.hold.alive();
            // Cut meanwhile: the frame is handed on, the next poll gives the error.
            drop(self.slot.put(body));
        }
        Poll::Ready((polled.map(|frame| frame.map_err(Into::into)), ended))
    }
}
