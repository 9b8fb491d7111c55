//! A complete answer.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};

use super::Key;
use crate::{
    log::{Cursor, Log, compact, head_memory},
    usage::Terminator,
};

/// A complete answer, as a store keeps it: its status, the headers that were chosen, and its frames with their times. Cheap to
/// clone; it pins no read buffer of a connection.
#[derive(Clone, Debug)]
pub struct Recorded(Arc<Inner>);

#[derive(Clone, Debug)]
struct Inner {
    status: StatusCode,
    headers: HeaderMap,
    frames: Arc<Log>,
    trailers: Option<HeaderMap>,
    sized: bool,
    terminator: Terminator,
    vary: Option<Key>,
}

impl Recorded {
    /// Makes one of its parts, for a store that keeps them elsewhere. Each frame comes with the time from the head to it, which
    /// is kept to the microsecond. Empty frames are left out.
    #[must_use]
    pub fn new(head: &Response<()>, frames: &[(Duration, Bytes)]) -> Self {
        let mut log = Log::new(None).timed();
        for (after, frame) in frames {
            log.append(frame, *after);
        }
        Self::of(head, &log)
    }

    /// Takes a copy of what was recorded.
    pub(super) fn of(head: &Response<()>, log: &Log) -> Self {
        let (status, headers) = (head.status(), compact(head.headers()));
        let frames = Arc::new(log.sealed());
        let (trailers, sized, terminator, vary) = (None, false, Terminator::None, None);
        Self(Arc::new(Inner { status, headers, frames, trailers, sized, terminator, vary }))
    }

    /// Adds the trailers.
    #[must_use]
    pub fn with_trailers(self, trailers: Option<HeaderMap>) -> Self {
        self.with(|inner| inner.trailers = trailers.map(|trailers| compact(&trailers)))
    }

    /// Says whether the head announced the length. If so a replay does, too.
    #[must_use]
    pub fn with_length(self, announced: bool) -> Self {
        self.with(|inner| inner.sized = announced)
    }

    /// Says what became of the terminator of its dialect. Whoever is given the answer finds it as a fact in the exchange.
    #[must_use]
    pub fn with_terminator(self, terminator: Terminator) -> Self {
        self.with(|inner| inner.terminator = terminator)
    }

    /// Says what its request said in the headers that its `vary` names, as a hash. One that has a `vary` and is not told this is
    /// for nobody.
    #[must_use]
    pub fn with_vary(self, selected: Option<Key>) -> Self {
        self.with(|inner| inner.vary = selected)
    }

    fn with(mut self, change: impl FnOnce(&mut Inner)) -> Self {
        change(Arc::make_mut(&mut self.0));
        self
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.0.status
    }

    /// The headers that were kept.
    pub fn headers(&self) -> &HeaderMap {
        &self.0.headers
    }

    /// All of its data, copied into one piece.
    pub fn to_bytes(&self) -> Bytes {
        self.0.frames.to_bytes()
    }

    /// The frames as the service sent them, each with the time from the head to it. Slices of one piece of memory.
    pub fn frames(&self) -> impl Iterator<Item = (Duration, Bytes)> + '_ {
        let mut cursor = self.start();
        std::iter::from_fn(move || self.read(&mut cursor))
    }

    /// The trailers.
    pub fn trailers(&self) -> Option<&HeaderMap> {
        self.0.trailers.as_ref()
    }

    /// Whether the head announced the length.
    pub fn has_length(&self) -> bool {
        self.0.sized
    }

    /// Whether the terminator of its dialect was seen.
    pub fn terminator(&self) -> Terminator {
        self.0.terminator
    }

    /// What its request said in the headers that its `vary` names, as a hash; `None` if it names none.
    pub fn vary(&self) -> Option<&Key> {
        self.0.vary.as_ref()
    }

    /// The memory that it takes, about.
    pub fn size(&self) -> usize {
        let maps = [Some(&self.0.headers), self.0.trailers.as_ref()].into_iter().flatten();
        size_of::<Inner>() + self.0.frames.memory() + maps.map(head_memory).sum::<usize>()
    }

    pub(super) fn start(&self) -> Cursor {
        self.0.frames.start()
    }

    pub(super) fn read(&self, cursor: &mut Cursor) -> Option<(Duration, Bytes)> {
        self.0.frames.read_frozen(cursor)
    }

    /// When the next frame came, after the head.
    pub(super) fn after(&self, cursor: Cursor) -> Option<Duration> {
        self.0.frames.time(cursor)
    }

    /// The bytes from this frame on.
    pub(super) fn rest(&self, cursor: Cursor) -> u64 {
        self.0.frames.end().bytes - cursor.bytes
    }
}
