//! Where the records of NDJSON end.

#[cfg(test)]
mod tests;

use memchr::{memchr2, memrchr};

/// Follows the records of NDJSON. A line end ends one, and so does the end of its object or array, for there are producers that
/// write the line end *before* each record: their record would wait for the next one.
#[derive(Debug, Default)]
pub(super) struct Records {
    line: Line,
    /// The record that is open stands behind a complete one on the same line.
    behind: bool,
}

/// What the line has so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Line {
    /// Nothing but white space.
    #[default]
    Empty,
    /// An object or array that is not complete.
    Open { depth: usize, string: bool, escaped: bool },
    /// A complete one. Another may follow without a line end.
    Complete,
    /// Something else, of which nobody can tell when it is complete, so nobody waits for it.
    Other,
}

impl Records {
    /// Reads on, and returns the offset up to which the bytes may be handed on.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Option<usize> {
        let end = memrchr(b'\n', bytes).map(|at| at + 1);
        if end.is_some() {
            *self = Self::default();
        }
        let start = end.unwrap_or(0);
        let (line, complete) = read(self.line, &bytes[start..]);
        let behind = self.behind || self.line == Line::Complete || complete.is_some();
        self.line = line;
        self.behind = behind && matches!(line, Line::Open { .. });
        match line {
            Line::Open { .. } => complete.map(|at| start + at).or(end),
            Line::Empty | Line::Complete | Line::Other => Some(bytes.len()),
        }
    }

    /// Whether the next byte begins a line.
    pub(super) fn at_line_start(&self) -> bool {
        self.line == Line::Empty
    }

    /// Whether what may be handed on ends with a complete record that lacks its line end.
    pub(super) fn is_unterminated(&self) -> bool {
        self.line == Line::Complete || self.behind
    }
}

/// Reads on in a line. Tells the offset behind the last record that became complete.
fn read(mut line: Line, mut bytes: &[u8]) -> (Line, Option<usize>) {
    let (length, mut complete) = (bytes.len(), None);
    while let [byte, rest @ ..] = bytes {
        bytes = rest;
        line = match (line, byte) {
            (Line::Other, _) => return (line, complete),
            (Line::Empty, b' ' | b'\t' | b'\r') => line,
            (Line::Empty | Line::Complete, b'{' | b'[') => {
                Line::Open { depth: 1, string: false, escaped: false }
            }
            (Line::Empty, _) => Line::Other,
            (Line::Complete, _) => line,
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
            (Line::Open { depth: 1, .. }, b'}' | b']') => {
                complete = Some(length - bytes.len());
                Line::Complete
            }
            (Line::Open { depth, .. }, b'}' | b']') => {
                Line::Open { depth: depth - 1, string: false, escaped: false }
            }
            (Line::Open { .. }, _) => line,
        };
    }
    (line, complete)
}
