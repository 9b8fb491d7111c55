//! Hands a stream of events on in whole events, so that there is always a place between two of them.
//!
//! A client can do nothing with half an event, so it loses nothing when the second half is waited for; and whoever wants to
//! put something in between, or to end the stream early, can do so at any time. Nothing is copied.

mod records;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use bytes::Bytes;

use self::records::Records;
use crate::{aligned::Shape, grpc::Messages, head::Media, sse::Boundary};

/// Bytes of an unfinished event that are held back at most.
pub(crate) const DEFAULT_HOLD: usize = 64 * 1024;

/// Cuts chunks at event boundaries and holds the rest back until its event is complete.
#[derive(Debug)]
pub(crate) struct Align {
    rule: Rule,
    limit: usize,
    /// What was taken and not handed on: first what may be, then the unfinished event.
    queue: VecDeque<Bytes>,
    /// How many chunks of the queue may be handed on.
    ready: usize,
    /// The memory of the unfinished event, with what a chunk costs by itself.
    held: usize,
    /// The event was too large: its rest is passed through, and nothing may stand in between.
    torn: bool,
    /// Nothing was handed on yet.
    untouched: bool,
    /// Something of ours stands at the start, so a byte order mark would no longer be one.
    preceded: bool,
    /// Bytes of that mark that are still to be taken out.
    strip: usize,
}

/// How the end of an event is known.
#[derive(Debug)]
enum Rule {
    /// Server-sent events: a blank line.
    Events(Boundary),
    /// NDJSON: a line end, or that of an object or array.
    Lines(Records),
    /// gRPC: a length before each message. Nothing is held back, since messages may be megabytes.
    Messages(Messages),
    /// Nothing is known: nothing is held back.
    Unknown,
}

impl Rule {
    /// Reads on, and returns the offset up to which the bytes may be handed on.
    fn feed(&mut self, bytes: &[u8]) -> Option<usize> {
        match self {
            Self::Events(boundary) => boundary.feed(bytes),
            Self::Lines(records) => records.feed(bytes),
            Self::Messages(messages) => {
                messages.feed(bytes);
                Some(bytes.len())
            }
            Self::Unknown => Some(bytes.len()),
        }
    }

    /// Whether bytes may follow those that were fed.
    fn may_insert(&self) -> bool {
        match self {
            Self::Events(boundary) => boundary.may_insert(),
            Self::Lines(records) => records.at_line_start(),
            Self::Messages(messages) => messages.at_boundary(),
            Self::Unknown => true,
        }
    }
}

impl Align {
    pub(crate) fn new(media: Media, limit: usize) -> Self {
        let rule = match media {
            Media::EventStream => Rule::Events(Boundary::default()),
            Media::Ndjson => Rule::Lines(Records::default()),
            Media::Grpc => Rule::Messages(Messages::default()),
            Media::Other => Rule::Unknown,
        };
        Self {
            rule,
            limit,
            queue: VecDeque::new(),
            ready: 0,
            held: 0,
            torn: false,
            untouched: true,
            preceded: false,
            strip: 0,
        }
    }

    fn release(&mut self) {
        self.ready = self.queue.len();
        self.held = 0;
    }

    fn hand_on(&mut self, mut chunk: Bytes) -> Option<Bytes> {
        if std::mem::take(&mut self.untouched) && self.preceded {
            let marked = matches!(&self.rule, Rule::Events(boundary) if boundary.marked());
            self.strip = if marked { 3 } else { 0 };
        }
        if self.strip > 0 {
            let stripped = chunk.split_to(self.strip.min(chunk.len()));
            self.strip -= stripped.len();
            return (!chunk.is_empty()).then_some(chunk);
        }
        Some(chunk)
    }

    /// Whether what was handed on ends between two events, so that bytes of our own may follow.
    pub(crate) fn may_insert(&self) -> bool {
        // Whatever of an event has begun is held back, and with it half of a byte order mark or of a CR LF.
        let between = if self.held > 0 { !self.is_unterminated() } else { self.rule.may_insert() };
        self.ready == 0 && !self.torn && between
    }

    /// Whether what was handed on ends with a record that only lacks its line end.
    pub(crate) fn is_unterminated(&self) -> bool {
        let idle = self.ready == 0 && !self.torn;
        idle && matches!(&self.rule, Rule::Lines(records) if records.is_unterminated())
    }

    /// Tells that bytes of our own were handed on.
    pub(crate) fn inserted(&mut self) {
        self.preceded |= self.untouched;
    }

    /// Whether the first event was handed on, once nothing is left that may be.
    pub(crate) const fn has_begun(&self) -> bool {
        match &self.rule {
            Rule::Events(boundary) => boundary.has_begun(),
            Rule::Lines(_) | Rule::Messages(_) | Rule::Unknown => !self.untouched,
        }
    }
}

impl Shape for Align {
    fn push(&mut self, mut chunk: Bytes) -> Option<Bytes> {
        if chunk.is_empty() && self.queue.is_empty() {
            return Some(chunk); // The upstream's own empty frame.
        }
        let end = self.rule.feed(&chunk);
        if end.is_some() {
            self.torn = false;
        }
        let whole = end == Some(chunk.len()) || self.torn;
        if whole && self.queue.is_empty() {
            return self.hand_on(chunk); // The usual case: no event is split.
        }
        if whole {
            self.queue.push_back(chunk);
            self.release();
        } else {
            if let Some(end) = end {
                self.queue.push_back(chunk.split_to(end));
                self.release();
            }
            self.held += chunk.len() + size_of::<Bytes>();
            self.queue.push_back(chunk);
            if self.held > self.limit {
                self.torn = true;
                self.release();
            }
        }
        self.pop()
    }

    fn pop(&mut self) -> Option<Bytes> {
        while self.ready > 0 {
            self.ready -= 1;
            let chunk = self.queue.pop_front().and_then(|chunk| self.hand_on(chunk));
            if chunk.is_some() {
                return chunk;
            }
        }
        None
    }

    fn finish(&mut self) {
        self.release();
    }

    fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }
}
