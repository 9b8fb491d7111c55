//! Reads `application/vnd.amazon.eventstream`, the framing of Bedrock.
//!
//! By hand, since the field's own crate, aws-smithy-eventstream, needs a newer Rust than this one and brings the types of
//! AWS's runtime with it; and it holds every message whole.

use crc32fast::Hasher;

use super::Part;

/// Length of the message, length of its headers, and the checksum of these two.
const PRELUDE: usize = 12;
const CHECKSUM: usize = 4;

/// Headers are the one thing that is held of a message, and this is as much as the format allows.
const HEADERS: usize = 128 * 1024;

#[derive(Debug, Default)]
pub(in crate::usage) struct Frames {
    state: State,
    /// What has to be read in one piece.
    held: Vec<u8>,
    headers: usize,
    /// Bytes of the payload that are still to come.
    payload: usize,
    checksum: Hasher,
    message: Message,
    /// Its lengths contradict each other.
    broken: bool,
}

#[derive(Clone, Copy, Debug, Default)]
enum State {
    #[default]
    Prelude,
    Headers,
    Payload,
    Checksum,
    /// A prelude was broken: nobody knows where the next message begins.
    Lost,
}

/// What the headers of a message say.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::usage) struct Message {
    pub(in crate::usage) kind: Kind,
    pub(in crate::usage) failed: bool,
}

/// The types of messages that matter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::usage) enum Kind {
    #[default]
    Other,
    /// A model's own words, wrapped.
    Chunk,
    /// The first one of Converse.
    Start,
    /// The last one of Converse.
    Metadata,
}

impl Frames {
    pub(super) fn next(&mut self, chunk: &[u8], at: &mut usize) -> Option<Part> {
        loop {
            match self.state {
                State::Prelude => {
                    self.hold(PRELUDE, chunk, at)?;
                    self.prelude();
                }
                State::Headers => {
                    self.hold(self.headers, chunk, at)?;
                    self.checksum.update(&self.held);
                    self.message = Message::read(&self.held);
                    self.held.clear();
                    self.state = State::Payload;
                }
                State::Payload if self.payload == 0 => self.state = State::Checksum,
                State::Payload => {
                    let start = *at;
                    let rest = chunk.get(start..).filter(|rest| !rest.is_empty())?;
                    let piece = &rest[..rest.len().min(self.payload)];
                    self.checksum.update(piece);
                    self.payload -= piece.len();
                    *at += piece.len();
                    if !self.broken {
                        let wrapped = self.message.kind == Kind::Chunk;
                        let range = start..*at;
                        return Some(if wrapped {
                            Part::Wrapped(range)
                        } else {
                            Part::Text(range)
                        });
                    }
                }
                State::Checksum => {
                    self.hold(CHECKSUM, chunk, at)?;
                    let checksum = std::mem::take(&mut self.checksum).finalize();
                    let sound = number(&self.held, 0) == checksum as usize && !self.broken;
                    self.held.clear();
                    self.state = State::Prelude;
                    return Some(if sound { Part::End } else { Part::Broken });
                }
                State::Lost => {
                    *at = chunk.len();
                    return None;
                }
            }
        }
    }

    /// Takes what is missing of so many bytes. `None`: it is not all there.
    fn hold(&mut self, want: usize, chunk: &[u8], at: &mut usize) -> Option<()> {
        let rest = chunk.get(*at..)?;
        let taken = rest.len().min(want - self.held.len());
        self.held.extend_from_slice(&rest[..taken]);
        *at += taken;
        (self.held.len() == want).then_some(())
    }

    fn prelude(&mut self) {
        let (length, headers) = (number(&self.held, 0), number(&self.held, 4));
        let sound = number(&self.held, 8) == crc32fast::hash(&self.held[..8]) as usize;
        if !sound || length < PRELUDE + CHECKSUM {
            self.state = State::Lost;
            return;
        }
        self.checksum.update(&self.held);
        self.held.clear();
        let content = length - PRELUDE - CHECKSUM;
        self.broken = headers > content.min(HEADERS);
        self.headers = if self.broken { 0 } else { headers };
        self.payload = content - self.headers;
        self.state = State::Headers;
    }

    /// Of the message that is over.
    pub(super) const fn message(&self) -> Message {
        self.message
    }
}

impl Message {
    fn read(headers: &[u8]) -> Self {
        let kind = match text(headers, b":event-type") {
            Some(b"chunk") => Kind::Chunk,
            Some(b"messageStart") => Kind::Start,
            Some(b"metadata") => Kind::Metadata,
            _ => Kind::Other,
        };
        let failed = matches!(text(headers, b":message-type"), Some(b"exception" | b"error"));
        Self { kind, failed }
    }
}

/// A header that is a text.
fn text<'h>(mut headers: &'h [u8], name: &[u8]) -> Option<&'h [u8]> {
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
        if *kind == 7 && this == name {
            return Some(value);
        }
        headers = rest;
    }
}

/// Four bytes at `at`. A length has no more on any machine that this runs on.
fn number(bytes: &[u8], at: usize) -> usize {
    bytes[at..at + 4].iter().fold(0, |number, byte| number << 8 | usize::from(*byte))
}
