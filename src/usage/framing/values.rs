//! Reads JSON that is one object, or an array of them.

use memchr::{memchr, memchr2, memchr3};

use super::Part;

/// Finds objects by their braces and strings and nothing else, so that one that is broken is not the end of the others.
#[derive(Debug)]
pub(in crate::usage) struct Values {
    /// Braces that are open.
    depth: u64,
    string: Text,
    /// `None`: nothing has begun yet.
    array: Option<bool>,
    /// The last brace was closed.
    ended: bool,
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
    pub(super) const fn new() -> Self {
        Self { depth: 0, string: Text::Outside, array: None, ended: false }
    }

    pub(super) const fn in_array(&self) -> bool {
        matches!(self.array, Some(true))
    }

    pub(super) fn next(&mut self, chunk: &[u8], at: &mut usize) -> Option<Part> {
        if std::mem::take(&mut self.ended) {
            return Some(Part::End);
        }
        let rest = chunk.get(*at..)?;
        if self.depth == 0 {
            let start = memchr(b'{', rest);
            let before = &rest[..start.unwrap_or(rest.len())];
            if self.array.is_none() {
                let array = before.contains(&b'[');
                self.array = (array || start.is_some()).then_some(array);
            }
            *at += before.len();
        }
        let start = *at;
        *at += self.follow(chunk.get(start..)?);
        (start < *at).then_some(Part::Text(start..*at))
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
                        self.ended = true;
                        return at;
                    }
                }
            }
        }
        chunk.len()
    }
}
