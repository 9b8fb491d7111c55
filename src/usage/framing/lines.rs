//! Reads NDJSON: one JSON value on each line.

use std::ops::Range;

use bytes::{Buf, Bytes};

use super::Part;
use crate::sse::{Joined, Lines, Piece};

/// Reads lines, each of at most so many bytes. A line that lies in one chunk is not copied.
#[derive(Debug)]
pub(in crate::usage) struct JsonLines {
    lines: Lines,
    line: Option<Joined>,
    limit: usize,
    /// The rest of the line is of no interest.
    skipping: bool,
}

impl JsonLines {
    pub(super) const fn new(limit: usize) -> Self {
        Self { lines: Lines::new(), line: None, limit, skipping: false }
    }

    pub(super) fn next(&mut self, chunk: &mut Bytes) -> Option<Part> {
        let mut at = 0;
        while let Some(piece) = self.lines.next(chunk, &mut at) {
            let part = match piece {
                Piece::Text { text, ended } => {
                    let too_large = self.text(chunk, text);
                    let line = if ended { self.end_line() } else { None };
                    too_large.or(line) // Not both: a line that was too large is not there.
                }
                Piece::FalseMark => {
                    self.skipping = true; // No JSON begins so.
                    None
                }
                Piece::Tail => None,
            };
            if part.is_some() {
                chunk.advance(at);
                return part;
            }
        }
        chunk.clear();
        None
    }

    pub(super) fn finish(&mut self) -> Option<Part> {
        self.end_line()
    }

    fn text(&mut self, chunk: &Bytes, range: Range<usize>) -> Option<Part> {
        if self.skipping || range.is_empty() {
            return None;
        }
        if self.line.as_ref().map_or(0, Joined::len) + range.len() > self.limit {
            self.line = None;
            self.skipping = true;
            return Some(Part::TooLarge);
        }
        match &mut self.line {
            Some(line) => line.push(&chunk[range]),
            line => *line = Some(Joined::new(chunk.slice(range))),
        }
        None
    }

    fn end_line(&mut self) -> Option<Part> {
        self.skipping = false;
        self.line.take().map(|line| Part::Json(line.into_bytes()))
    }
}
