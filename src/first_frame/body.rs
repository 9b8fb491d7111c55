//! The body that replays what was held back.

use std::{
    collections::VecDeque,
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::task::coop;

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
    frames: VecDeque<Frame<Bytes>>,
    bytes: u64,
}

impl Held {
    pub(super) fn push(&mut self, frame: Frame<Bytes>) {
        self.bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
        self.frames.push_back(frame);
    }

    fn pop(&mut self) -> Option<Frame<Bytes>> {
        let frame = self.frames.pop_front()?;
        self.bytes -= frame.data_ref().map_or(0, |data| data.len() as u64);
        Some(frame)
    }

    /// The bytes of data that are held.
    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The memory that is held.
    pub(super) fn weight(&self) -> u64 {
        self.bytes + (self.frames.len() * size_of::<Frame<Bytes>>()) as u64
    }

    fn hint_with(&self, rest: &SizeHint) -> SizeHint {
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower().saturating_add(self.bytes));
        if let Some(upper) = rest.upper().and_then(|upper| upper.checked_add(self.bytes)) {
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
        let polled = match &mut self.state {
            State::Live(held, body) => match held.pop() {
                Some(frame) => Some(Ok(frame)),
                None => ready!(body.as_mut().poll_frame(cx)),
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
        if ended {
            self.state = State::Ended;
        }
        Poll::Ready(polled)
    }

    fn is_end_stream(&self) -> bool {
        match &self.state {
            State::Live(held, body) => held.frames.is_empty() && body.is_end_stream(),
            State::Read(held) => held.frames.is_empty(),
            State::Answer(bytes) => bytes.is_empty(),
            State::Ended => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.state {
            State::Live(held, body) => held.hint_with(&body.size_hint()),
            State::Read(held) => SizeHint::with_exact(held.bytes),
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
