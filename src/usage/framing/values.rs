//! Reads JSON that comes in pieces: one object, or an array of them.

use bytes::{Buf, Bytes};
use memchr::{memchr, memchr2, memchr3};

use super::Part;
use crate::sse::Joined;

/// Finds objects, each of at most so many bytes, by their braces and strings and nothing else. One that lies in one chunk
/// is not copied.
#[derive(Debug)]
pub(in crate::usage) struct Values {
    object: Option<Joined>,
    /// Braces that are open.
    depth: usize,
    string: Text,
    /// `None`: nothing has begun yet.
    array: Option<bool>,
    limit: usize,
    /// The object was too large: its rest is skipped.
    skipping: bool,
}

/// Where in a string it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Text {
    Outside,
    Inside,
    /// Behind a backslash.
    Escaped,
}

impl Values {
    pub(super) const fn new(limit: usize) -> Self {
        let string = Text::Outside;
        Self { object: None, depth: 0, string, array: None, limit, skipping: false }
    }

    pub(super) const fn in_array(&self) -> bool {
        matches!(self.array, Some(true))
    }

    pub(super) fn next(&mut self, chunk: &mut Bytes) -> Option<Part> {
        loop {
            if self.depth == 0 {
                let start = memchr(b'{', chunk);
                let before = &chunk[..start.unwrap_or(chunk.len())];
                if self.array.is_none() {
                    let array = before.contains(&b'[');
                    self.array = (array || start.is_some()).then_some(array);
                }
                let Some(start) = start else {
                    chunk.clear();
                    return None;
                };
                chunk.advance(start);
            }
            let length = self.follow(chunk);
            let piece = chunk.split_to(length);
            if let Some(too_large) = self.take(piece) {
                return Some(too_large);
            }
            if self.depth > 0 {
                return None; // The chunk is read.
            }
            self.skipping = false;
            if let Some(object) = self.object.take() {
                return Some(Part::Json(object.into_bytes()));
            }
        }
    }

    fn take(&mut self, piece: Bytes) -> Option<Part> {
        if self.skipping || piece.is_empty() {
            return None;
        }
        if self.object.as_ref().map_or(0, Joined::len) + piece.len() > self.limit {
            self.object = None;
            self.skipping = self.depth > 0;
            return Some(Part::TooLarge);
        }
        match &mut self.object {
            Some(object) => object.push(&piece),
            object => *object = Some(Joined::new(piece)),
        }
        None
    }

    /// How much of `chunk` belongs to the object.
    fn follow(&mut self, chunk: &[u8]) -> usize {
        let mut at = 0;
        while let Some(rest) = chunk.get(at..).filter(|rest| !rest.is_empty()) {
            let found = match self.string {
                Text::Escaped => Some(0),
                Text::Inside => memchr2(b'"', b'\\', rest),
                Text::Outside => memchr3(b'"', b'{', b'}', rest),
            };
            let Some(found) = found else { break };
            at += found + 1;
            match (self.string, rest[found]) {
                (Text::Escaped, _) | (Text::Outside, b'"') => self.string = Text::Inside,
                (Text::Inside, b'\\') => self.string = Text::Escaped,
                (Text::Inside, _) => self.string = Text::Outside,
                (Text::Outside, b'{') => self.depth += 1,
                (Text::Outside, _) => {
                    self.depth -= 1;
                    if self.depth == 0 {
                        return at;
                    }
                }
            }
        }
        chunk.len()
    }
}
