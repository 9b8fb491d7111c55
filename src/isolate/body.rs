//! The reader's end of the channel.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Buf;
use http_body::{Body, SizeHint};
use tokio::{runtime::Handle, sync::mpsc::Receiver, task::coop};

use super::{
    error::PumpLost,
    pump::{Polled, start},
};
use crate::{error::BoxError, exchange::Exchange, head::Framing};

/// A body that is read on a thread of its own. See the [module](super) for what happens when.
pub struct IsolateBody<B: Body> {
    state: State<B>,
}

enum State<B: Body> {
    /// Nothing to isolate.
    Direct(Pin<Box<B>>),
    /// Read elsewhere; what is hinted of the frames that are still to come.
    Pumped(Receiver<Polled<B::Data>>, SizeHint),
    Ended,
}

impl<B> IsolateBody<B>
where
    B: Body + Send + 'static,
    B::Data: Send + 'static,
    B::Error: Into<BoxError>,
{
    /// Begins to read `body` on a thread of its own, at most `capacity` frames, at least 1, and one in hand ahead.
    pub fn new(body: B, capacity: usize) -> Self {
        let framing = Framing::of_body(&body);
        Self::with(body, framing, capacity, Exchange::new())
    }

    pub(super) fn with(body: B, framing: Framing, capacity: usize, exchange: Exchange) -> Self {
        let (hint, body) = (body.size_hint(), Box::pin(body));
        let state = match Handle::try_current() {
            Ok(runtime) if !framing.no_body => {
                State::Pumped(start(body, capacity, exchange, &runtime), hint)
            }
            _ => State::Direct(body),
        };
        Self { state }
    }
}

impl<B: Body> Body for IsolateBody<B>
where
    B::Error: Into<BoxError>,
{
    type Data = B::Data;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Polled<B::Data>> {
        let polled = match &mut self.state {
            State::Direct(body) => {
                let budget = ready!(coop::poll_proceed(cx));
                let polled = ready!(body.as_mut().poll_frame(cx));
                budget.made_progress();
                polled.map(|frame| frame.map_err(Into::into))
            }
            // A channel that closes without a word says nothing of how the body ended.
            State::Pumped(frames, _) => {
                ready!(frames.poll_recv(cx)).unwrap_or_else(|| Some(Err(PumpLost {}.into())))
            }
            State::Ended => None,
        };
        match (&polled, &mut self.state) {
            (Some(Ok(frame)), state) if !frame.is_trailers() => {
                if let (State::Pumped(_, hint), Some(data)) = (state, frame.data_ref()) {
                    *hint = less(*hint, data.remaining() as u64);
                }
            }
            (_, state) => *state = State::Ended,
        }
        Poll::Ready(polled)
    }

    fn is_end_stream(&self) -> bool {
        match &self.state {
            State::Direct(body) => body.is_end_stream(),
            State::Pumped(..) => false,
            State::Ended => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.state {
            State::Direct(body) => body.size_hint(),
            State::Pumped(_, hint) => *hint,
            State::Ended => SizeHint::with_exact(0),
        }
    }
}

/// What is hinted once `bytes` more were handed on.
fn less(hint: SizeHint, bytes: u64) -> SizeHint {
    let mut left = SizeHint::new();
    left.set_lower(hint.lower().saturating_sub(bytes));
    if let Some(upper) = hint.upper() {
        left.set_upper(upper.saturating_sub(bytes));
    }
    left
}

impl<B: Body> fmt::Debug for IsolateBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IsolateBody").finish_non_exhaustive()
    }
}
