//! Takes a stream apart into what it is made of, as its bytes come: nothing is held but a line's first bytes, or the head of a
//! binary message.

mod events;
mod frames;
mod lines;
mod medium;
mod values;

use std::ops::Range;

use self::{events::Events, frames::Frames, lines::JsonLines, values::Values};
pub(super) use self::{
    frames::{Kind, Message},
    medium::Medium,
};

/// How a stream is made up.
#[derive(Debug)]
pub(super) enum Framing {
    /// Server-sent events.
    Events(Events),
    /// One JSON value on each line.
    Lines(JsonLines),
    /// One JSON object, or an array of them.
    Values(Values),
    /// `application/vnd.amazon.eventstream`.
    Frames(Frames),
}

/// What was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// These bytes of the chunk are of the event's text.
    Text(Range<usize>),
    /// They begin a line of it that is not the first.
    Line(Range<usize>),
    /// They are of what a `chunk` of Bedrock has its text wrapped in.
    Wrapped(Range<usize>),
    /// The event is over.
    End,
    /// It is over, and broken.
    Broken,
}

/// What an event has besides its text.
#[derive(Clone, Copy, Debug)]
pub(super) enum About<'a> {
    /// Its type.
    Event(&'a str),
    Json,
    Message(Message),
}

impl Framing {
    pub(super) fn events() -> Self {
        Self::Events(Events::default())
    }

    pub(super) const fn lines() -> Self {
        Self::Lines(JsonLines::new())
    }

    pub(super) const fn values() -> Self {
        Self::Values(Values::new())
    }

    pub(super) fn frames() -> Self {
        Self::Frames(Frames::default())
    }

    /// Reads on in `chunk` from `at`, which moves behind what was read. `None`: all of it is read.
    pub(super) fn next(&mut self, chunk: &[u8], at: &mut usize) -> Option<Part> {
        match self {
            Self::Events(events) => events.next(chunk, at),
            Self::Lines(lines) => lines.next(chunk, at),
            Self::Values(values) => values.next(chunk, at),
            Self::Frames(frames) => frames.next(chunk, at),
        }
    }

    /// Of the event that is over.
    pub(super) fn about(&self) -> About<'_> {
        match self {
            Self::Events(events) => About::Event(events.event_type()),
            Self::Lines(_) | Self::Values(_) => About::Json,
            Self::Frames(frames) => About::Message(frames.message()),
        }
    }

    /// Whether `chunk` would be whole events and nothing else, so that it may be left out.
    pub(super) fn is_aligned(&self, chunk: &[u8]) -> bool {
        match self {
            Self::Events(events) => {
                (chunk.ends_with(b"\n\n") || chunk.ends_with(b"\r\n\r\n"))
                    && events.is_between_events()
            }
            Self::Lines(lines) => chunk.ends_with(b"\n") && lines.is_between_lines(),
            Self::Values(_) | Self::Frames(_) => false,
        }
    }

    /// Ends the stream, and returns whether that ends an event which lacks its end: a stream that was cut may still have said
    /// all of it.
    pub(super) fn finish(&mut self) -> bool {
        match self {
            Self::Events(events) => events.finish(),
            Self::Lines(lines) => lines.finish(),
            Self::Values(_) | Self::Frames(_) => false, // They end with their last byte.
        }
    }

    /// What it is made for.
    pub(super) const fn medium(&self) -> Medium {
        match self {
            Self::Events(_) => Medium::Events,
            Self::Lines(_) => Medium::Lines,
            Self::Values(_) => Medium::Json,
            Self::Frames(_) => Medium::Frames,
        }
    }

    /// Whether what comes is an array of objects.
    pub(super) const fn in_array(&self) -> bool {
        matches!(self, Self::Values(values) if values.in_array())
    }
}
