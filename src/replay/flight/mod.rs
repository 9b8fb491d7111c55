//! A call and its answer, shared by all who asked for the same while it runs.
//!
//! No task of its own drives it. Whichever reader has taken all that came so far polls on, with a waker that wakes all: so the
//! fastest sets the pace, one that is not polled holds up nobody, and what nobody reads any more is dropped at once.

mod seat;
mod tape;

use std::{
    collections::HashMap,
    fmt,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Wake, Waker},
};

use bytes::Bytes;
use http::response;
use http_body::{Body, Frame};
use slab::Slab;

pub(super) use self::seat::{Came, Seat};
use self::tape::{Ended, Rest, Tape, Told, Unclean};
use super::{Key, Recorded, error::SharedFailure};
use crate::{
    contain::{contain, contain_poll},
    cut::lock,
    error::{BodyPanicked, BoxError},
    exchange::{Exchange, Outcome},
    tee::Budget,
    usage::UsageReport,
};

/// The calls that run, each under the key of its request. Who comes while one can be joined joins it.
#[derive(Debug, Default)]
pub(super) struct Flights(Mutex<HashMap<Key, Arc<Flight>>>);

impl Flights {
    /// Takes a seat: in the call that runs, or in a new one, which is then for the caller to [begin](Seat::begin).
    pub(super) fn board(self: &Arc<Self>, key: Key, exchange: &Exchange, terms: &Terms) -> Seat {
        let mut flights = lock(&self.0);
        if let Some(seat) = flights.get(&key).and_then(|flight| flight.join(exchange)) {
            return seat;
        }
        let (flight, seat) = Flight::new(self.clone(), key, exchange, terms);
        let replaced = flights.insert(key, flight);
        drop(flights);
        drop(replaced);
        seat
    }

    fn remove(&self, flight: &Arc<Flight>) {
        let mut flights = lock(&self.0);
        if flights.get(&flight.key).is_some_and(|known| Arc::ptr_eq(known, flight)) {
            let removed = flights.remove(&flight.key);
            drop(flights);
            drop(removed);
        }
    }
}

/// What one that runs may hold.
#[derive(Clone, Debug)]
pub(super) struct Terms {
    pub(super) limit: usize,
    pub(super) budget: Option<Budget>,
}

/// One call and its answer.
// The upstream holds the flight, as its waker, and the flight the upstream. Whoever leaves last takes that apart.
pub(super) struct Flight {
    key: Key,
    flights: Arc<Flights>,
    /// Whose request it is that the service was called with.
    leader: Exchange,
    state: Mutex<State>,
}

struct State {
    /// `None` while somebody polls it, and once it is over.
    upstream: Option<Upstream>,
    /// Somebody else wanted to poll it meanwhile, and relies on being woken.
    missed: bool,
    stage: Stage,
    /// Whether one can join: all of it from the beginning on is still there.
    open: bool,
    tape: Tape,
    places: Slab<Place>,
    /// Who has the report of what it costs.
    payer: usize,
    /// The list that wakers are woken from, kept so that no frame allocates one.
    woken: Vec<Waker>,
}

/// What is known of a reader.
struct Place {
    exchange: Exchange,
    waker: Option<Waker>,
    /// The number of the next frame.
    next: usize,
    taken: u64,
    fell_behind: bool,
}

enum Upstream {
    Call(Call),
    Body(SharedBody),
}

/// Looks into the store, and calls the service if there is nothing.
pub(super) type Call = Pin<Box<dyn Future<Output = Called> + Send>>;
/// A body whose type only the leader knows.
pub(super) type SharedBody = Pin<Box<dyn Body<Data = Bytes, Error = BoxError> + Send>>;

/// What a call gave.
pub(super) enum Called {
    Found(Recorded),
    /// With the head as the service gave it, for the leader, and as all others get it.
    Streams {
        head: Box<response::Parts>,
        others: Box<response::Parts>,
        body: SharedBody,
    },
    /// A failure, or an answer that is nobody else's: the leader has it.
    Alone,
}

enum Stage {
    Calling,
    Found(Recorded),
    Streams {
        head: Option<Box<response::Parts>>,
        others: Box<response::Parts>,
    },
    Alone,
    /// The call did.
    Panicked(Arc<str>),
}

impl Flight {
    fn new(
        flights: Arc<Flights>,
        key: Key,
        exchange: &Exchange,
        terms: &Terms,
    ) -> (Arc<Self>, Seat) {
        let mut places = Slab::with_capacity(1);
        let payer = places.insert(Place::of(exchange));
        let state = State {
            upstream: None,
            missed: false,
            stage: Stage::Calling,
            open: true,
            tape: Tape::new(terms),
            places,
            payer,
            woken: Vec::new(),
        };
        let state = Mutex::new(state);
        let flight = Arc::new(Self { key, flights, leader: exchange.clone(), state });
        let seat = Seat::new(flight.clone(), payer, exchange.clone(), true);
        (flight, seat)
    }

    fn join(self: &Arc<Self>, exchange: &Exchange) -> Option<Seat> {
        let mut state = lock(&self.state);
        if !state.open {
            return None;
        }
        state.tape.joined();
        let place = state.places.insert(Place::of(exchange));
        drop(state);
        Some(Seat::new(self.clone(), place, exchange.clone(), false))
    }

    /// Waits until `look` finds something at this place. Polls what is shared if nobody else is at it.
    fn poll<T>(
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
                drop(state);
                drop(stale);
                return Poll::Ready(found);
            }
            // Registered before the poll, or what happens during it would be missed.
            let replaced = state.places.get_mut(place).and_then(|it| it.waker.replace(waker));
            let upstream = state.upstream.take();
            state.missed |= upstream.is_none();
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
        let open = match upstream {
            Upstream::Call(mut call) => match contain_poll(|| call.as_mut().poll(cx)) {
                Poll::Pending => return self.put_back(Upstream::Call(call), place),
                Poll::Ready(called) => {
                    let _ = contain(|| drop(call));
                    self.called(called)
                }
            },
            Upstream::Body(mut body) => {
                let poll = || body.as_mut().poll_frame(cx).map(|frame| (frame, Rest::of(&body)));
                match contain_poll(poll) {
                    Poll::Pending => return self.put_back(Upstream::Body(body), place),
                    Poll::Ready(Ok((Some(Ok(frame)), rest))) if frame.is_data() => {
                        self.came(frame, rest, body)
                    }
                    Poll::Ready(ended) => {
                        // It is gone, and whatever watches it has spoken, before anyone hears of the end.
                        let _ = contain(|| drop(body));
                        self.over(ended.map(|(frame, _)| frame));
                        false
                    }
                }
            }
        };
        if !open {
            self.flights.remove(self);
        }
        self.wake_all_but(Some(place));
        Poll::Ready(())
    }

    fn put_back(&self, upstream: Upstream, place: usize) -> Poll<()> {
        let mut state = lock(&self.state);
        state.upstream = Some(upstream);
        let missed = std::mem::take(&mut state.missed);
        drop(state);
        if missed {
            self.wake_all_but(Some(place));
        }
        Poll::Pending
    }

    /// Returns whether it can be joined now.
    fn called(&self, called: Result<Called, Arc<str>>) -> bool {
        let (stage, body) = match called {
            Ok(Called::Found(recorded)) => (Stage::Found(recorded), None),
            Ok(Called::Alone) => (Stage::Alone, None),
            Ok(Called::Streams { head, others, body }) => {
                let head = Some(head);
                (Stage::Streams { head, others }, Some(body))
            }
            Err(message) => (Stage::Panicked(message), None),
        };
        let rest = body.as_ref().and_then(|body| contain(|| Rest::of(body)).ok());
        self.bill(&self.leader);
        let told = self.told_of(rest.as_ref());
        let mut state = lock(&self.state);
        state.stage = stage;
        state.open = body.is_some() && told.is_none();
        state.upstream = body.map(Upstream::Body);
        if let Some(rest) = rest {
            state.tape.rest(rest, told);
        }
        state.open
    }

    fn came(&self, frame: Frame<Bytes>, rest: Rest, body: SharedBody) -> bool {
        let told = self.told_of(Some(&rest));
        let mut state = lock(&self.state);
        let State { tape, places, open, upstream, .. } = &mut *state;
        // Also at its flag: it is the readers who decide to believe that (http-body#142).
        *upstream = Some(Upstream::Body(body));
        *open &= tape.push(frame.into_data().unwrap_or_default(), places, *open) && told.is_none();
        tape.rest(rest, told);
        *open
    }

    fn over(&self, ended: Result<Option<Result<Frame<Bytes>, BoxError>>, Arc<str>>) {
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
        state.open = false;
    }

    /// What is known of the end, where the flag says that it has come.
    fn told_of(&self, rest: Option<&Rest>) -> Option<Told> {
        rest.is_some_and(|rest| rest.is_none).then(|| self.told())
    }

    fn told(&self) -> Told {
        let report = self.payer().and_then(|payer| payer.fact::<UsageReport>());
        // Of what the leader's exchange says only this can hold for others: it may have left long ago.
        let cause = self.leader.cause().filter(|cause| cause.outcome() == Outcome::Failed);
        let cause = cause.or_else(|| report.as_ref()?.told_end());
        Told { cause, terminator: report.map(|report| report.usage().terminator) }
    }

    fn payer(&self) -> Option<Exchange> {
        let state = lock(&self.state);
        state.places.get(state.payer).map(|place| place.exchange.clone())
    }

    /// Hands the report of what it costs on to the one who pays now.
    fn bill(&self, from: &Exchange) {
        if let Some(payer) = self.payer().filter(|payer| payer.id() != from.id()) {
            if let Some(report) = from.take::<UsageReport>() {
                payer.insert(report);
            }
        }
    }

    /// Takes a reader out. What the last one leaves behind is dropped; what another one owes goes to one who reads on.
    fn leave(self: &Arc<Self>, place: usize, exchange: &Exchange) {
        let mut state = lock(&self.state);
        let left = state.places.try_remove(place);
        if let Some(left) = left.as_ref().filter(|left| !left.fell_behind) {
            state.tape.left(left.next);
        }
        if !state.open {
            state.tape.trim();
        }
        let last = state.places.is_empty();
        let upstream = if last { state.upstream.take() } else { None };
        state.open &= !last;
        let running = matches!(state.stage, Stage::Calling) || !state.tape.is_there();
        let moves = !last && running && state.payer == place;
        if moves {
            let heir = state.places.iter().find(|(_, place)| !place.fell_behind);
            state.payer = heir.map_or(place, |(at, _)| at);
        }
        drop(state);
        drop(left);
        if moves {
            self.bill(exchange);
            self.bill(&self.leader);
        }
        if last {
            let _ = contain(|| drop(upstream));
            self.flights.remove(self);
        } else {
            // The one that left may have been the one that was woken to poll.
            self.wake_all_but(None);
        }
    }

    fn wake_all_but(&self, skipped: Option<usize>) {
        let mut state = lock(&self.state);
        let mut woken = std::mem::take(&mut state.woken);
        let others = state.places.iter_mut().filter(|(at, _)| Some(*at) != skipped);
        woken.extend(others.filter_map(|(_, place)| place.waker.take()));
        drop(state);
        woken.drain(..).for_each(Waker::wake);
        lock(&self.state).woken = woken;
    }
}

impl Wake for Flight {
    fn wake(self: Arc<Self>) {
        self.wake_all_but(None);
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.wake_all_but(None);
    }
}

impl Place {
    fn of(exchange: &Exchange) -> Self {
        let exchange = exchange.clone();
        Self { exchange, waker: None, next: 0, taken: 0, fell_behind: false }
    }
}

impl fmt::Debug for Flight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flight").field("key", &self.key).finish_non_exhaustive()
    }
}
