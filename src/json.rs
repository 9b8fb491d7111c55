//! Reads JSON as it comes, token by token, in constant memory.
//!
//! The text may be cut anywhere: in a number, in an escape, between the halves of a surrogate pair. The same tokens come out,
//! but for the pieces in which strings are handed on. Nothing is held but a name, a number or a word, up to a limit; strings
//! of any size are searched for their end and are never copied.
//!
//! Reads by RFC 8259, except that
//! - a byte order mark may stand before the text, as section 8.1 allows a reader;
//! - `NaN`, `Infinity` and `-Infinity` are numbers, since Python's `json.dumps` writes them;
//! - a control character or a byte that is no UTF-8 may stand in a string, where it changes nothing;
//! - half a surrogate pair is read as U+FFFD;
//! - below 128 levels only brackets and strings are followed: there are no tokens, and nothing is checked.

mod nesting;
mod text;
mod token;
mod word;

#[cfg(test)]
mod tests;

use std::ops::Range;

pub(crate) use self::token::Token;
use self::{
    nesting::Nesting,
    text::{Characters, Text},
    word::Word,
};

const BYTE_ORDER_MARK: [u8; 3] = [0xef, 0xbb, 0xbf];

/// Reads one JSON text.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reader {
    state: State,
    nesting: Nesting,
    word: Word,
    text: Text,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// The outermost value has to come.
    #[default]
    Start,
    /// So many bytes of a byte order mark came.
    Mark(usize),
    /// A value has to come.
    Value,
    /// A value, or the end of the array.
    First,
    /// A name has to come.
    Name,
    /// A name, or the end of the object.
    FirstName,
    Colon,
    /// A comma, or the end of the container, or of the text.
    Behind,
    InName,
    InString,
    InWord,
    Deep,
    Broken,
}

/// A token, before it is known where its bytes are.
enum Step {
    Token(Token<'static>),
    /// The name is the word.
    Name,
    NameAt(Range<usize>),
    Piece(Range<usize>),
    Decoded,
}

impl Reader {
    /// Reads on in `text` from `at`, which moves behind what was read. `None`: all of it is read.
    ///
    /// With the token comes its depth, the number of objects and arrays that are open: with one that has just begun, without
    /// one that has just ended. A member of the outermost object has the depth 1.
    #[inline]
    pub(crate) fn next<'t>(
        &'t mut self,
        text: &'t [u8],
        at: &mut usize,
    ) -> Option<(usize, Token<'t>)> {
        let step = self.step(text, at)?;
        let token = match step {
            Step::Token(token) => token,
            Step::Name => Token::Name(self.word.get()),
            Step::NameAt(range) => Token::Name(&text[range]),
            Step::Piece(range) => Token::Piece(&text[range]),
            Step::Decoded => Token::Piece(self.text.decoded()),
        };
        Some((self.nesting.depth(), token))
    }

    #[cfg(any(feature = "usage", test))]
    /// Whether it was an object, an array or a string, valid and whole. A number alone has no end of its own.
    pub(crate) fn is_whole(&self) -> bool {
        self.state == State::Behind && self.nesting.depth() == 0
    }

    #[cfg(any(feature = "usage", test))]
    /// Begins with another text.
    pub(crate) fn clear(&mut self) {
        self.state = State::Start;
        self.nesting.clear();
        self.text.clear();
    }

    fn step(&mut self, text: &[u8], at: &mut usize) -> Option<Step> {
        loop {
            match self.state {
                State::InName => return self.name(text, at),
                State::InString => return self.string(text, at),
                State::InWord => return self.scalar(text, at),
                State::Deep => {
                    self.nesting.skip(text, at)?;
                    self.state = State::Behind;
                }
                State::Broken => return self.broken(text, at),
                _ => {}
            }
            let byte = *text.get(*at)?;
            *at += 1;
            match (self.state, byte) {
                (State::Mark(2), 0xbf) => self.state = State::Value,
                (State::Mark(seen), _) if byte == BYTE_ORDER_MARK[seen] => {
                    self.state = State::Mark(seen + 1);
                }
                (State::Mark(_), _) => self.state = State::Broken,
                (State::Start, 0xef) => self.state = State::Mark(1),
                (_, b' ' | b'\n' | b'\r' | b'\t') => {}
                (State::Start | State::Value | State::First, _) if self.value(byte, at) => {
                    if let (b'{' | b'[', false) = (byte, self.state == State::Deep) {
                        let object = byte == b'{';
                        return Some(Step::Token(if object {
                            Token::Object
                        } else {
                            Token::Array
                        }));
                    }
                }
                (State::Name | State::FirstName, b'"') => {
                    self.state = State::InName;
                    self.word.clear();
                }
                (State::Colon, b':') => self.state = State::Value,
                (State::Behind, b',') if self.nesting.depth() > 0 => {
                    self.state = if self.nesting.in_object() { State::Name } else { State::Value };
                }
                (State::FirstName | State::Behind, b'}') if self.nesting.in_object() => {
                    return Some(self.close());
                }
                (State::First | State::Behind, b']') if self.nesting.in_array() => {
                    return Some(self.close());
                }
                _ => self.state = State::Broken,
            }
        }
    }

    /// Begins a value, if that is what begins with this byte.
    #[inline]
    fn value(&mut self, byte: u8, at: &mut usize) -> bool {
        match byte {
            b'{' | b'[' => self.open(byte == b'{'),
            b'"' => self.state = State::InString,
            b'-' | b'0'..=b'9' | b'a'..=b'z' | b'N' | b'I' => {
                *at -= 1;
                self.state = State::InWord;
                self.word.clear();
            }
            _ => return false,
        }
        true
    }

    const fn open(&mut self, object: bool) {
        self.state = match (self.nesting.open(object), object) {
            (false, _) => State::Deep,
            (true, true) => State::FirstName,
            (true, false) => State::First,
        };
    }

    const fn close(&mut self) -> Step {
        self.nesting.close();
        self.state = State::Behind;
        Step::Token(Token::End)
    }

    const fn broken(&mut self, text: &[u8], at: &mut usize) -> Option<Step> {
        self.state = State::Broken;
        *at = text.len();
        None
    }

    fn name(&mut self, text: &[u8], at: &mut usize) -> Option<Step> {
        loop {
            match self.text.next(text, at)? {
                Characters::At(range) => {
                    if self.word.is_empty() && text.get(range.end) == Some(&b'"') {
                        *at += 1;
                        self.state = State::Colon;
                        let end = range.end.min(range.start + word::LONGEST);
                        return Some(Step::NameAt(range.start..end));
                    }
                    self.word.push(&text[range]);
                }
                Characters::Decoded => self.word.push(self.text.decoded()),
                Characters::End => {
                    self.state = State::Colon;
                    return Some(Step::Name);
                }
                Characters::Broken => return self.broken(text, at),
            }
        }
    }

    fn string(&mut self, text: &[u8], at: &mut usize) -> Option<Step> {
        match self.text.next(text, at)? {
            Characters::At(range) => Some(Step::Piece(range)),
            Characters::Decoded => Some(Step::Decoded),
            Characters::End => {
                self.state = State::Behind;
                Some(Step::Token(Token::String))
            }
            Characters::Broken => self.broken(text, at),
        }
    }

    fn scalar(&mut self, text: &[u8], at: &mut usize) -> Option<Step> {
        match self.word.scalar(text, at)? {
            Some(token) => {
                self.state = State::Behind;
                Some(Step::Token(token))
            }
            None => self.broken(text, at),
        }
    }
}
