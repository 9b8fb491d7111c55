//! Reads server-sent events, and hands their data on while it comes.

use std::ops::Range;

use super::Part;
use crate::sse::{Lines, Piece};

/// Bytes of a type that are held: more than any has that matters.
const TYPE: usize = 64;

/// Reads by the same rules as [`Decoder`](crate::sse::Decoder), which holds an event until it is whole.
#[derive(Debug)]
pub(in crate::usage) struct Events {
    lines: Lines,
    line: Line,
    /// The line's name as far as it is there, and whether it is longer than any that matters.
    name: Vec<u8>,
    event_type: Vec<u8>,
    /// There is a line of data, perhaps an empty one.
    has_data: bool,
    /// Another one has begun.
    next_line: bool,
    /// The event is over: its type is none of the next one's.
    over: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    Name,
    /// A space that comes next is none of the value's.
    Colon(Field),
    Value(Field),
    Ignored,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Data,
    Type,
}

impl Default for Events {
    fn default() -> Self {
        Self {
            lines: Lines::new(),
            line: Line::Name,
            name: Vec::with_capacity(NAME),
            event_type: vec![],
            has_data: false,
            next_line: false,
            over: false,
        }
    }
}

const NAME: usize = b"event".len();

impl Events {
    pub(super) fn next(&mut self, chunk: &[u8], at: &mut usize) -> Option<Part> {
        if std::mem::take(&mut self.over) {
            self.event_type.clear();
        }
        while let Some(piece) = self.lines.next(chunk, at) {
            let part = match piece {
                Piece::Text { text, ended } => {
                    let part = self.text(chunk, text);
                    let end = ended && self.end_line();
                    part.or(end.then_some(Part::End)) // Not both: only a line without text ends an event.
                }
                Piece::FalseMark => {
                    self.line = Line::Ignored; // No field has such a name.
                    None
                }
                Piece::Tail => None,
            };
            if part.is_some() {
                return part;
            }
        }
        None
    }

    fn text(&mut self, chunk: &[u8], mut text: Range<usize>) -> Option<Part> {
        while self.line == Line::Name && !text.is_empty() {
            let byte = chunk[text.start];
            text.start += 1;
            if byte == b':' {
                self.line = self.field().map_or(Line::Ignored, Line::Colon);
            } else if self.name.len() == NAME {
                self.line = Line::Ignored;
            } else {
                self.name.push(byte);
            }
        }
        let first = chunk[text.clone()].first()?;
        if let Line::Colon(field) = self.line {
            self.line = Line::Value(field);
            text.start += usize::from(*first == b' ');
        }
        match self.line {
            Line::Value(Field::Data) if !text.is_empty() => {
                let next_line = std::mem::take(&mut self.next_line);
                return Some(if next_line { Part::Line(text) } else { Part::Text(text) });
            }
            Line::Value(Field::Type) => {
                let room = TYPE - self.event_type.len();
                self.event_type.extend(chunk[text].iter().take(room));
            }
            _ => {}
        }
        None
    }

    /// The name of the line is there.
    fn field(&mut self) -> Option<Field> {
        match &self.name[..] {
            b"data" => {
                self.next_line |= self.has_data;
                self.has_data = true;
                Some(Field::Data)
            }
            b"event" => {
                self.event_type.clear();
                Some(Field::Type)
            }
            _ => None,
        }
    }

    /// Returns whether an event is over, too.
    fn end_line(&mut self) -> bool {
        let blank = self.line == Line::Name && self.name.is_empty();
        if self.line == Line::Name && !blank {
            self.field();
        }
        self.line = Line::Name;
        self.name.clear();
        if !blank {
            return false;
        }
        self.next_line = false;
        self.over = std::mem::take(&mut self.has_data);
        if !self.over {
            self.event_type.clear();
        }
        self.over
    }

    pub(super) fn finish(&mut self) -> bool {
        self.end_line() || std::mem::take(&mut self.has_data)
    }

    /// The type of the event that is over.
    pub(super) fn event_type(&self) -> &str {
        match &self.event_type[..] {
            b"" => "message",
            event_type => std::str::from_utf8(event_type).unwrap_or_default(),
        }
    }

    /// Whether nothing of an event is there.
    pub(super) fn is_between_events(&self) -> bool {
        self.line == Line::Name
            && self.name.is_empty()
            && !self.has_data
            && (self.over || self.event_type.is_empty())
            && self.lines.is_between_lines()
    }
}
