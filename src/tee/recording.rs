//! A bounded capture of a body, readable while it is written.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, StatusCode, Version, response};

use super::{Budget, Sink};
use crate::{cut::lock, exchange::Outcome};

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
/// Memory: a recording keeps clones of the frames' `Bytes`, which may pin the larger read buffers that they are slices
/// of, and besides `bytes` of data at most `1024 + bytes / 32` frames, so that a stream of one-byte frames can not grow
/// it either.
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

    /// Shares `budget` with other recordings. When it is used up a recording of the first bytes stops there, and one of
    /// the last bytes drops older ones of its own.
    #[must_use]
    pub fn within(mut self, budget: &Budget) -> Self {
        self.budget = Some(budget.clone());
        self
    }

    const fn frames(&self) -> usize {
        1024 + self.bytes / 32
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
    frames: VecDeque<Bytes>,
    kept: usize,
    total: u64,
    trailers: Option<HeaderMap>,
    outcome: Option<Outcome>,
}

impl Recording {
    /// Makes an empty recording.
    #[must_use]
    pub fn new(limit: Limit) -> Self {
        let tape = Tape {
            limit,
            head: None,
            frames: VecDeque::new(),
            kept: 0,
            total: 0,
            trailers: None,
            outcome: None,
        };
        Self(Arc::new(Mutex::new(tape)))
    }

    /// The sink that writes into this recording.
    pub fn sink(&self) -> RecordingSink {
        RecordingSink(self.clone())
    }

    /// The frames kept so far, each as the upstream sent it (but for the one that was cut at the limit).
    pub fn frames(&self) -> Vec<Bytes> {
        lock(&self.0).frames.iter().cloned().collect()
    }

    /// The bytes kept so far, copied into one piece.
    pub fn to_bytes(&self) -> Bytes {
        let frames = self.frames();
        let mut all = BytesMut::with_capacity(frames.iter().map(Bytes::len).sum());
        frames.iter().for_each(|frame| all.extend_from_slice(frame));
        all.freeze()
    }

    /// The number of bytes that passed, kept or not.
    pub fn total(&self) -> u64 {
        lock(&self.0).total
    }

    /// Whether some of the bytes that passed were not kept.
    pub fn is_truncated(&self) -> bool {
        let tape = lock(&self.0);
        tape.total > tape.kept as u64
    }

    /// Status, version and headers; `None` before the head, and for bodies captured without one.
    pub fn head(&self) -> Option<(StatusCode, Version, HeaderMap)> {
        lock(&self.0).head.clone()
    }

    /// The trailers, once they passed.
    pub fn trailers(&self) -> Option<HeaderMap> {
        lock(&self.0).trailers.clone()
    }

    /// How it ended; `None` while it is being written.
    pub fn outcome(&self) -> Option<Outcome> {
        lock(&self.0).outcome
    }
}

impl Tape {
    fn push(&mut self, mut data: Bytes) {
        self.total += data.len() as u64;
        if data.is_empty() {
            return;
        }
        match self.limit.keep {
            Keep::First => {
                // Once something was left out nothing may follow, or the recording would have a hole.
                let whole = self.kept as u64 + data.len() as u64 == self.total;
                if !whole || self.frames.len() >= self.limit.frames() {
                    return;
                }
                data.truncate(self.limit.bytes - self.kept);
                let granted = self.take_budget(data.len());
                data.truncate(granted);
            }
            Keep::Last => {
                let over = data.len().saturating_sub(self.limit.bytes);
                data.advance(over);
                self.forget((self.kept + data.len()).saturating_sub(self.limit.bytes));
                let mut granted = self.take_budget(data.len());
                if granted < data.len() {
                    self.forget(data.len() - granted);
                    granted += self.take_budget(data.len() - granted);
                    if granted < data.len() {
                        // Another recording was quicker: older bytes would stand before a hole.
                        self.forget(self.kept);
                    }
                    data.advance(data.len() - granted);
                }
                if self.frames.len() >= self.limit.frames() {
                    self.forget(self.frames.front().map_or(0, Bytes::len));
                }
            }
        }
        if !data.is_empty() {
            self.kept += data.len();
            self.frames.push_back(data);
        }
    }

    /// Drops the oldest `bytes`.
    fn forget(&mut self, bytes: usize) {
        let mut left = bytes.min(self.kept);
        self.kept -= left;
        self.give_back(left);
        while let Some(front) = self.frames.front_mut() {
            if front.len() > left {
                front.advance(left);
                return;
            }
            left -= front.len();
            self.frames.pop_front();
            if left == 0 {
                return;
            }
        }
    }

    fn take_budget(&self, bytes: usize) -> usize {
        self.limit.budget.as_ref().map_or(bytes, |budget| budget.take(bytes))
    }

    fn give_back(&self, bytes: usize) {
        if let Some(budget) = &self.limit.budget {
            budget.give_back(bytes);
        }
    }
}

impl Drop for Tape {
    fn drop(&mut self) {
        self.give_back(self.kept);
    }
}

/// Writes into a [`Recording`]. Made by [`Recording::sink`].
#[derive(Debug)]
pub struct RecordingSink(Recording);

impl Sink for RecordingSink {
    fn head(&mut self, head: &response::Parts) {
        lock(&self.0.0).head = Some((head.status, head.version, head.headers.clone()));
    }

    fn data(&mut self, data: Bytes) {
        lock(&self.0.0).push(data);
    }

    fn trailers(&mut self, trailers: &HeaderMap) {
        lock(&self.0.0).trailers = Some(trailers.clone());
    }

    fn end(self, outcome: Outcome) {
        lock(&self.0.0).outcome = Some(outcome);
    }
}
