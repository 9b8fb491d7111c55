//! Takes the chunk with the usage out of a stream of events.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use super::json::is_extra;
use crate::{
    align::DEFAULT_HOLD,
    aligned::Shape,
    sse::{Boundary, Decoded, Decoder},
    usage::needles::Needles,
};

static USAGE: Needles = Needles::new(&["\"usage\""]);

/// Hands on all events but that one.
#[derive(Debug, Default)]
pub(super) struct Strip {
    boundary: Boundary,
    /// What may be handed on.
    queue: VecDeque<Bytes>,
    /// The event that is not whole. A copy, so that what is held is what it has in bytes, however small its pieces are.
    event: BytesMut,
    /// What the event before was in. By the time of the next that is gone, and its memory is written again.
    spare: BytesMut,
    /// The event was too large: its rest is passed through.
    torn: bool,
    /// What was taken out ended with a CR: a LF that follows belongs to it.
    after_cr: bool,
}

impl Strip {
    fn hand_on(&mut self, kept: Bytes) {
        if !kept.is_empty() {
            self.queue.push_back(kept);
        }
    }

    fn hold(&mut self, piece: Bytes) {
        self.torn = self.event.len() + piece.len() > DEFAULT_HOLD;
        if self.torn {
            self.release(false);
            self.hand_on(piece);
        } else {
            self.event.extend_from_slice(&piece);
        }
    }

    /// Lets go what was held back.
    fn release(&mut self, chunk: bool) {
        if chunk {
            self.event.clear();
        } else {
            let event = self.event.split().freeze();
            std::mem::swap(&mut self.event, &mut self.spare);
            self.hand_on(event);
        }
    }

    /// Whether what is held back is the chunk, with this behind it.
    fn is_chunk(&mut self, rest: &[u8]) -> bool {
        let held = self.event.len();
        if held + rest.len() > DEFAULT_HOLD {
            return false;
        }
        self.event.extend_from_slice(rest);
        let chunk = is_chunk(&self.event, || Bytes::copy_from_slice(&self.event));
        self.event.truncate(held);
        chunk
    }
}

/// Whether this is the chunk, whole but perhaps without its blank line. The same however the stream is cut.
fn is_chunk(event: &[u8], share: impl FnOnce() -> Bytes) -> bool {
    if event.len() > DEFAULT_HOLD || !USAGE.are_in(event) {
        return false;
    }
    let (mut decoder, mut event) = (Decoder::new(), share());
    let decoded = decoder.decode(&mut event).or_else(|| decoder.finish());
    matches!(decoded, Some(Decoded::Event(event)) if is_extra(event.data()))
}

impl Shape for Strip {
    fn push(&mut self, chunk: Bytes) -> Option<Bytes> {
        if chunk.is_empty() && self.is_empty() {
            return Some(chunk); // The upstream's own empty frame.
        }
        // Up to where it was handed on or taken out, and the event that is looked at.
        let (mut done, mut start, mut end) = (0, 0, 0);
        while self.boundary.next(&chunk, &mut end) {
            let event = &chunk[start..end];
            let tail = std::mem::take(&mut self.after_cr) && event == b"\n";
            let mut drop = false;
            if std::mem::take(&mut self.torn) {
                // It goes out with what follows.
            } else if !self.event.is_empty() {
                drop = self.is_chunk(event);
                self.release(drop);
            } else {
                drop = tail || is_chunk(event, || chunk.slice(start..end));
                if drop {
                    self.hand_on(chunk.slice(done..start));
                }
            }
            if drop {
                self.after_cr = event.ends_with(b"\r");
                done = end;
            }
            start = end;
        }
        if self.torn {
            start = chunk.len();
        }
        self.hand_on(chunk.slice(done..start));
        if start < chunk.len() {
            self.hold(chunk.slice(start..));
        }
        self.pop()
    }

    fn pop(&mut self) -> Option<Bytes> {
        self.queue.pop_front()
    }

    fn finish(&mut self) {
        let chunk = !self.event.is_empty() && self.is_chunk(b"");
        self.release(chunk);
    }

    fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.event.is_empty()
    }
}
