//! How a flight goes on: by the poll of whichever reader has taken all that came.

use std::{
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
};

use bytes::Bytes;
use http_body::Frame;

use super::{
    Called, Flight, LEADER, SharedBody, Stage, State, Upstream,
    tape::{Ended, Kept, Rest, Told, Unclean},
};
use crate::{
    contain::{contain, contain_poll},
    cut::lock,
    error::{BodyPanicked, BoxError},
    exchange::{Exchange, Outcome},
    replay::error::SharedFailure,
    usage::UsageReport,
};

impl Flight {
    /// Waits until `look` finds something at this place. Polls what is shared if nobody else is at it.
    pub(super) fn poll<T>(
        self: &Arc<Self>,
        place: usize,
        cx: &mut Context<'_>,
        mut look: impl FnMut(&mut State) -> Option<T>,
    ) -> Poll<T> {
        loop {
            let waker = cx.waker().clone();
            let mut state = lock(&self.state);
            if let Some(found) = look(&mut state) {
                let stale = state.places.get_mut(place).and_then(|it| it.waker.take());
                let waits = matches!(state.upstream, Some(Upstream::Waits(..)));
                drop(state);
                drop(stale);
                if waits && place == LEADER {
                    self.wake_all_but(Some(place)); // There may be room for it now.
                }
                return Poll::Ready(found);
            }
            // Registered before the poll, or what happens during it would be missed.
            let replaced = state.places.get_mut(place).and_then(|it| it.waker.replace(waker));
            let upstream = state.upstream.take();
            state.woke &= upstream.is_none();
            drop(state);
            drop(replaced); // Foreign code, as is every waker.
            let Some(upstream) = upstream else { return Poll::Pending };
            if self.advance(upstream, place).is_pending() {
                return Poll::Pending;
            }
        }
    }

    /// Polls the upstream once, for the reader at `place`, and makes known what came.
    fn advance(self: &Arc<Self>, upstream: Upstream, place: usize) -> Poll<()> {
        let waker = Waker::from(self.clone());
        let cx = &mut Context::from_waker(&waker);
        let closed = match upstream {
            Upstream::Call(mut call) => {
                match contain_poll(|| self.span.in_scope(|| call.as_mut().poll(cx))) {
                    Poll::Pending => return self.put_back(Upstream::Call(call), place),
                    Poll::Ready(called) => {
                        let _ = contain(|| drop(call));
                        self.called(called)
                    }
                }
            }
            Upstream::Waits(data, rest, body) => return self.came(&data, rest, body, place),
            Upstream::Body(mut body) => {
                let poll = || body.as_mut().poll_frame(cx).map(|frame| (frame, Rest::of(&body)));
                match contain_poll(|| self.span.in_scope(poll)) {
                    Poll::Pending => return self.put_back(Upstream::Body(body), place),
                    Poll::Ready(Ok((Some(Ok(frame)), rest))) if frame.is_data() => {
                        // Dropped outside of the lock, for it may be anything.
                        let data = frame.into_data().unwrap_or_default();
                        return self.came(&data, rest, body, place);
                    }
                    Poll::Ready(ended) => {
                        // It is gone, and whatever watches it has spoken, before anyone hears of the end.
                        let _ = contain(|| drop(body));
                        self.over(ended.map(|(frame, _)| frame))
                    }
                }
            }
        };
        self.moved(closed, place);
        Poll::Ready(())
    }

    fn moved(self: &Arc<Self>, closed: bool, place: usize) {
        if closed {
            self.flights.remove(self);
        }
        self.wake_all_but(Some(place));
    }

    fn put_back(&self, upstream: Upstream, place: usize) -> Poll<()> {
        let mut state = lock(&self.state);
        state.upstream = Some(upstream);
        let woke = std::mem::take(&mut state.woke);
        drop(state);
        if woke {
            // Whoever was woken by that found it taken. The reader at `place` was woken as well.
            self.wake_all_but(Some(place));
        }
        Poll::Pending
    }

    /// Returns whether it can be joined no more, as do the following.
    fn called(&self, called: Result<Called, Arc<str>>) -> bool {
        let (stage, body, begun) = match called {
            Ok(Called::Found(recorded)) => (Stage::Found(recorded), None, None),
            Ok(Called::Alone) => (Stage::Alone, None, None),
            Ok(Called::Streams { head, others, body, answer, expected, vary }) => {
                let head = Some(head);
                let stage = Stage::Streams { head, others, vary };
                (stage, Some(body), Some((answer, expected)))
            }
            Err(message) => (Stage::Panicked(message), None, None),
        };
        let rest = body.as_ref().and_then(|body| contain(|| Rest::of(body)).ok());
        let said = self.leader.cause().filter(|cause| cause.outcome() == Outcome::Failed);
        let mut state = lock(&self.state);
        Self::bill(&state, &self.leader);
        state.said = said.filter(|_| self.leader_reads(&state));
        drop(state);
        let told = self.told_of(rest.as_ref());
        let mut state = lock(&self.state);
        state.stage = stage;
        state.open = body.is_some() && told.is_none();
        state.upstream = body.map(Upstream::Body);
        if let Some((answer, expected)) = begun {
            state.tape.begin(answer, expected);
        }
        if let Some(rest) = rest {
            state.tape.rest(rest, told);
        }
        !state.open
    }

    /// Pending: it waits for the leader, who is behind, and is woken when that one has read.
    fn came(
        self: &Arc<Self>,
        data: &Bytes,
        rest: Rest,
        body: SharedBody,
        poller: usize,
    ) -> Poll<()> {
        let told = self.told_of(Some(&rest));
        let mut state = lock(&self.state);
        let leader = self.leader_reads(&state).then_some(LEADER);
        let State { tape, places, open, upstream, .. } = &mut *state;
        let was_open = *open;
        let kept = tape.push(data, poller, leader, places, *open);
        *open &= kept == Kept::ForAll && told.is_none();
        let waits = kept == Kept::Waits;
        *upstream = Some(match waits {
            true => Upstream::Waits(data.clone(), rest, body),
            false => {
                tape.rest(rest, told);
                // Also at its flag: it is the readers who decide to believe that (http-body#142).
                Upstream::Body(body)
            }
        });
        if !*open {
            tape.trim(places);
        }
        let closed = was_open && !*open;
        drop(state);
        self.moved(closed, poller);
        if waits { Poll::Pending } else { Poll::Ready(()) }
    }

    fn over(&self, ended: Result<Option<Result<Frame<Bytes>, BoxError>>, Arc<str>>) -> bool {
        let told = self.told();
        let mut state = lock(&self.state);
        // Who is alone gets what it would have got without this layer.
        let alone = state.places.len() == 1;
        let ended = match ended {
            Ok(None) => Ended::Clean(None),
            Ok(Some(Ok(frame))) => Ended::Clean(frame.into_trailers().ok()),
            Ok(Some(Err(error))) if alone => Ended::Own(Some(Unclean::Failed(error))),
            Err(message) if alone => Ended::Own(Some(Unclean::Panicked(message))),
            Ok(Some(Err(error))) => Ended::Shared(SharedFailure::new(error)),
            Err(message) => Ended::Shared(SharedFailure::new(BodyPanicked::new(message).into())),
        };
        state.tape.end(ended, told);
        state.tape.trim(&state.places);
        std::mem::take(&mut state.open)
    }

    /// What is known of the end, where the flag says that it has come.
    fn told_of(&self, rest: Option<&Rest>) -> Option<Told> {
        rest.is_some_and(|rest| rest.is_none).then(|| self.told())
    }

    pub(super) fn told(&self) -> Told {
        let state = lock(&self.state);
        let report = state.payer().and_then(Exchange::fact::<UsageReport>);
        let (said, leader_reads) = (state.said.clone(), self.leader_reads(&state));
        drop(state);
        // Of what the leader's exchange says only this can hold for others, and only as long as it is one of them.
        let cause = said.or_else(|| self.leader.cause().filter(|_| leader_reads));
        let cause = cause.filter(|cause| cause.outcome() == Outcome::Failed);
        let cause = cause.or_else(|| self.leader.said().end);
        Told { cause, terminator: report.map(|report| report.look(|usage| usage.terminator)) }
    }

    pub(super) fn wake_all_but(&self, skipped: Option<usize>) {
        let mut state = lock(&self.state);
        let mut woken = std::mem::take(&mut state.woken);
        let others = state.places.iter_mut().filter(|(at, _)| Some(*at) != skipped);
        woken.extend(others.filter_map(|(_, place)| place.waker.take()));
        drop(state);
        for waker in woken.drain(..) {
            let _ = contain(|| waker.wake());
        }
        lock(&self.state).woken = woken;
    }
}

impl Wake for Flight {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let mut state = lock(&self.state);
        state.woke |= state.upstream.is_none();
        drop(state);
        self.wake_all_but(None);
    }
}
