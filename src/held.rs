//! A request body that was read before the service got it: the part that all layers share that must know it first.

use std::{
    collections::VecDeque,
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;
use tokio::task::coop;

/// The request body that the service gets: the client's own, or what was read of it and then the rest. Frames, trailers and
/// errors are the client's.
#[pin_project]
pub struct HeldBody<A: Body> {
    #[pin]
    state: State<A>,
}

#[pin_project(project = Projected)]
enum State<A: Body> {
    Untouched(#[pin] A),
    Held(Held<A>),
}

/// What was read of a body, and its rest.
pub(crate) struct Held<A: Body> {
    frames: VecDeque<Result<Frame<Bytes>, A::Error>>,
    bytes: u64,
    /// `None` once it has ended.
    rest: Option<Pin<Box<A>>>,
}

impl<A: Body> HeldBody<A> {
    pub(crate) const fn untouched(body: A) -> Self {
        Self { state: State::Untouched(body) }
    }

    pub(crate) const fn held(held: Held<A>) -> Self {
        Self { state: State::Held(held) }
    }
}

impl<A: Body<Data = Bytes>> Held<A> {
    pub(crate) fn new(body: A) -> Self {
        Self { frames: VecDeque::new(), bytes: 0, rest: Some(Box::pin(body)) }
    }

    /// Reads to the end. Gives `false` for what is not to be known: too much, an error, trailers.
    pub(crate) fn read(&mut self, limit: u64, cx: &mut Context<'_>) -> Poll<bool> {
        while let Some(body) = &mut self.rest {
            if body.is_end_stream() {
                self.rest = None;
                break;
            }
            let budget = ready!(coop::poll_proceed(cx));
            let polled = ready!(body.as_mut().poll_frame(cx));
            budget.made_progress();
            let Some(frame) = polled else {
                self.rest = None;
                break;
            };
            let data = frame.as_ref().ok().and_then(Frame::data_ref).map(|data| data.len() as u64);
            self.frames.push_back(frame);
            let Some(bytes) = data else {
                self.rest = None;
                return Poll::Ready(false);
            };
            self.bytes += bytes;
            if self.bytes > limit || self.frames.len() as u64 > 1024 + limit / 32 {
                return Poll::Ready(false);
            }
        }
        Poll::Ready(true)
    }

    /// The data that was read.
    pub(crate) fn data(&self) -> Vec<Bytes> {
        let frames = self.frames.iter().filter_map(|frame| frame.as_ref().ok()?.data_ref());
        frames.cloned().collect()
    }

    /// Puts other data in the place of all that was read to its end.
    pub(crate) fn replace(&mut self, data: Bytes) {
        self.bytes = data.len() as u64;
        self.frames = [Ok(Frame::data(data))].into();
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, A::Error>>> {
        let budget = ready!(coop::poll_proceed(cx));
        let polled = match (self.frames.pop_front(), &mut self.rest) {
            (Some(frame), _) => {
                let data = frame.as_ref().ok().and_then(Frame::data_ref);
                self.bytes -= data.map_or(0, |data| data.len() as u64);
                Some(frame)
            }
            (None, Some(body)) => ready!(body.as_mut().poll_frame(cx)),
            (None, None) => None,
        };
        budget.made_progress();
        let goes_on = matches!(&polled, Some(Ok(frame)) if frame.is_data());
        if !goes_on {
            self.frames.clear();
            self.rest = None;
        }
        Poll::Ready(polled)
    }

    fn size_hint(&self) -> SizeHint {
        let failed = self.frames.iter().any(Result::is_err);
        let rest = self.rest.as_ref().map(Body::size_hint);
        let rest = rest.unwrap_or_else(|| SizeHint::with_exact(0));
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower().saturating_add(self.bytes));
        let upper = rest.upper().and_then(|upper| upper.checked_add(self.bytes));
        if let Some(upper) = upper.filter(|_| !failed) {
            hint.set_upper(upper);
        }
        hint
    }
}

impl<A: Body<Data = Bytes>> Body for HeldBody<A> {
    type Data = Bytes;
    type Error = A::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, A::Error>>> {
        match self.project().state.project() {
            Projected::Untouched(body) => body.poll_frame(cx),
            Projected::Held(held) => held.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.state {
            State::Untouched(body) => body.is_end_stream(),
            State::Held(held) => {
                held.frames.is_empty() && held.rest.as_ref().is_none_or(Body::is_end_stream)
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.state {
            State::Untouched(body) => body.size_hint(),
            State::Held(held) => held.size_hint(),
        }
    }
}

impl<A: Body> fmt::Debug for HeldBody<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let held = matches!(self.state, State::Held(_));
        f.debug_struct("HeldBody").field("held", &held).finish_non_exhaustive()
    }
}
