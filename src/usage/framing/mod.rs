//! Takes a stream apart into what it is made of.

mod frames;
mod lines;
mod medium;
mod values;

use bytes::Bytes;

pub(super) use self::{frames::Frame, medium::Medium};
use self::{frames::Frames, lines::JsonLines, values::Values};
use crate::sse::{Decoded, DecodedEvent, Decoder};

/// How a stream is made up.
#[derive(Debug)]
pub(super) enum Framing {
    /// Server-sent events.
    Events(Decoder),
    /// One JSON value on each line.
    Lines(JsonLines),
    /// One JSON object, or an array of them.
    Values(Values),
    /// `application/vnd.amazon.eventstream`.
    Frames(Frames),
}

/// What was read.
#[derive(Debug)]
pub(super) enum Part {
    Event(DecodedEvent),
    Json(Bytes),
    Frame(Frame),
    /// Something is larger than the limit, and is skipped.
    TooLarge,
}

impl Framing {
    pub(super) const fn events(limit: usize) -> Self {
        Self::Events(Decoder::with_limit(limit))
    }

    pub(super) const fn lines(limit: usize) -> Self {
        Self::Lines(JsonLines::new(limit))
    }

    pub(super) const fn values(limit: usize) -> Self {
        Self::Values(Values::new(limit))
    }

    pub(super) const fn frames(limit: usize) -> Self {
        Self::Frames(Frames::new(limit))
    }

    /// Reads on in `chunk`, and leaves in it what follows. `None`: all of it is read.
    pub(super) fn next(&mut self, chunk: &mut Bytes) -> Option<Part> {
        match self {
            Self::Events(decoder) => decoder.decode(chunk).map(Part::from),
            Self::Lines(lines) => lines.next(chunk),
            Self::Values(values) => values.next(chunk),
            Self::Frames(frames) => frames.next(chunk),
        }
    }

    /// Whether `chunk` would be whole events and nothing else, so that it may be left out.
    pub(super) fn is_aligned(&self, chunk: &[u8]) -> bool {
        let Self::Events(decoder) = self else { return false };
        (chunk.ends_with(b"\n\n") || chunk.ends_with(b"\r\n\r\n")) && decoder.is_between_events()
    }

    /// Takes what lacks its end: a stream that was cut may still have said all of it.
    pub(super) fn finish(&mut self) -> Option<Part> {
        match self {
            Self::Events(decoder) => decoder.finish().map(Part::from),
            Self::Lines(lines) => lines.finish(),
            Self::Values(_) | Self::Frames(_) => None, // They end with their last byte.
        }
    }

    /// Whether what comes is a stream. A single JSON object is none.
    pub(super) const fn is_stream(&self) -> bool {
        match self {
            Self::Values(values) => values.in_array(),
            Self::Events(_) | Self::Lines(_) | Self::Frames(_) => true,
        }
    }
}

impl From<Decoded> for Part {
    fn from(decoded: Decoded) -> Self {
        match decoded {
            Decoded::Event(event) => Self::Event(event),
            Decoded::TooLarge => Self::TooLarge,
        }
    }
}
