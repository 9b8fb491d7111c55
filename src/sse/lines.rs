//! Reads lines: the one place that knows line ends and the byte order mark.

use std::ops::Range;

use memchr::memchr2;

/// Splits a stream that comes in chunks into lines, and holds nothing of them.
///
/// Lines end with LF, CR or CR LF, in any mixture and split anywhere; a byte order mark before the first is left out.
#[derive(Clone, Debug)]
pub(crate) struct Lines {
    /// So many bytes of a byte order mark were there; `None` once none can come any more.
    mark: Option<usize>,
    marked: bool,
    after_cr: bool,
    lone_cr: bool,
}

/// What comes next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// What the chunk has of the current line, and whether the line ends there.
    Text { text: Range<usize>, ended: bool },
    /// The first bytes of a byte order mark that is none. They belong to the current line, which they begin.
    FalseMark,
    /// A LF that belongs to the CR before it.
    Tail,
}

const MARK: [u8; 3] = [0xef, 0xbb, 0xbf];

impl Lines {
    pub(crate) const fn new() -> Self {
        Self { mark: Some(0), marked: false, after_cr: false, lone_cr: false }
    }

    /// Reads on in `chunk` from `at`, which moves behind what was read. `None`: the chunk is read.
    #[inline]
    pub(crate) fn next(&mut self, chunk: &[u8], at: &mut usize) -> Option<Piece> {
        if self.mark.is_some() && self.read_mark(chunk, at) {
            return Some(Piece::FalseMark);
        }
        let start = *at;
        let rest = chunk.get(start..).filter(|rest| !rest.is_empty())?;
        if std::mem::take(&mut self.after_cr) {
            if rest[0] == b'\n' {
                *at += 1;
                return Some(Piece::Tail);
            }
            self.lone_cr = true;
        }
        let length = memchr2(b'\n', b'\r', rest).unwrap_or(rest.len());
        let end = rest.get(length);
        self.after_cr = end == Some(&b'\r');
        *at = start + length + usize::from(end.is_some());
        Some(Piece::Text { text: start..start + length, ended: end.is_some() })
    }

    /// Reads a mark as far as it is there; returns whether it turned out to be none.
    fn read_mark(&mut self, chunk: &[u8], at: &mut usize) -> bool {
        while let (Some(seen), Some(byte)) = (self.mark, chunk.get(*at)) {
            if *byte != MARK[seen] {
                self.mark = None;
                return seen > 0;
            }
            *at += 1;
            self.marked = seen + 1 == MARK.len();
            self.mark = (!self.marked).then_some(seen + 1);
        }
        false
    }

    /// Whether nothing was read yet.
    pub(crate) fn at_start(&self) -> bool {
        self.mark == Some(0)
    }

    /// Whether the last bytes may become a byte order mark.
    pub(crate) fn in_mark(&self) -> bool {
        self.mark.is_some_and(|seen| seen > 0)
    }

    /// Whether what comes next begins a line, for a caller who has read the one before to its end.
    #[cfg(feature = "usage")]
    pub(crate) const fn is_between_lines(&self) -> bool {
        self.mark.is_none() && !self.after_cr
    }

    /// Whether a byte order mark precedes the first line.
    pub(crate) const fn marked(&self) -> bool {
        self.marked
    }

    /// Whether the last byte was a CR, so that a LF would still belong to it.
    pub(crate) const fn after_cr(&self) -> bool {
        self.after_cr
    }

    /// Whether a CR was seen that no LF followed: this stream ends lines with CR alone.
    pub(crate) const fn lone_cr(&self) -> bool {
        self.lone_cr
    }
}
