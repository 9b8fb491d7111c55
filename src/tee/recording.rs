//! A bounded capture of a body, readable while it is written.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, StatusCode, Version, response};

use super::{Budget, Sink};
use crate::{
    cut::lock,
    exchange::Outcome,
    log::{Log, compact, head_memory},
};

/// Which part of a body is kept when it does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Exactly the first bytes.
    First,
    /// Exactly the last bytes.
    Last,
}

/// How much a recording keeps.
///
/// Memory: frames and headers are copied, so that nothing of a connection's buffers is kept. So many `bytes` of data take at
/// most 2.01 times as much memory and a block of 16 KiB ([`Keep::Last`]: three) in frames of single bytes, and 1.4 times as
/// much in those of 32 and more.
#[derive(Clone, Debug)]
pub struct Limit {
    bytes: usize,
    keep: Keep,
    budget: Option<Budget>,
}

impl Limit {
    /// Keeps the first `bytes` of a body.
    pub const fn first(bytes: usize) -> Self {
        Self { bytes, keep: Keep::First, budget: None }
    }

    /// Keeps the last `bytes` of a body.
    pub const fn last(bytes: usize) -> Self {
        Self { bytes, keep: Keep::Last, budget: None }
    }

    /// Shares the memory of `budget` with other recordings. When it is used up a recording of the first bytes stops there, one
    /// of the last bytes drops older ones of its own, and neither keeps headers.
    #[must_use]
    pub fn within(mut self, budget: &Budget) -> Self {
        self.budget = Some(budget.clone());
        self
    }
}

/// A bounded capture of a body: its head, its frames, its trailers, its end. Cheap to clone; clones are the same
/// recording, and can be read while it is still being written.
#[derive(Clone, Debug)]
pub struct Recording(Arc<Mutex<Tape>>);

#[derive(Debug)]
struct Tape {
    limit: Limit,
    head: Option<(StatusCode, Version, HeaderMap)>,
    log: Log,
    total: u64,
    trailers: Option<HeaderMap>,
    outcome: Option<Outcome>,
}

impl Recording {
    /// Makes an empty recording.
    #[must_use]
    pub fn new(limit: Limit) -> Self {
        let log = Log::new(limit.budget.clone());
        let tape = Tape { limit, head: None, log, total: 0, trailers: None, outcome: None };
        Self(Arc::new(Mutex::new(tape)))
    }

    /// The sink that writes into this recording.
    pub fn sink(&self) -> RecordingSink {
        RecordingSink(self.clone())
    }

    /// The frames kept so far, each as the upstream sent it (but for the one that was cut at the limit). All of them are slices
    /// of one copy.
    pub fn frames(&self) -> Vec<Bytes> {
        let (mut all, ends) = {
            let tape = lock(&self.0);
            (tape.log.to_bytes(), tape.log.frames().map(<[u8]>::len).collect::<Vec<_>>())
        };
        ends.into_iter().map(|length| all.split_to(length)).collect()
    }

    /// The bytes kept so far, copied into one piece.
    pub fn to_bytes(&self) -> Bytes {
        lock(&self.0).log.to_bytes()
    }

    /// The number of bytes that passed, kept or not.
    pub fn total(&self) -> u64 {
        lock(&self.0).total
    }

    /// Whether some of the bytes that passed were not kept.
    pub fn is_truncated(&self) -> bool {
        let tape = lock(&self.0);
        tape.total > tape.log.bytes() as u64
    }

    /// Status, version and headers; `None` before the head, for bodies captured without one, and where a budget had no memory
    /// for it.
    pub fn head(&self) -> Option<(StatusCode, Version, HeaderMap)> {
        lock(&self.0).head.clone()
    }

    /// The trailers, once they passed, if there was memory for them.
    pub fn trailers(&self) -> Option<HeaderMap> {
        lock(&self.0).trailers.clone()
    }

    /// How it ended; `None` while it is being written.
    pub fn outcome(&self) -> Option<Outcome> {
        lock(&self.0).outcome
    }
}

impl Tape {
    fn push(&mut self, data: &[u8]) {
        // What was kept is all that came, or nothing may follow: a recording has no hole.
        let whole = self.log.end().bytes == self.total;
        self.total += data.len() as u64;
        if data.is_empty() {
            return;
        }
        match self.limit.keep {
            Keep::First if whole => {
                let room = self.limit.bytes.saturating_sub(self.log.bytes());
                let data = &data[..data.len().min(room)];
                if !data.is_empty() && !self.log.append(data, Duration::ZERO) {
                    self.log.append_beginning(data, Duration::ZERO);
                }
            }
            Keep::First => {}
            Keep::Last => {
                let data = &data[data.len().saturating_sub(self.limit.bytes)..];
                let over = (self.log.bytes() + data.len()).saturating_sub(self.limit.bytes);
                self.log.forget(over);
                if data.is_empty() || self.log.append(data, Duration::ZERO) {
                    return;
                }
                while self.log.forget_block() {
                    if self.log.append(data, Duration::ZERO) {
                        return;
                    }
                }
                self.log.forget_all();
                self.log.append(data, Duration::ZERO);
            }
        }
    }

    /// A copy of its own, if there is memory for it.
    fn keep(&mut self, headers: &HeaderMap) -> Option<HeaderMap> {
        self.log.hold(head_memory(headers)).then(|| compact(headers))
    }
}

/// Writes into a [`Recording`]. Made by [`Recording::sink`].
#[derive(Debug)]
pub struct RecordingSink(Recording);

impl Sink for RecordingSink {
    fn head(&mut self, head: &response::Parts) {
        let mut tape = lock(&self.0.0);
        tape.head = tape.keep(&head.headers).map(|headers| (head.status, head.version, headers));
    }

    fn data(&mut self, data: Bytes) {
        lock(&self.0.0).push(&data);
    }

    fn trailers(&mut self, trailers: &HeaderMap) {
        let mut tape = lock(&self.0.0);
        tape.trailers = tape.keep(trailers);
    }

    fn end(self, outcome: Outcome) {
        lock(&self.0.0).outcome = Some(outcome);
    }
}
