//! Reads NDJSON: one JSON value on each line.

use super::Part;
use crate::sse::{Lines, Piece};

#[derive(Debug)]
pub(in crate::usage) struct JsonLines {
    lines: Lines,
    /// Something of a line is there.
    begun: bool,
    /// It was the last of that line.
    ended: bool,
    /// The rest of the line is of no interest.
    skipping: bool,
}

impl JsonLines {
    pub(super) const fn new() -> Self {
        Self { lines: Lines::new(), begun: false, ended: false, skipping: false }
    }

    pub(super) fn next(&mut self, chunk: &[u8], at: &mut usize) -> Option<Part> {
        loop {
            if std::mem::take(&mut self.ended) {
                self.skipping = false;
                if std::mem::take(&mut self.begun) {
                    return Some(Part::End);
                }
            }
            match self.lines.next(chunk, at)? {
                Piece::Text { text, ended } => {
                    self.ended = ended;
                    if !self.skipping && !text.is_empty() {
                        self.begun = true;
                        return Some(Part::Text(text));
                    }
                }
                Piece::FalseMark => self.skipping = true, // No JSON begins so.
                Piece::Tail => {}
            }
        }
    }

    pub(super) fn finish(&mut self) -> bool {
        std::mem::take(&mut self.begun)
    }

    /// Whether nothing of a line is there.
    pub(super) fn is_between_lines(&self) -> bool {
        !self.begun && !self.skipping && self.lines.is_between_lines()
    }
}
