//! Takes the chunk with the usage out of a stream of events.

use std::{collections::VecDeque, sync::LazyLock};

use bytes::Bytes;

use super::json::is_extra;
use crate::{
    align::DEFAULT_HOLD,
    aligned::Shape,
    sse::{Boundary, Decoded, Decoder, Joined},
    usage::needles::Needles,
};

static USAGE: LazyLock<Needles> = LazyLock::new(|| Needles::new(&["\"usage\""]));

/// Hands on all events but that one.
#[derive(Debug, Default)]
pub(super) struct Strip {
    boundary: Boundary,
    ready: VecDeque<Bytes>,
    /// An event that is not whole.
    held: Option<Joined>,
    /// The event was too large: its rest is passed through.
    torn: bool,
    /// What was taken out ended with a CR: a LF that follows belongs to it.
    after_cr: bool,
}

impl Strip {
    fn hand_on(&mut self, kept: Bytes) {
        if !kept.is_empty() {
            self.ready.push_back(kept);
        }
    }

    fn hold(&mut self, piece: Bytes) {
        let held = match self.held.take() {
            Some(mut held) => {
                held.push(&piece);
                held
            }
            None => Joined::new(piece),
        };
        if held.len() > DEFAULT_HOLD {
            self.torn = true;
            self.ready.push_back(held.into_bytes());
        } else {
            self.held = Some(held);
        }
    }
}

/// Whether this is the chunk, whole but perhaps without its blank line. The same however the stream is cut.
fn is_chunk(event: &[u8]) -> bool {
    if event.len() > DEFAULT_HOLD || !USAGE.are_in(event) {
        return false;
    }
    let (mut decoder, mut event) = (Decoder::new(), Bytes::copy_from_slice(event));
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
            if std::mem::take(&mut self.torn) {
                // It goes out with what follows.
            } else if let Some(mut held) = self.held.take() {
                held.push(event);
                if is_chunk(held.as_slice()) {
                    self.after_cr = event.ends_with(b"\r");
                } else {
                    self.ready.push_back(held.into_bytes());
                }
                done = end;
            } else if tail || is_chunk(event) {
                self.after_cr = event.ends_with(b"\r");
                self.hand_on(chunk.slice(done..start));
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
        self.ready.pop_front()
    }

    fn finish(&mut self) {
        let held = self.held.take().map(Joined::into_bytes);
        self.ready.extend(held.filter(|held| !is_chunk(held)));
    }

    fn is_empty(&self) -> bool {
        self.ready.is_empty() && self.held.is_none()
    }
}
