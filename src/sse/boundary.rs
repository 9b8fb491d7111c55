//! Finds the places between events.

use memchr::memchr2;

/// Follows a stream of server-sent events and knows where one may be cut, or something put in between.
///
/// Lines end with LF, CR or CR LF, in any mixture and split anywhere; a byte order mark may precede the first.
#[derive(Clone, Debug)]
pub(crate) struct Boundary {
    line: Line,
    /// A line of the current event has ended: the event is under way even at the start of a line.
    in_event: bool,
    /// The last byte was a CR, so that a LF would still belong to it.
    after_cr: bool,
    /// A CR was seen that no LF followed: this stream ends lines with CR alone.
    lone_cr: bool,
    /// A byte order mark precedes the first line.
    marked: bool,
    /// An event has ended.
    begun: bool,
}

/// What of the current line is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    /// The start of the stream: so many bytes of a byte order mark were there.
    Mark(usize),
    Empty,
    Comment,
    Field,
}

const MARK: [u8; 3] = [0xef, 0xbb, 0xbf];

impl Default for Boundary {
    fn default() -> Self {
        Self {
            line: Line::Mark(0),
            in_event: false,
            after_cr: false,
            lone_cr: false,
            marked: false,
            begun: false,
        }
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
        while at < bytes.len() {
            if std::mem::take(&mut self.after_cr) {
                if bytes[at] == b'\n' {
                    at += 1;
                    if self.between_events() {
                        last = Some(at);
                    }
                    continue;
                }
                self.lone_cr = true;
            }
            let rest = &bytes[at..];
            let length = memchr2(b'\n', b'\r', rest).unwrap_or(rest.len());
            self.extend_line(&rest[..length]);
            at += length;
            if let Some(end) = rest.get(length) {
                at += 1;
                self.after_cr = *end == b'\r';
                self.end_line();
                if self.between_events() {
                    last = Some(at);
                }
            }
        }
        last
    }

    fn extend_line(&mut self, mut bytes: &[u8]) {
        while let (Line::Mark(seen), Some((first, rest))) = (self.line, bytes.split_first()) {
            if *first != MARK[seen] {
                // Two of three bytes of a mark are not a mark, they begin a field name.
                self.line = if seen == 0 { Line::Empty } else { Line::Field };
            } else if seen + 1 == MARK.len() {
                (self.line, bytes) = (Line::Empty, rest);
                self.marked = true;
            } else {
                (self.line, bytes) = (Line::Mark(seen + 1), rest);
            }
        }
        if self.line == Line::Empty {
            match bytes.first() {
                Some(b':') => self.line = Line::Comment,
                Some(_) => self.line = Line::Field,
                None => {}
            }
        }
    }

    fn end_line(&mut self) {
        match self.line {
            Line::Mark(1 | 2) | Line::Field => self.in_event = true,
            Line::Mark(_) | Line::Empty => self.begun |= std::mem::take(&mut self.in_event),
            Line::Comment => {}
        }
        self.line = Line::Empty;
    }

    fn between_events(&self) -> bool {
        self.line == Line::Empty && !self.in_event
    }

    /// Whether nothing was fed yet.
    pub(crate) fn at_start(&self) -> bool {
        self.line == Line::Mark(0)
    }

    /// Whether bytes of our own may stand here. Not behind a CR in a stream that may go on with its LF: the standard
    /// allows it, parsers that split at LF LF do not. At the start only if a byte order mark that follows is taken out.
    pub(crate) fn may_insert(&self) -> bool {
        self.at_start() || (self.between_events() && (!self.after_cr || self.lone_cr))
    }

    /// Whether an event has ended. Comments are none.
    pub(crate) const fn has_begun(&self) -> bool {
        self.begun
    }

    /// Whether a byte order mark precedes the first line.
    pub(crate) const fn marked(&self) -> bool {
        self.marked
    }
}
