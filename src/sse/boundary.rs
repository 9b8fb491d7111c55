//! Finds the places between events.

use super::lines::{Lines, Piece};

/// Follows a stream of server-sent events and knows where one may be cut, or something put in between.
#[derive(Clone, Debug)]
pub(crate) struct Boundary {
    lines: Lines,
    line: Line,
    /// A line of the current event has ended: the event is under way even at the start of a line.
    in_event: bool,
    /// An event has ended.
    begun: bool,
}

/// What of the current line is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    Empty,
    Comment,
    Field,
}

impl Default for Boundary {
    fn default() -> Self {
        Self { lines: Lines::new(), line: Line::Empty, in_event: false, begun: false }
    }
}

impl Boundary {
    /// Reads on, and returns the offset behind the last event that ended in these bytes.
    ///
    /// Comment lines outside of an event are taken for events: nothing depends on what follows them, and an upstream's own
    /// heartbeat must not be held back.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut last = None;
        let mut at = 0;
        while self.next(bytes, &mut at) {
            last = Some(at);
        }
        last
    }

    /// Reads on from `at`, which moves to the next place between two events. `false`: there is none in these bytes.
    #[inline]
    pub(crate) fn next(&mut self, bytes: &[u8], at: &mut usize) -> bool {
        while let Some(piece) = self.lines.next(bytes, at) {
            match piece {
                Piece::Text { text, ended } => {
                    if self.line == Line::Empty && !text.is_empty() {
                        let comment = bytes[text.start] == b':';
                        self.line = if comment { Line::Comment } else { Line::Field };
                    }
                    if !ended {
                        return false; // Nothing follows in these bytes.
                    }
                    self.end_line();
                }
                Piece::FalseMark => {
                    self.line = Line::Field;
                    continue;
                }
                Piece::Tail => {}
            }
            if self.between_events() {
                return true;
            }
        }
        false
    }

    fn end_line(&mut self) {
        match self.line {
            Line::Field => self.in_event = true,
            Line::Empty => self.begun |= std::mem::take(&mut self.in_event),
            Line::Comment => {}
        }
        self.line = Line::Empty;
    }

    fn between_events(&self) -> bool {
        self.line == Line::Empty && !self.in_event && !self.lines.in_mark()
    }

    /// Whether nothing was fed yet.
    pub(crate) fn at_start(&self) -> bool {
        self.lines.at_start()
    }

    /// Whether bytes of our own may stand here. Not behind a CR in a stream that may go on with its LF: the standard
    /// allows it, parsers that split at LF LF do not. At the start only if a byte order mark that follows is taken out.
    pub(crate) fn may_insert(&self) -> bool {
        let after_cr = self.lines.after_cr() && !self.lines.lone_cr();
        self.at_start() || (self.between_events() && !after_cr)
    }

    /// Whether an event has ended. Comments are none.
    pub(crate) const fn has_begun(&self) -> bool {
        self.begun
    }

    /// Whether a byte order mark precedes the first line.
    pub(crate) const fn marked(&self) -> bool {
        self.lines.marked()
    }
}
