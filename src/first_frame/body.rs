//! The body that replays what was held back.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::task::coop;

use crate::log::Queue;

/// A body whose beginning was read before its head went out. See the [module](super) for what happens when.
pub struct FirstFrameBody<B> {
    state: State<B>,
}

enum State<B> {
    Live(Held, Pin<Box<B>>),
    /// The inner body ended while it was held back.
    Read(Held),
    /// The answer to a failed start.
    Answer(Bytes),
    Ended,
}

/// Frames that were read and not handed on.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// Copies of those that waited. Most streams begin with their first frame, and have none.
    waited: Option<Box<Queue>>,
    /// The one behind them, with which the head goes out.
    last: Option<Frame<Bytes>>,
}

impl Held {
    /// Takes a frame that waits for others. Of those only data does.
    pub(super) fn wait(&mut self, data: &[u8]) {
        // Always true: there is no budget.
        self.waited.get_or_insert_with(|| Box::new(Queue::new(None))).push(data);
    }

    pub(super) fn last(&mut self, frame: Frame<Bytes>) {
        self.last = Some(frame);
    }

    fn pop(&mut self) -> Option<Frame<Bytes>> {
        if let Some(data) = self.waited.as_mut().and_then(|waited| waited.pop()) {
            return Some(Frame::data(data));
        }
        self.waited = None;
        self.last.take()
    }

    fn is_empty(&self) -> bool {
        self.last.is_none() && self.waited.as_ref().is_none_or(|waited| waited.is_empty())
    }

    /// The bytes of data that are held.
    pub(super) fn bytes(&self) -> u64 {
        let last = self.last.as_ref().and_then(Frame::data_ref);
        let waited = self.waited.as_ref().map_or(0, |waited| waited.bytes());
        waited + last.map_or(0, |data| data.len() as u64)
    }

    /// Whether so many bytes of data more may wait.
    pub(super) fn has_room(&self, more: usize, limit: usize) -> bool {
        let memory = self.waited.as_ref().map_or(0, |waited| waited.memory());
        memory <= limit && self.bytes().saturating_add(more as u64) <= limit as u64
    }

    fn hint_with(&self, rest: &SizeHint) -> SizeHint {
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower().saturating_add(self.bytes()));
        if let Some(upper) = rest.upper().and_then(|upper| upper.checked_add(self.bytes())) {
            hint.set_upper(upper);
        }
        hint
    }
}

impl<B> FirstFrameBody<B> {
    pub(super) fn untouched(body: B) -> Self {
        Self { state: State::Live(Held::default(), Box::pin(body)) }
    }

    /// `None` for the body: it has ended.
    pub(super) fn replay(held: Held, body: Option<Pin<Box<B>>>) -> Self {
        let state = match body {
            Some(body) => State::Live(held, body),
            None => State::Read(held),
        };
        Self { state }
    }

    pub(super) const fn answer(bytes: Bytes) -> Self {
        Self { state: State::Answer(bytes) }
    }
}

impl<B: Body<Data = Bytes>> Body for FirstFrameBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let budget = ready!(coop::poll_proceed(cx));
        // Taken out for the poll: should it panic, nothing is left.
        let mut state = std::mem::replace(&mut self.state, State::Ended);
        let polled = match &mut state {
            State::Live(held, body) => match held.pop() {
                Some(frame) => Some(Ok(frame)),
                None => match body.as_mut().poll_frame(cx) {
                    Poll::Ready(polled) => polled,
                    Poll::Pending => {
                        self.state = state;
                        return Poll::Pending;
                    }
                },
            },
            State::Read(held) => held.pop().map(Ok),
            State::Answer(bytes) => {
                let bytes = std::mem::take(bytes);
                (!bytes.is_empty()).then(|| Ok(Frame::data(bytes)))
            }
            State::Ended => None,
        };
        budget.made_progress();
        let ended = match &polled {
            Some(Ok(frame)) => frame.is_trailers(),
            Some(Err(_)) | None => true,
        };
        if !ended {
            self.state = state;
        }
        Poll::Ready(polled)
    }

    fn is_end_stream(&self) -> bool {
        match &self.state {
            State::Live(held, body) => held.is_empty() && body.is_end_stream(),
            State::Read(held) => held.is_empty(),
            State::Answer(bytes) => bytes.is_empty(),
            State::Ended => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.state {
            State::Live(held, body) => held.hint_with(&body.size_hint()),
            State::Read(held) => SizeHint::with_exact(held.bytes()),
            State::Answer(bytes) => SizeHint::with_exact(bytes.len() as u64),
            State::Ended => SizeHint::with_exact(0),
        }
    }
}

impl<B> fmt::Debug for FirstFrameBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FirstFrameBody").finish_non_exhaustive()
    }
}
