//! A call and its answer, shared by all who asked for the same while it runs.
//!
//! No task of its own drives it. Whichever reader has taken all that came so far polls on, with a waker that wakes all: so the
//! fastest sets the pace, one that is not polled holds up nobody, and what nobody reads any more is dropped at once.

mod drive;
mod seat;
mod tape;

use std::{
    collections::HashMap,
    fmt,
    pin::Pin,
    sync::{Arc, Mutex},
    task::Waker,
};

use bytes::Bytes;
use http::response;
use http_body::Body;
use slab::Slab;

pub(super) use self::seat::{Came, Seat};
use self::tape::{FLOOR, Rest, Tape};
use super::{Key, MIB, Recorded, recorder::Answer};
use crate::{
    contain::contain,
    cut::lock,
    error::BoxError,
    exchange::{Cause, Exchange, Outcome},
    log::{BLOCK, Cursor, Share},
    span::CallSpan,
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
    /// Of the leader's call, whoever polls it.
    span: CallSpan,
    /// How far behind a reader may be whatever becomes of the budget.
    room: usize,
    state: Mutex<State>,
}

struct State {
    /// `None` while somebody polls it, and once it is over.
    upstream: Option<Upstream>,
    /// It woke while somebody polled it, who may not come back.
    woke: bool,
    stage: Stage,
    /// What the service said of its failure, by the time of the head.
    said: Option<Cause>,
    /// Whether one can join: all of it from the beginning on is still there.
    open: bool,
    /// Of the budget, for those who are behind.
    room: Share,
    tape: Tape,
    places: Slab<Place>,
    /// Who has the report of what it costs.
    payer: usize,
    /// The list that wakers are woken from, kept so that no frame allocates one.
    woken: Vec<Waker>,
}

/// Where the leader sits, until another one does.
const LEADER: usize = 0;

/// What is known of a reader.
struct Place {
    exchange: Exchange,
    waker: Option<Waker>,
    /// In front of the next frame, but for one that was passed on.
    at: Cursor,
    /// A frame that this reader polled itself, for which it need not be kept.
    passed: Option<Bytes>,
    /// So many frames it has read, and bytes.
    read: u64,
    taken: u64,
    fell_behind: bool,
}

enum Upstream {
    Call(Call),
    Body(SharedBody),
    /// A frame for which there is no room as long as the leader is so far behind.
    Waits(Bytes, Rest, SharedBody),
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
        answer: Arc<Mutex<Answer>>,
        /// The length that the head announced.
        expected: Option<u64>,
        /// What the leader says in the headers that its `vary` names.
        vary: Option<Key>,
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
        vary: Option<Key>,
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
            woke: false,
            stage: Stage::Calling,
            said: None,
            open: true,
            room: Share::of(terms.budget.clone()),
            tape: Tape::new(terms.limit),
            places,
            payer,
            woken: Vec::new(),
        };
        let state = Mutex::new(state);
        // With what it takes to hold it.
        let room = terms.limit.min(MIB);
        let room = room + room / 16 + BLOCK;
        let flight = Arc::new(Self {
            key,
            flights,
            leader: exchange.clone(),
            span: CallSpan::current(),
            room,
            state,
        });
        let seat = Seat::new(flight.clone(), payer, exchange.clone(), true);
        (flight, seat)
    }

    fn join(self: &Arc<Self>, exchange: &Exchange) -> Option<Seat> {
        let mut state = lock(&self.state);
        // Reserved, or what others take of the budget later would cut one of two readers of the same answer.
        if !state.open || !state.room.set(self.room.saturating_sub(FLOOR)) {
            return None;
        }
        state.tape.reserve(self.room.max(FLOOR));
        let place = state.places.insert(Place::of(exchange));
        drop(state);
        Some(Seat::new(self.clone(), place, exchange.clone(), false))
    }

    /// Whether the leader still reads: from then on, its exchange tells of its own end.
    fn leader_reads(&self, state: &State) -> bool {
        let leader = |place: &Place| place.exchange.id() == self.leader.id();
        state.places.get(LEADER).is_some_and(|place| leader(place) && !place.fell_behind)
    }

    /// Hands the report of what it costs on to the one who pays now: at once, or that one may have left.
    fn bill(state: &State, from: &Exchange) {
        if let Some(payer) = state.payer().filter(|payer| payer.id() != from.id()) {
            if let Some(report) = from.take::<UsageReport>() {
                payer.insert(report);
            }
        }
    }

    /// Takes a reader out. What the last one that can read on leaves behind is dropped; what another one owes goes to one who
    /// reads on.
    fn leave(self: &Arc<Self>, place: usize, exchange: &Exchange) {
        // Whoever asks next is not to wait for what another one has given up: it may hang.
        let gave_up = exchange
            .cause()
            .is_some_and(|cause| matches!(cause.outcome(), Outcome::TimedOut | Outcome::Aborted));
        let mut state = lock(&self.state);
        let gave_up = gave_up || matches!(state.stage, Stage::Calling);
        let left = state.places.try_remove(place);
        if !state.open {
            state.tape.trim(&state.places);
        }
        let readers = state.places.iter().filter(|(_, place)| !place.fell_behind).count();
        let last = readers == 0;
        if readers < 2 {
            // Nobody is behind another.
            state.room.set(0);
            state.tape.reserve(FLOOR);
        }
        let upstream = if last { state.upstream.take() } else { None };
        state.open &= !last && !gave_up;
        if last {
            // Not with the flight: a waker that somebody forgot may keep that.
            state.tape.abandon();
        }
        let running = matches!(state.stage, Stage::Calling) || !state.tape.is_there();
        let moves = !last && running && state.payer == place;
        if moves {
            let heir = state.places.iter().find(|(_, place)| !place.fell_behind);
            state.payer = heir.map_or(place, |(at, _)| at);
            Self::bill(&state, exchange);
        }
        drop(state);
        let _ = contain(|| drop(left));
        if last || gave_up {
            self.flights.remove(self);
        }
        if last {
            let _ = contain(|| drop(upstream));
        } else {
            // The one that left may have been the one that was woken to poll.
            self.wake_all_but(None);
        }
    }
}

impl State {
    fn payer(&self) -> Option<&Exchange> {
        self.places.get(self.payer).map(|place| &place.exchange)
    }
}

impl Place {
    fn of(exchange: &Exchange) -> Self {
        let exchange = exchange.clone();
        let at = Cursor::default();
        Self { exchange, waker: None, at, passed: None, read: 0, taken: 0, fell_behind: false }
    }

    fn has_read(&mut self, data: &Bytes) {
        self.read += 1;
        self.taken += data.len() as u64;
    }
}

impl fmt::Debug for Flight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flight").field("key", &self.key).finish_non_exhaustive()
    }
}
