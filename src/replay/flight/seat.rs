//! A reader of what is shared.

use std::{
    fmt,
    panic::resume_unwind,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::response;
use http_body::{Body, Frame, SizeHint};
use tokio::task::coop;

use super::{
    Call, Flight, Stage, State, Upstream,
    tape::{Told, Unclean},
};
use crate::{
    cut::lock,
    error::{BoxError, ErrorChain},
    exchange::{Cause, Exchange},
    replay::{Key, Recorded, error::FellBehind},
    usage::Terminator,
};

/// The place of one reader. Given up when it is dropped.
pub(in crate::replay) struct Seat {
    flight: Arc<Flight>,
    place: usize,
    exchange: Exchange,
    leads: bool,
    over: bool,
}

/// What came of the call, for one of those who waited for it.
pub(in crate::replay) enum Came {
    Found(Recorded),
    /// With what the leader says in the headers that its `vary` names.
    Streams(Box<response::Parts>, Option<Key>),
    /// There is nothing to share. The leader has what came of its call, and the others have their own requests.
    Alone,
    Panicked(Arc<str>),
}

impl Seat {
    pub(super) const fn new(
        flight: Arc<Flight>,
        place: usize,
        exchange: Exchange,
        leads: bool,
    ) -> Self {
        Self { flight, place, exchange, leads, over: false }
    }

    /// Whether it is the first: the one whose request the service is called with.
    pub(in crate::replay) const fn leads(&self) -> bool {
        self.leads
    }

    pub(in crate::replay) fn begin(&self, call: Call) {
        lock(&self.flight.state).upstream = Some(Upstream::Call(call));
        self.flight.wake_all_but(Some(self.place));
    }

    pub(in crate::replay) fn poll_head(&self, cx: &mut Context<'_>) -> Poll<Came> {
        self.flight.poll(self.place, cx, |state| match &mut state.stage {
            Stage::Calling => None,
            Stage::Found(recorded) => Some(Came::Found(recorded.clone())),
            Stage::Streams { head, others, vary } => {
                let own = if self.leads { head.take() } else { None };
                Some(Came::Streams(own.unwrap_or_else(|| others.clone()), *vary))
            }
            Stage::Panicked(message) if self.leads => Some(Came::Panicked(message.clone())),
            Stage::Alone | Stage::Panicked(_) => Some(Came::Alone),
        })
    }

    /// What is shared is not for this one: nothing of it is told to its exchange.
    pub(in crate::replay) const fn decline(&mut self) {
        self.over = true;
    }

    /// The next of this reader's frames, or how it ended.
    fn look(&self, state: &mut State) -> Option<Result<Option<Frame<Bytes>>, Unclean>> {
        let State { places, tape, open, .. } = state;
        if places.get(self.place)?.fell_behind {
            return Some(Err(Unclean::FellBehind));
        }
        if let Some(data) = tape.read(self.place, places, *open) {
            return Some(Ok(Some(Frame::data(data))));
        }
        Some(tape.ended()?.map(|trailers| trailers.map(Frame::trailers)))
    }

    fn has_read_all(&self) -> bool {
        let state = lock(&self.flight.state);
        state.places.get(self.place).is_some_and(|place| state.tape.is_over(place))
    }

    fn is_at_the_tip(&self) -> bool {
        let state = lock(&self.flight.state);
        state.places.get(self.place).is_some_and(|place| state.tape.is_at_the_tip(place))
    }

    /// This reader has read all that came: what the stream has said by now, it has said to this one.
    ///
    /// Not only at the end, for the flag of that may come between this frame and the look of whoever watches outside.
    fn heard(&self) {
        let Told { cause, terminator } = self.flight.told();
        if let Some(cause) = cause {
            self.exchange.hear(Some(cause));
        }
        if terminator == Some(Terminator::Seen) {
            self.exchange.insert(Terminator::Seen);
        }
    }

    /// What the stream said to others only is not true for this reader.
    fn unheard(&self) {
        if self.flight.told().terminator == Some(Terminator::Seen) {
            self.exchange.insert(Terminator::Missing);
        }
    }

    /// Tells this reader's exchange what is true for all who read so far. An error says itself why it is one.
    fn conclude(&self, clean: bool) {
        let told = lock(&self.flight.state).tape.told();
        let Told { cause, terminator } = told.unwrap_or_else(|| self.flight.told());
        if let Some(cause) = cause.filter(|_| clean) {
            self.exchange.record(cause);
        }
        if let Some(terminator) = terminator {
            self.exchange.insert(terminator);
        }
    }
}

impl Body for Seat {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.over {
            return Poll::Ready(None);
        }
        let budget = ready!(coop::poll_proceed(cx));
        let polled = ready!(self.flight.poll(self.place, cx, |state| self.look(state)));
        budget.made_progress();
        self.over = !matches!(&polled, Ok(Some(frame)) if frame.is_data());
        if !self.over && self.is_at_the_tip() {
            self.heard();
        }
        // At the flag, too: whoever watches outside believes it at once.
        let fell_behind = matches!(polled, Err(Unclean::FellBehind));
        if !fell_behind && (self.over || self.has_read_all()) {
            self.conclude(polled.is_ok());
        }
        Poll::Ready(match polled {
            Ok(frame) => frame.map(Ok),
            Err(Unclean::Failed(error)) => Some(Err(error)),
            Err(Unclean::FellBehind) => {
                let (error, reason) = (FellBehind::new(), Some("fell_behind".into()));
                let chain = Some(ErrorChain::of(&error));
                self.exchange.record(Cause::Failed { reason, error: chain });
                self.unheard();
                Some(Err(error.into()))
            }
            Err(Unclean::Panicked(message)) => resume_unwind(Box::new(message.to_string())),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.over || self.has_read_all()
    }

    fn size_hint(&self) -> SizeHint {
        if self.over {
            return SizeHint::with_exact(0);
        }
        let state = lock(&self.flight.state);
        let place = state.places.get(self.place);
        place.map(|place| state.tape.size_hint(place, self.leads)).unwrap_or_default()
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        // hyper asks no more when the flag says that it is the end, and a client when the stream does (truths.md 1).
        match (self.over, self.is_at_the_tip()) {
            (false, true) => self.conclude(true),
            (false, false) => self.unheard(),
            (true, _) => {}
        }
        self.flight.leave(self.place, &self.exchange);
    }
}

impl fmt::Debug for Seat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { flight, leads, .. } = self;
        f.debug_struct("Seat").field("flight", flight).field("leads", leads).finish_non_exhaustive()
    }
}
