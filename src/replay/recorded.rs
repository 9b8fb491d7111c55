//! A complete answer.

use std::{sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Response, StatusCode};

use super::Key;
use crate::usage::Terminator;

/// A complete answer, as a store keeps it: its status, the headers that were chosen, and its frames with their times. Cheap to
/// clone; it pins no read buffer of a connection.
#[derive(Clone, Debug)]
pub struct Recorded(Arc<Inner>);

#[derive(Clone, Debug)]
struct Inner {
    status: StatusCode,
    headers: HeaderMap,
    data: Bytes,
    marks: Vec<Mark>,
    trailers: Option<HeaderMap>,
    sized: bool,
    terminator: Terminator,
    vary: Option<Key>,
}

/// Where a frame ends.
#[derive(Clone, Copy, Debug)]
struct Mark {
    end: usize,
    after: Duration,
}

impl Recorded {
    /// Makes one of its parts, for a store that keeps them elsewhere. Each frame comes with the time from the head to it.
    #[must_use]
    pub fn new(head: &Response<()>, frames: &[(Duration, Bytes)]) -> Self {
        let mut data = BytesMut::with_capacity(frames.iter().map(|(_, frame)| frame.len()).sum());
        let mut marks = Vec::with_capacity(frames.len());
        for (after, frame) in frames {
            data.extend_from_slice(frame);
            marks.push(Mark { end: data.len(), after: *after });
        }
        let (status, headers) = (head.status(), head.headers().clone());
        let data = data.freeze();
        let (trailers, sized, terminator, vary) = (None, false, Terminator::None, None);
        Self(Arc::new(Inner { status, headers, data, marks, trailers, sized, terminator, vary }))
    }

    /// Adds the trailers.
    #[must_use]
    pub fn with_trailers(self, trailers: Option<HeaderMap>) -> Self {
        self.with(|inner| inner.trailers = trailers)
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

    /// All of its data.
    pub fn data(&self) -> &Bytes {
        &self.0.data
    }

    /// The frames as the service sent them, each with the time from the head to it.
    pub fn frames(&self) -> impl Iterator<Item = (Duration, Bytes)> + '_ {
        (0..self.0.marks.len()).filter_map(|at| self.frame(at))
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
        let text = |map: &HeaderMap| -> usize {
            map.iter().map(|(name, value)| 64 + name.as_str().len() + value.len()).sum()
        };
        size_of::<Inner>()
            + self.0.data.len()
            + self.0.marks.capacity() * size_of::<Mark>()
            + maps.map(text).sum::<usize>()
    }

    pub(super) fn frame(&self, at: usize) -> Option<(Duration, Bytes)> {
        let mark = self.0.marks.get(at)?;
        Some((mark.after, self.0.data.slice(self.start(at)..mark.end)))
    }

    /// When the frame came, after the head.
    pub(super) fn after(&self, at: usize) -> Option<Duration> {
        self.0.marks.get(at).map(|mark| mark.after)
    }

    /// The bytes from this frame on.
    pub(super) fn rest(&self, at: usize) -> u64 {
        (self.0.data.len() - self.start(at)) as u64
    }

    fn start(&self, at: usize) -> usize {
        match at.checked_sub(1) {
            Some(before) => self.0.marks.get(before).map_or(self.0.data.len(), |mark| mark.end),
            None => 0,
        }
    }
}
