//! The characters of a string.

use std::ops::Range;

use memchr::memchr2;

/// Reads a string behind its first quote.
#[derive(Clone, Debug, Default)]
pub(super) struct Text {
    escape: Escape,
    /// The first half of a surrogate pair.
    high: Option<u32>,
    /// What an escape stands for.
    decoded: String,
}

#[derive(Clone, Copy, Debug, Default)]
enum Escape {
    #[default]
    None,
    Begun,
    /// Digits that are missing, and what those before stand for.
    Hex(u8, u32),
}

/// What comes next of it.
pub(super) enum Characters {
    /// As they stand there.
    At(Range<usize>),
    /// What an escape stands for.
    Decoded,
    /// The last quote.
    End,
    /// No such escape.
    Broken,
}

impl Text {
    #[inline]
    pub(super) fn decoded(&self) -> &[u8] {
        self.decoded.as_bytes()
    }

    #[cfg(any(feature = "usage", test))]
    pub(super) const fn clear(&mut self) {
        (self.escape, self.high) = (Escape::None, None);
    }

    /// Reads on.
    #[inline]
    pub(super) fn next(&mut self, text: &[u8], at: &mut usize) -> Option<Characters> {
        loop {
            let rest = text.get(*at..).filter(|rest| !rest.is_empty())?;
            let code = match self.escape {
                Escape::None if rest[0] == b'\\' => {
                    *at += 1;
                    self.escape = Escape::Begun;
                    continue;
                }
                Escape::None => return Some(self.plain(rest, at)),
                Escape::Begun if rest[0] == b'u' => {
                    *at += 1;
                    self.escape = Escape::Hex(4, 0);
                    continue;
                }
                Escape::Begun => escaped(rest[0]),
                Escape::Hex(missing, before) => {
                    let code = char::from(rest[0]).to_digit(16).map(|digit| before << 4 | digit);
                    if let (Some(code), true) = (code, missing > 1) {
                        *at += 1;
                        self.escape = Escape::Hex(missing - 1, code);
                        continue;
                    }
                    code
                }
            };
            let Some(code) = code else { return Some(Characters::Broken) };
            *at += 1;
            self.escape = Escape::None;
            if self.decode(code) {
                return Some(Characters::Decoded);
            }
        }
    }

    /// Reads on where no escape is.
    fn plain(&mut self, rest: &[u8], at: &mut usize) -> Characters {
        if self.high.take().is_some() {
            self.decoded.clear();
            self.decoded.push(char::REPLACEMENT_CHARACTER);
            return Characters::Decoded;
        }
        if rest[0] == b'"' {
            *at += 1;
            return Characters::End;
        }
        let start = *at;
        *at += memchr2(b'"', b'\\', rest).unwrap_or(rest.len());
        Characters::At(start..*at)
    }

    /// Takes a UTF-16 code unit, and returns whether there is a character now.
    fn decode(&mut self, unit: u32) -> bool {
        self.decoded.clear();
        let mut code = unit;
        if let Some(high) = self.high.take() {
            if (0xdc00..0xe000).contains(&unit) {
                code = 0x10000 + ((high - 0xd800) << 10) + (unit - 0xdc00);
            } else {
                self.decoded.push(char::REPLACEMENT_CHARACTER);
            }
        }
        if (0xd800..0xdc00).contains(&code) {
            self.high = Some(code);
        } else {
            self.decoded.push(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
        }
        !self.decoded.is_empty()
    }
}

/// What a letter behind a backslash stands for.
fn escaped(letter: u8) -> Option<u32> {
    Some(u32::from(match letter {
        b'"' | b'\\' | b'/' => letter,
        b'b' => 8,
        b'f' => 12,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        _ => return None,
    }))
}
