//! Hands a stream of events on in whole events, so that there is always a place between two of them.
//!
//! A client can do nothing with half an event, so it loses nothing when the second half is waited for; and whoever wants to
//! put something in between, or to end the stream early, can do so at any time. What goes out at once is not copied; what is held
//! back is, so that a small piece does not keep the buffer that it was read into.

mod records;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use self::records::Records;
use crate::{aligned::Shape, grpc::Messages, head::Media, sse::Boundary};

/// Bytes of an unfinished event that are held back at most.
pub(crate) const DEFAULT_HOLD: usize = 64 * 1024;

/// Room for the beginnings of some events, in bytes.
const SPARE: usize = 256;

/// Cuts chunks at event boundaries and holds the rest back until its event is complete.
#[derive(Debug)]
pub(crate) struct Align {
    rule: Rule,
    limit: usize,
    /// What may be handed on.
    queue: VecDeque<Bytes>,
    /// The unfinished event behind that. Its memory is written again once it is nobody else's.
    held: BytesMut,
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
            held: BytesMut::new(),
            torn: false,
            untouched: true,
            preceded: false,
            strip: 0,
        }
    }

    fn release(&mut self) {
        if !self.held.is_empty() {
            let held = self.held.split().freeze();
            self.queue.push_back(held);
        }
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
        let held = !self.held.is_empty();
        let between = if held { !self.is_unterminated() } else { self.rule.may_insert() };
        self.queue.is_empty() && !self.torn && between
    }

    /// Whether what was handed on ends with a record that only lacks its line end.
    pub(crate) fn is_unterminated(&self) -> bool {
        let idle = self.queue.is_empty() && !self.torn;
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
        if chunk.is_empty() && self.is_empty() {
            return Some(chunk); // The upstream's own empty frame.
        }
        let end = self.rule.feed(&chunk);
        if end.is_some() {
            self.torn = false;
        }
        let end = if self.torn { Some(chunk.len()) } else { end };
        if end == Some(chunk.len()) && self.is_empty() {
            return self.hand_on(chunk); // The usual case: no event is split.
        }
        if let Some(end) = end {
            self.release();
            if end > 0 {
                self.queue.push_back(chunk.split_to(end));
            }
        }
        if self.held.len() + chunk.len() > self.limit {
            self.torn = true;
            self.release();
            self.queue.push_back(chunk);
        } else {
            if self.is_empty() && self.held.capacity() < SPARE / 2 {
                // What was handed on before is dropped by now, most likely: then its memory is taken again.
                self.held.reserve(SPARE);
            }
            self.held.extend_from_slice(&chunk);
        }
        self.pop()
    }

    fn pop(&mut self) -> Option<Bytes> {
        while let Some(chunk) = self.queue.pop_front() {
            let chunk = self.hand_on(chunk);
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
        self.queue.is_empty() && self.held.is_empty()
    }
}
