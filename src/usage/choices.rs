//! Which of the answers that come side by side in one stream have come to their end.

/// So many are told apart: as many as OpenAI gives at most.
const MOST: u64 = 128;

/// What one event says of one answer.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Turn {
    pub(super) index: u64,
    /// It says why the model stopped.
    pub(super) finished: bool,
    /// There is more of it.
    pub(super) goes_on: bool,
}

/// The answers of a stream, or of one event of it. A bit for each, by its index.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Choices {
    seen: u128,
    finished: u128,
    goes_on: u128,
    /// A reason that is none of a single answer: there is only one, or the prompt was refused.
    all_finished: bool,
    all_go_on: bool,
    /// There was one with an index that has no bit.
    lost: bool,
}

impl Choices {
    /// An event says this of one of several answers.
    pub(super) fn one(&mut self, turn: Turn) {
        if turn.index >= MOST {
            self.lost = true;
            return;
        }
        let bit = 1 << turn.index;
        self.seen |= bit;
        if turn.finished {
            self.finished |= bit;
        } else if turn.goes_on {
            self.goes_on |= bit;
        }
    }

    /// An event says this of the whole of it.
    pub(super) const fn all(&mut self, turn: Turn) {
        self.all_finished = turn.finished;
        self.all_go_on = turn.goes_on && !turn.finished;
    }

    /// Takes what a later event says.
    pub(super) const fn add(&mut self, later: Self) {
        self.seen |= later.seen;
        self.finished = self.finished & !later.goes_on | later.finished;
        self.all_finished = self.all_finished && !later.all_go_on || later.all_finished;
        self.lost |= later.lost;
    }

    /// Whether there is one of several.
    pub(super) const fn any(&self) -> bool {
        self.seen > 0 || self.lost
    }

    /// Whether one with this index was there.
    pub(super) const fn has_seen(&self, index: u64) -> bool {
        index < MOST && self.seen & (1 << index) != 0
    }

    /// Whether one of them has come to its end: now it matters whether it goes on all the same.
    pub(super) const fn any_finished(&self) -> bool {
        self.finished > 0 || self.all_finished
    }

    /// Whether each that was there, and as many as were `asked` for, has its reason, and none has gone on since.
    pub(super) fn are_finished(&self, asked: u64) -> bool {
        let each = !self.lost && self.seen > 0 && self.finished == self.seen;
        self.all_finished || (each && u64::from(self.seen.count_ones()) >= asked)
    }
}
