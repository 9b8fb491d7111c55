//! Where the records of NDJSON end.

#[cfg(test)]
mod tests;

use memchr::{memchr2, memrchr};

/// Follows the records of NDJSON. A line end ends one, and so does the end of its object or array, for there are producers that
/// write the line end *before* each record: their record would wait for the next one.
#[derive(Debug, Default)]
pub(super) struct Records {
    line: Line,
}

/// What the line has so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Line {
    /// Nothing but white space.
    #[default]
    Empty,
    /// An object or array that is not complete.
    Open { depth: usize, string: bool, escaped: bool },
    /// A complete one. Whatever else the line has belongs to nothing.
    Complete,
    /// Something else, of which nobody can tell when it is complete, so nobody waits for it.
    Other,
}

impl Records {
    /// Reads on, and returns the offset up to which the bytes may be handed on.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Option<usize> {
        let end = memrchr(b'\n', bytes).map(|at| at + 1);
        if end.is_some() {
            self.line = Line::Empty;
        }
        self.line = read(self.line, &bytes[end.unwrap_or(0)..]);
        match self.line {
            Line::Open { .. } => end,
            Line::Empty | Line::Complete | Line::Other => Some(bytes.len()),
        }
    }

    /// Whether the next byte begins a line.
    pub(super) fn at_line_start(&self) -> bool {
        self.line == Line::Empty
    }

    /// Whether a complete record waits for its line end.
    #[cfg(any(test, feature = "final-frame"))]
    pub(super) fn is_unterminated(&self) -> bool {
        self.line == Line::Complete
    }
}

/// Reads on in a line.
fn read(mut line: Line, mut bytes: &[u8]) -> Line {
    while let [byte, rest @ ..] = bytes {
        bytes = rest;
        line = match (line, byte) {
            (Line::Complete | Line::Other, _) => return line,
            (Line::Empty, b' ' | b'\t' | b'\r') => line,
            (Line::Empty, b'{' | b'[') => Line::Open { depth: 1, string: false, escaped: false },
            (Line::Empty, _) => Line::Other,
            (Line::Open { depth, string: true, escaped: true }, _) => {
                Line::Open { depth, string: true, escaped: false }
            }
            (Line::Open { depth, string: true, .. }, b'"') => {
                Line::Open { depth, string: false, escaped: false }
            }
            (Line::Open { depth, string: true, .. }, b'\\') => {
                Line::Open { depth, string: true, escaped: true }
            }
            (Line::Open { string: true, .. }, _) => {
                let skipped = memchr2(b'"', b'\\', bytes).unwrap_or(bytes.len());
                bytes = &bytes[skipped..];
                line
            }
            (Line::Open { depth, .. }, b'"') => Line::Open { depth, string: true, escaped: false },
            (Line::Open { depth, .. }, b'{' | b'[') => {
                Line::Open { depth: depth.saturating_add(1), string: false, escaped: false }
            }
            (Line::Open { depth: 1, .. }, b'}' | b']') => Line::Complete,
            (Line::Open { depth, .. }, b'}' | b']') => {
                Line::Open { depth: depth - 1, string: false, escaped: false }
            }
            (Line::Open { .. }, _) => line,
        };
    }
    line
}
