//! The body: live, shared with others, or replayed.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;
use tokio::{
    task::coop,
    time::{Instant, Sleep, sleep_until},
};

use super::{Recorded, ReplayStore, flight::Seat, recorder::Recorder};
use crate::{error::BoxError, log::Cursor, watch::Watched};

/// The body of a response under [`ReplayLayer`](super::ReplayLayer). See the [module](super) for what happens when.
#[pin_project]
pub struct ReplayBody<B: Body, T: ReplayStore> {
    #[pin]
    state: State<B, T>,
}

#[pin_project(project = Projected)]
enum State<B: Body, T: ReplayStore> {
    Live(#[pin] Watched<B, Recorder<T>>),
    Shared(Seat),
    Replayed(Player),
}

impl<B: Body, T: ReplayStore> ReplayBody<B, T> {
    pub(super) const fn live(body: Watched<B, Recorder<T>>) -> Self {
        Self { state: State::Live(body) }
    }

    pub(super) const fn shared(seat: Seat) -> Self {
        Self { state: State::Shared(seat) }
    }

    pub(super) fn replayed(recorded: Recorded, paced: bool) -> Self {
        let pace = paced.then(|| Pace { started: Instant::now(), timer: None });
        let next = recorded.start();
        Self { state: State::Replayed(Player { recorded: Some(recorded), next, pace }) }
    }
}

impl<B, T> Body for ReplayBody<B, T>
where
    B: Body<Data = Bytes, Error: Into<BoxError>>,
    T: ReplayStore,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.project().state.project() {
            Projected::Live(body) => {
                body.poll_frame(cx).map(|frame| frame.map(|frame| frame.map_err(Into::into)))
            }
            Projected::Shared(seat) => Pin::new(seat).poll_frame(cx),
            Projected::Replayed(player) => player.poll(cx).map(|frame| frame.map(Ok)),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.state {
            State::Live(body) => body.is_end_stream(),
            State::Shared(seat) => seat.is_end_stream(),
            State::Replayed(player) => player.is_over(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.state {
            State::Live(body) => body.size_hint(),
            State::Shared(seat) => seat.size_hint(),
            State::Replayed(player) => player.size_hint(),
        }
    }
}

/// Plays an answer.
struct Player {
    /// `None` after the end.
    recorded: Option<Recorded>,
    next: Cursor,
    pace: Option<Pace>,
}

/// As the original was: each frame not before its time.
struct Pace {
    started: Instant,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Player {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Frame<Bytes>>> {
        let Some(recorded) = &self.recorded else { return Poll::Ready(None) };
        let budget = ready!(coop::poll_proceed(cx));
        let due = recorded.after(self.next);
        if let (Some(pace), Some(after)) = (&mut self.pace, due) {
            ready!(pace.poll(after, cx));
        }
        budget.made_progress();
        if let Some((_, data)) = recorded.read(&mut self.next) {
            return Poll::Ready(Some(Frame::data(data)));
        }
        let trailers = recorded.trailers().cloned();
        self.recorded = None;
        Poll::Ready(trailers.map(Frame::trailers))
    }

    fn is_over(&self) -> bool {
        let over =
            |recorded: &Recorded| recorded.rest(self.next) == 0 && recorded.trailers().is_none();
        self.recorded.as_ref().is_none_or(over)
    }

    /// Exact where the original's was: a stream without a length stays one, and what depends on that works as it did.
    fn size_hint(&self) -> SizeHint {
        let Some(recorded) = &self.recorded else { return SizeHint::with_exact(0) };
        let rest = recorded.rest(self.next);
        if recorded.has_length() || self.is_over() {
            return SizeHint::with_exact(rest);
        }
        let mut hint = SizeHint::new();
        hint.set_lower(rest);
        hint
    }
}

impl Pace {
    fn poll(&mut self, after: std::time::Duration, cx: &mut Context<'_>) -> Poll<()> {
        // In a time that no clock will reach it is not waited for.
        let Some(due) = self.started.checked_add(after) else { return Poll::Ready(()) };
        while Instant::now() < due {
            let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(due)));
            if timer.deadline() != due {
                timer.as_mut().reset(due);
            }
            ready!(timer.as_mut().poll(cx));
        }
        Poll::Ready(())
    }
}

impl<B: Body, T: ReplayStore> fmt::Debug for ReplayBody<B, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let replayed = matches!(self.state, State::Replayed(_));
        f.debug_struct("ReplayBody").field("replayed", &replayed).finish_non_exhaustive()
    }
}
