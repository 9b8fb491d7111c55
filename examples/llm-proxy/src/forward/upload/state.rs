//! What is known of a request's body: what is here of it, who reads it, and whether it is wanted.

use std::{
    mem,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http_body::Frame;
use tower::BoxError;

use super::{
    READ_AHEAD,
    budget::Budget,
    pieces::{Piece, Pieces},
};

/// So much of a body is kept at most.
const KEPT: u64 = 1024 * 1024;

#[derive(Debug)]
pub(super) struct State {
    /// What waits for the upstream.
    pub(super) waits: Pieces,
    /// What it has had, as long as that is kept.
    kept: Pieces,
    /// So many bytes of data it has had.
    had: u64,
    /// Whether what it takes is kept.
    keeps: bool,
    /// Whether something that it has had is no longer there.
    lost: bool,
    pub(super) end: End,
    pub(super) gate: Gate,
    /// Which body reads: the first, or that of the request which is sent once more.
    pub(super) reader: u32,
    /// Whether that body is there.
    pub(super) reads: bool,
    /// Whether there may be another one.
    pub(super) repeatable: bool,
    /// Is there while the upstream waits.
    pub(super) asks: Option<Waker>,
}

#[derive(Debug)]
pub(super) enum End {
    Open,
    Whole,
    /// The error is there until it was handed out.
    Broken(Option<BoxError>),
}

/// Whether the client's body may be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gate {
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

impl State {
    pub(super) fn new(length: Option<u64>, keeps: bool, shut: bool) -> Self {
        Self {
            waits: Pieces::default(),
            kept: Pieces::default(),
            had: 0,
            keeps: keeps && length.is_none_or(|length| length <= KEPT),
            lost: false,
            end: End::Open,
            gate: if shut { Gate::Shut } else { Gate::Open },
            reader: 0,
            reads: true,
            repeatable: true,
            asks: None,
        }
    }

    pub(super) fn is_wanted(&self) -> bool {
        self.reads || self.repeatable
    }

    /// Whether nothing is to come but what the client will send when it is asked.
    pub(super) fn is_shut(&self) -> bool {
        self.gate == Gate::Shut && matches!(self.end, End::Open)
    }

    pub(super) fn demand(&self, budget: &Budget) -> Option<Demand> {
        // Beyond the budget it is read no faster than the upstream takes it, but so fast always.
        let has_room = || self.waits.cost() < READ_AHEAD && !budget.is_spent();
        match self.gate {
            Gate::Spared => Some(Demand::Spared),
            Gate::Shut => (!self.is_wanted()).then_some(Demand::Spared),
            Gate::Open if !self.is_wanted() => Some(Demand::Unwanted),
            Gate::Open => (self.asks.is_some() || has_room()).then_some(Demand::Read),
        }
    }

    /// What comes next for the reader.
    pub(super) fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
        budget: &Budget,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Some(piece) = self.waits.take(budget) {
            return Poll::Ready(Some(Ok(self.hand_out(piece, budget))));
        }
        match &mut self.end {
            End::Whole => Poll::Ready(None),
            End::Broken(error) => Poll::Ready(Some(Err(error
                .take()
                .unwrap_or_else(|| "the request was cut off".into())))),
            End::Open => {
                self.asks = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    fn hand_out(&mut self, piece: Piece, budget: &Budget) -> Frame<Bytes> {
        let frame = piece.frame();
        self.had += piece.length();
        if self.keeps && self.had <= KEPT && !budget.is_spent() {
            self.kept.keep(piece, budget);
        } else {
            self.lost = true;
            self.forget();
        }
        frame
    }

    /// Keeps nothing of what the upstream has had.
    pub(super) fn forget(&mut self) {
        self.keeps = false;
        self.lost |= !self.kept.is_empty();
        self.kept = Pieces::default();
    }

    /// Begins again, if all is still there. Tells whether it is.
    pub(super) fn restart(&mut self, budget: &Budget) -> bool {
        if self.lost {
            return false;
        }
        self.reader += 1;
        self.reads = true;
        self.asks = None;
        self.had = 0;
        let later = mem::replace(&mut self.waits, mem::take(&mut self.kept));
        self.waits.append(later, budget);
        true
    }
}
