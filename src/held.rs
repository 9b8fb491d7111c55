//! A request body that was read before the service got it: the part that all layers share that must know it first.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;
use tokio::task::coop;

use crate::log::{BLOCK, Budget, Queue};

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
    Held(Box<Held<A>>),
}

/// What was read of a body, and its rest.
pub(crate) struct Held<A: Body> {
    data: Queue,
    /// What came behind that and is not held as data: it is the last, or too much.
    next: Option<Result<Frame<Bytes>, A::Error>>,
    /// `None` once it has ended.
    rest: Option<Pin<Box<A>>>,
}

impl<A: Body> HeldBody<A> {
    pub(crate) const fn untouched(body: A) -> Self {
        Self { state: State::Untouched(body) }
    }

    pub(crate) fn held(held: Held<A>) -> Self {
        Self { state: State::Held(Box::new(held)) }
    }
}

impl<A: Body<Data = Bytes>> Held<A> {
    /// What is held is taken from `budget`.
    pub(crate) fn new(body: A, budget: Option<Budget>) -> Self {
        Self { data: Queue::new(budget), next: None, rest: Some(Box::pin(body)) }
    }

    /// Reads to the end. Gives `false` for what is not to be known: too much, an error, trailers.
    pub(crate) fn read(&mut self, limit: u64, cx: &mut Context<'_>) -> Poll<bool> {
        // What it takes in frames of a single byte.
        let most = usize::try_from(limit).unwrap_or(usize::MAX);
        let most = most.saturating_mul(2).saturating_add(most / 64 + BLOCK + 1024);
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
            let Some(data) = frame.as_ref().ok().and_then(Frame::data_ref) else {
                self.next = Some(frame);
                self.rest = None;
                return Poll::Ready(false);
            };
            let fits = self.data.bytes().saturating_add(data.len() as u64) <= limit;
            if !fits || !self.data.push(data) {
                self.next = Some(frame);
                return Poll::Ready(false);
            }
            if self.data.memory() > most {
                return Poll::Ready(false); // Frames of nothing.
            }
        }
        Poll::Ready(true)
    }

    /// The data that was read: nothing, or all of it in one piece.
    pub(crate) fn data(&mut self) -> Option<Bytes> {
        (!self.data.is_empty()).then(|| self.data.in_one_piece())
    }

    /// Puts other data in the place of all that was read to its end.
    pub(crate) fn replace(&mut self, data: Bytes) {
        self.data.clear();
        self.next = Some(Ok(Frame::data(data)));
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, A::Error>>> {
        let budget = ready!(coop::poll_proceed(cx));
        let held = self.data.pop().map(|data| Ok(Frame::data(data)));
        let polled = match (held.or_else(|| self.next.take()), &mut self.rest) {
            (Some(frame), _) => Some(frame),
            (None, Some(body)) => ready!(body.as_mut().poll_frame(cx)),
            (None, None) => None,
        };
        budget.made_progress();
        let goes_on = matches!(&polled, Some(Ok(frame)) if frame.is_data());
        if !goes_on {
            self.rest = None;
        }
        Poll::Ready(polled)
    }

    fn is_end_stream(&self) -> bool {
        let is_over = self.rest.as_ref().is_none_or(Body::is_end_stream);
        self.data.is_empty() && self.next.is_none() && is_over
    }

    fn size_hint(&self) -> SizeHint {
        let next = self.next.as_ref().map(|next| next.as_ref().map(Frame::data_ref));
        let failed = matches!(next, Some(Err(_)));
        let next = next.and_then(Result::ok).flatten().map_or(0, |data| data.len() as u64);
        let held = self.data.bytes() + next;
        let rest = self.rest.as_ref().map(Body::size_hint);
        let rest = rest.unwrap_or_else(|| SizeHint::with_exact(0));
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower().saturating_add(held));
        let upper = rest.upper().and_then(|upper| upper.checked_add(held));
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
            State::Held(held) => held.is_end_stream(),
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
