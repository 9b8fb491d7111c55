//! Reads `application/vnd.amazon.eventstream`, the framing of Bedrock.
//!
//! By hand, since the field's own crate, aws-smithy-eventstream, needs a newer Rust than this one and brings the types of
//! AWS's runtime with it; and it copies every message.

use std::ops::Range;

use bytes::{Buf, Bytes};

use super::Part;
use crate::sse::Joined;

/// Length of the message, length of its headers, and the checksum of these two.
const PRELUDE: usize = 12;
const CHECKSUM: usize = 4;

/// Reads messages, each of at most so many bytes. One that lies in one chunk is not copied.
#[derive(Debug)]
pub(in crate::usage) struct Frames {
    message: Option<Joined>,
    /// Bytes of the message that have to be there next: its prelude, then all of it.
    want: usize,
    /// Bytes of a message that was too large.
    skip: usize,
    limit: usize,
    /// A prelude was broken: nobody knows where the next message begins.
    lost: bool,
}

impl Frames {
    pub(super) const fn new(limit: usize) -> Self {
        Self { message: None, want: PRELUDE, skip: 0, limit, lost: false }
    }

    pub(super) fn next(&mut self, chunk: &mut Bytes) -> Option<Part> {
        loop {
            let skipped = self.skip.min(chunk.len());
            chunk.advance(skipped);
            self.skip -= skipped;
            if self.lost {
                chunk.clear();
            }
            if chunk.is_empty() {
                return None;
            }
            let held = self.message.as_ref().map_or(0, Joined::len);
            let whole = held == 0 && chunk.len() >= self.want;
            if whole && self.want == PRELUDE {
                if self.prelude(&chunk[..PRELUDE], 0) {
                    return Some(Part::TooLarge);
                }
                continue;
            }
            let piece = chunk.split_to((self.want - held).min(chunk.len()));
            match &mut self.message {
                Some(message) => message.push(&piece),
                message => *message = Some(Joined::new(piece)),
            }
            let Some(message) = self.message.take_if(|message| message.len() == self.want) else {
                return None; // The chunk is read.
            };
            if self.want == PRELUDE {
                if self.prelude(message.as_slice(), PRELUDE) {
                    return Some(Part::TooLarge);
                }
                self.message = (self.want > PRELUDE).then_some(message);
                continue;
            }
            self.want = PRELUDE;
            if let Some(frame) = Frame::read(message.into_bytes()) {
                return Some(Part::Frame(frame));
            }
        }
    }

    /// Reads the prelude of a message of which `held` bytes are taken, and returns whether it is too large.
    fn prelude(&mut self, prelude: &[u8], held: usize) -> bool {
        let length = number(prelude, 0);
        let sound = number(prelude, 8) == crc32fast::hash(&prelude[..8]) as usize;
        self.lost = !sound || length < PRELUDE + CHECKSUM;
        let too_large = !self.lost && length > self.limit;
        if too_large {
            self.skip = length - held;
        } else if !self.lost {
            self.want = length;
        }
        too_large
    }
}

/// One message, whole and with the right checksum.
#[derive(Debug)]
pub(in crate::usage) struct Frame {
    message: Bytes,
    headers: Range<usize>,
}

impl Frame {
    /// `None`: it is broken. The next one can be read all the same.
    fn read(message: Bytes) -> Option<Self> {
        let end = message.len() - CHECKSUM;
        let headers = PRELUDE..PRELUDE.checked_add(number(&message, 4))?;
        let sound = crc32fast::hash(&message[..end]) as usize == number(&message, end);
        (sound && headers.end <= end).then_some(Self { message, headers })
    }

    /// A header that is a text.
    pub(in crate::usage) fn header(&self, name: &str) -> Option<&str> {
        let mut headers = &self.message[self.headers.clone()];
        loop {
            let (length, rest) = headers.split_first()?;
            let (this, rest) = rest.split_at_checked(usize::from(*length))?;
            let (kind, rest) = rest.split_first()?;
            let (length, rest) = match kind {
                0 | 1 => (0, rest),
                2 => (1, rest),
                3 => (2, rest),
                4 => (4, rest),
                5 | 8 => (8, rest),
                6 | 7 => {
                    let (length, rest) = rest.split_at_checked(2)?;
                    (usize::from(u16::from_be_bytes([length[0], length[1]])), rest)
                }
                9 => (16, rest),
                _ => return None,
            };
            let (value, rest) = rest.split_at_checked(length)?;
            if *kind == 7 && this == name.as_bytes() {
                return std::str::from_utf8(value).ok();
            }
            headers = rest;
        }
    }

    pub(in crate::usage) fn payload(&self) -> &[u8] {
        &self.message[self.headers.end..self.message.len() - CHECKSUM]
    }
}

/// Four bytes at `at`. A length has no more on any machine that this runs on.
fn number(bytes: &[u8], at: usize) -> usize {
    bytes[at..at + 4].iter().fold(0, |number, byte| number << 8 | usize::from(*byte))
}
