//! What was read of a request's body: it waits for the upstream, and is kept behind it as long as the request may have
//! to be sent once more.
//!
//! Every piece is a copy of its own, since a frame of hyper's is a slice of a buffer that is mostly larger: it would
//! hold memory that nobody counts. Small pieces that wait are gathered.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::Frame;
use tokio::sync::Notify;
use tower::BoxError;

use super::{
    READ_AHEAD,
    budget::{Budget, Counted, OVERHEAD},
};

/// So much of a body is kept at most ...
const KEPT_BYTES: u64 = 1024 * 1024;
/// ... in so many pieces.
const KEPT_PIECES: usize = 1024;
/// Pieces that wait are gathered up to this size.
const BLOCK: usize = 16 * 1024;

/// Between the task that reads the client and the body that the upstream's connection takes.
#[derive(Debug)]
pub(super) struct Buffer {
    budget: Budget,
    state: Mutex<State>,
    /// Tells the task that something has changed for it.
    changed: Notify,
}

#[derive(Debug)]
struct State {
    /// First those that the upstream has had, as long as they are kept, then those that wait for it.
    pieces: VecDeque<Piece>,
    /// Waits behind all pieces.
    tail: Option<Tail>,
    /// So many of the pieces the upstream has had.
    had: usize,
    had_bytes: u64,
    /// Whether what the upstream takes is kept.
    keeps: bool,
    /// Whether something that the upstream has had is no longer there.
    lost: bool,
    /// What waits costs so much.
    waits: usize,
    end: End,
    gate: Gate,
    /// Which body reads: the first, or that of the request which is sent once more.
    reader: u32,
    /// Whether that body is there.
    reads: bool,
    /// Whether there may be another one.
    repeatable: bool,
    /// Is there while the upstream asks for more.
    asks: Option<Waker>,
}

#[derive(Debug)]
enum Piece {
    Data(Bytes),
    Trailers(
        HeaderMap,
        #[expect(dead_code, reason = "it is counted as long as it is there")] Counted,
    ),
}

#[derive(Debug)]
struct Tail {
    bytes: Vec<u8>,
    _counted: Counted,
}

#[derive(Debug)]
enum End {
    Open,
    Whole,
    /// The error is there until it was handed out.
    Broken(Option<BoxError>),
}

/// Whether the client's body may be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gate {
    /// The client waits to be told that it is wanted.
    Shut,
    Open,
    /// It was answered before it was wanted.
    Spared,
}

/// What the task that reads the client is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Demand {
    Read,
    /// Nobody will take any more of it.
    Unwanted,
    /// The same, and the client was never asked for it.
    Spared,
}

impl Buffer {
    /// With `keeps`, what the upstream takes is kept; with `shut`, nothing is read before [`open`](Self::open).
    pub(super) fn new(budget: Budget, length: Option<u64>, keeps: bool, shut: bool) -> Self {
        let state = State {
            pieces: VecDeque::new(),
            tail: None,
            had: 0,
            had_bytes: 0,
            keeps: keeps && length.is_none_or(|length| length <= KEPT_BYTES),
            lost: false,
            waits: 0,
            end: End::Open,
            gate: if shut { Gate::Shut } else { Gate::Open },
            reader: 0,
            reads: true,
            repeatable: true,
            asks: None,
        };
        Self { budget, state: Mutex::new(state), changed: Notify::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No code of others runs under the lock but wakers' and drops, which leave nothing half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state and lets the task see it.
    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let changed = change(&mut self.state());
        self.changed.notify_one();
        changed
    }

    // The side of the task that reads the client.

    /// Waits until there is something to do for it.
    pub(super) async fn demand(&self) -> Demand {
        loop {
            let demand = self.state().demand(&self.budget);
            if let Some(demand) = demand {
                return demand;
            }
            self.changed.notified().await;
        }
    }

    /// Waits until nobody will take any more.
    pub(super) async fn unwanted(&self) {
        while self.state().is_wanted() {
            self.changed.notified().await;
        }
    }

    pub(super) fn push(&self, frame: Frame<Bytes>) {
        let mut state = self.state();
        match frame.into_data().map_err(Frame::into_trailers) {
            Ok(data) => state.push_data(&data, &self.budget),
            Err(Ok(trailers)) => {
                state.gather(&self.budget);
                let cost = cost_of(&trailers);
                state.push_piece(Piece::Trailers(trailers, self.budget.count(cost)));
            }
            Err(Err(_unknown)) => {}
        }
        wake(state);
    }

    pub(super) fn end(&self, end: Result<(), BoxError>) {
        let mut state = self.state();
        state.end = match end {
            Ok(()) => End::Whole,
            Err(error) => End::Broken(Some(error)),
        };
        wake(state);
    }

    /// The task is gone. If it was before the end, that must not look like the end.
    pub(super) fn abandon(&self) {
        let mut state = self.state();
        if matches!(state.end, End::Open) {
            state.end = End::Broken(None);
        }
        wake(state);
    }

    // The side of the upstream.

    /// What comes next for this reader.
    pub(super) fn poll_next(
        &self,
        cx: &mut Context<'_>,
        reader: u32,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let mut state = self.state();
        if state.reader != reader {
            return Poll::Ready(Some(Err("the request is sent once more".into())));
        }
        let next = match state.take(&self.budget) {
            Some(frame) => Some(Ok(frame)),
            None => match &mut state.end {
                End::Whole => None,
                End::Broken(error) => {
                    Some(Err(error.take().unwrap_or_else(|| "the request was cut off".into())))
                }
                End::Open => {
                    state.asks = Some(cx.waker().clone());
                    drop(state);
                    self.changed.notify_one();
                    return Poll::Pending;
                }
            },
        };
        drop(state);
        self.changed.notify_one();
        Poll::Ready(next)
    }

    /// This reader is gone.
    pub(super) fn leave(&self, reader: u32) {
        self.change(|state| {
            if state.reader == reader {
                state.reads = false;
                state.asks = None;
            }
        });
    }

    /// The next reader, from the start, if all is still there. The one before gets nothing more.
    pub(super) fn restart(&self) -> Option<u32> {
        let mut state = self.state();
        if state.lost {
            return None;
        }
        state.reader += 1;
        state.reads = true;
        state.asks = None;
        state.waits = state.waits.saturating_add(state.had_cost());
        (state.had, state.had_bytes) = (0, 0);
        Some(state.reader)
    }

    /// There will be no other reader.
    pub(super) fn no_repeat(&self) {
        self.change(|state| {
            state.repeatable = false;
            state.forget();
        });
    }

    /// The client's body is wanted.
    pub(super) fn open(&self) {
        self.change(|state| {
            if state.gate == Gate::Shut {
                state.gate = Gate::Open;
            }
        });
    }

    /// There is an answer. Whether that was before the client's body was wanted.
    pub(super) fn spare(&self) -> bool {
        self.change(|state| {
            if state.gate == Gate::Shut {
                state.gate = Gate::Spared;
            }
            state.gate == Gate::Spared
        })
    }
}

impl State {
    fn is_wanted(&self) -> bool {
        self.reads || self.repeatable
    }

    fn demand(&self, budget: &Budget) -> Option<Demand> {
        // Beyond the budget it is read no faster than the upstream takes it, but so fast always.
        let has_room = || self.waits < READ_AHEAD && !budget.is_spent();
        match self.gate {
            Gate::Spared => Some(Demand::Spared),
            Gate::Shut => (!self.is_wanted()).then_some(Demand::Spared),
            Gate::Open if !self.is_wanted() => Some(Demand::Unwanted),
            Gate::Open => (self.asks.is_some() || has_room()).then_some(Demand::Read),
        }
    }

    fn push_data(&mut self, data: &[u8], budget: &Budget) {
        if data.is_empty() {
            return;
        }
        // What is asked for, and what is large, goes as it is.
        if self.asks.is_some() || data.len() >= BLOCK {
            self.gather(budget);
            self.push_piece(Piece::Data(budget.keep(data.to_vec())));
            return;
        }
        if self.tail.as_ref().is_some_and(|tail| tail.bytes.len() + data.len() > BLOCK) {
            self.gather(budget);
        }
        let tail = self.tail.get_or_insert_with(|| {
            self.waits += OVERHEAD;
            let _counted = budget.count(BLOCK + OVERHEAD);
            Tail { bytes: Vec::with_capacity(BLOCK), _counted }
        });
        tail.bytes.extend_from_slice(data);
        self.waits += data.len();
    }

    /// Makes a piece of the tail.
    fn gather(&mut self, budget: &Budget) {
        if let Some(tail) = self.tail.take() {
            self.pieces.push_back(Piece::Data(budget.keep(tail.bytes)));
        }
    }

    fn push_piece(&mut self, piece: Piece) {
        self.waits += piece.cost();
        self.pieces.push_back(piece);
    }

    fn take(&mut self, budget: &Budget) -> Option<Frame<Bytes>> {
        if self.had == self.pieces.len() {
            self.gather(budget);
        }
        let piece = self.pieces.get(self.had)?;
        self.waits = self.waits.saturating_sub(piece.cost());
        let frame = piece.frame();
        self.had_bytes = self.had_bytes.saturating_add(piece.length());
        self.had += 1;
        if self.had_bytes > KEPT_BYTES || self.had > KEPT_PIECES || budget.is_spent() {
            self.keeps = false;
        }
        if !self.keeps {
            self.forget();
        }
        Some(frame)
    }

    /// Keeps nothing of what the upstream has had.
    fn forget(&mut self) {
        self.keeps = false;
        self.lost |= self.had > 0;
        self.pieces.drain(..self.had);
        self.had = 0;
    }

    fn had_cost(&self) -> usize {
        self.pieces.iter().take(self.had).map(Piece::cost).sum()
    }
}

impl Piece {
    fn length(&self) -> u64 {
        match self {
            Self::Data(data) => data.len() as u64,
            Self::Trailers(..) => 0,
        }
    }

    fn cost(&self) -> usize {
        match self {
            Self::Data(data) => data.len() + OVERHEAD,
            Self::Trailers(trailers, _) => cost_of(trailers),
        }
    }

    fn frame(&self) -> Frame<Bytes> {
        match self {
            Self::Data(data) => Frame::data(data.clone()),
            Self::Trailers(trailers, _) => Frame::trailers(trailers.clone()),
        }
    }
}

fn cost_of(trailers: &HeaderMap) -> usize {
    trailers.iter().map(|(name, value)| name.as_str().len() + value.len() + OVERHEAD).sum()
}

/// Wakes the reader that asked, outside of the lock.
fn wake(mut state: MutexGuard<'_, State>) {
    let asks = state.asks.take();
    drop(state);
    if let Some(waker) = asks {
        waker.wake();
    }
}
