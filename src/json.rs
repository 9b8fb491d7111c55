//! Reads JSON as it comes, token by token, in constant memory.
//!
//! The text may be cut anywhere: in a number, in an escape, between the halves of a surrogate pair. The same tokens come out,
//! but for the pieces in which strings are handed on. Nothing is held but a name, a number or a word, up to a limit; strings
//! of any size are searched for their end and are never copied.
//!
//! Reads by RFC 8259, except that
//! - a control character or a byte that is no UTF-8 may stand in a string, where it changes nothing;
//! - half a surrogate pair is read as U+FFFD;
//! - below 128 levels only brackets and strings are followed: there are no tokens, and nothing is checked.

#[cfg(test)]
mod tests;

use std::ops::Range;

use memchr::memchr2;

/// Containers that are told apart: one bit for each.
const DEPTH: usize = 128;

/// Bytes of a name, or of a number, that are held.
const WORD: usize = 64;

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Token<'t> {
    /// An object begins.
    Object,
    /// An array begins.
    Array,
    /// The innermost object or array ends.
    End,
    /// The name of a member, without escapes. Of a longer one the first 64 bytes.
    Name(&'t [u8]),
    /// Some of a string that is a value, without escapes. Perhaps only a part of a character.
    Piece(&'t [u8]),
    /// A string that is a value ends. Its pieces came before.
    String,
    /// A number; `None` if it is no whole one, negative, or has more than 64 bytes.
    Number(Option<u64>),
    Bool(bool),
    Null,
}

/// Reads one JSON text.
#[derive(Clone, Debug)]
pub(crate) struct Reader {
    state: State,
    depth: usize,
    /// Which of the containers are objects.
    objects: u128,
    /// Containers below those.
    deeper: u64,
    word: [u8; WORD],
    /// Bytes of the word; one more than it holds if it is longer.
    length: usize,
    escape: Escape,
    /// The first half of a surrogate pair.
    high: Option<u32>,
    /// What an escape stands for.
    decoded: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
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
    DeepString,
    DeepEscape,
    Broken,
}

#[derive(Clone, Copy, Debug)]
enum Escape {
    None,
    Begun,
    /// Digits that are missing, and what those before stand for.
    Hex(u8, u32),
}

/// A token, before it is known where its bytes are.
enum Step {
    Token(Token<'static>),
    Name,
    Piece(Range<usize>),
    Decoded,
}

impl Default for Reader {
    fn default() -> Self {
        Self {
            state: State::Value,
            depth: 0,
            objects: 0,
            deeper: 0,
            word: [0; WORD],
            length: 0,
            escape: Escape::None,
            high: None,
            decoded: String::new(),
        }
    }
}

impl Reader {
    /// Reads on in `text` from `at`, which moves behind what was read. `None`: all of it is read.
    ///
    /// With the token comes its depth, the number of objects and arrays that are open: with one that has just begun, without
    /// one that has just ended. A member of the outermost object has the depth 1.
    pub(crate) fn next<'t>(
        &'t mut self,
        text: &'t [u8],
        at: &mut usize,
    ) -> Option<(usize, Token<'t>)> {
        let step = self.step(text, at)?;
        let token = match step {
            Step::Token(token) => token,
            Step::Name => Token::Name(self.word()),
            Step::Piece(range) => Token::Piece(&text[range]),
            Step::Decoded => Token::Piece(self.decoded.as_bytes()),
        };
        Some((self.depth, token))
    }

    /// Whether it was an object, an array or a string, valid and whole. A number alone has no end of its own.
    pub(crate) fn is_whole(&self) -> bool {
        self.state == State::Behind && self.depth == 0
    }

    /// Begins with another text.
    pub(crate) fn clear(&mut self) {
        (self.state, self.depth, self.deeper) = (State::Value, 0, 0);
        (self.length, self.escape, self.high) = (0, Escape::None, None);
    }

    fn step(&mut self, text: &[u8], at: &mut usize) -> Option<Step> {
        loop {
            match self.state {
                State::InName | State::InString => return self.string(text, at),
                State::InWord => return self.scalar(text, at).map(Step::Token),
                State::Deep | State::DeepString | State::DeepEscape => self.skip(text, at)?,
                State::Broken => {
                    *at = text.len();
                    return None;
                }
                _ => {}
            }
            let byte = *text.get(*at)?;
            *at += 1;
            match (self.state, byte) {
                (_, b' ' | b'\n' | b'\r' | b'\t') => {}
                (State::Value | State::First, b'{' | b'[') => {
                    if let Some(token) = self.open(byte == b'{') {
                        return Some(Step::Token(token));
                    }
                }
                (State::Value | State::First, b'"') => self.state = State::InString,
                (State::Value | State::First, b'-' | b'0'..=b'9' | b'a'..=b'z') => {
                    *at -= 1;
                    (self.state, self.length) = (State::InWord, 0);
                }
                (State::Name | State::FirstName, b'"') => {
                    (self.state, self.length) = (State::InName, 0);
                }
                (State::Colon, b':') => self.state = State::Value,
                (State::Behind, b',') if self.depth > 0 => {
                    self.state = if self.in_object() { State::Name } else { State::Value };
                }
                (State::FirstName | State::Behind, b'}') if self.in_object() => {
                    return Some(self.close());
                }
                (State::First | State::Behind, b']') if self.depth > 0 && !self.in_object() => {
                    return Some(self.close());
                }
                _ => self.state = State::Broken,
            }
        }
    }

    const fn in_object(&self) -> bool {
        self.depth > 0 && self.objects & (1 << (self.depth - 1)) != 0
    }

    const fn open(&mut self, object: bool) -> Option<Token<'static>> {
        if self.depth == DEPTH {
            (self.state, self.deeper) = (State::Deep, 1);
            return None;
        }
        let bit = 1 << self.depth;
        self.depth += 1;
        if object {
            self.objects |= bit;
            self.state = State::FirstName;
            Some(Token::Object)
        } else {
            self.objects &= !bit;
            self.state = State::First;
            Some(Token::Array)
        }
    }

    const fn close(&mut self) -> Step {
        self.depth -= 1;
        self.state = State::Behind;
        Step::Token(Token::End)
    }

    /// Reads over what is too deep, up to the end of it.
    fn skip(&mut self, text: &[u8], at: &mut usize) -> Option<()> {
        while self.deeper > 0 {
            let byte = *text.get(*at)?;
            *at += 1;
            self.state = match (self.state, byte) {
                (State::DeepString, b'\\') => State::DeepEscape,
                (State::Deep, b'"') | (State::DeepEscape, _) => State::DeepString,
                (State::DeepString, b'"') => State::Deep,
                (state, _) => state,
            };
            match (self.state, byte) {
                (State::Deep, b'{' | b'[') => self.deeper += 1,
                (State::Deep, b'}' | b']') => self.deeper -= 1,
                _ => {}
            }
        }
        self.state = State::Behind;
        Some(())
    }

    fn string(&mut self, text: &[u8], at: &mut usize) -> Option<Step> {
        loop {
            let step = self.characters(text, at)?;
            if self.state == State::InString {
                if matches!(step, Step::Token(_)) {
                    self.state = State::Behind;
                }
                return Some(step);
            }
            match step {
                Step::Piece(range) => extend(&mut self.word, &mut self.length, &text[range]),
                Step::Decoded => {
                    extend(&mut self.word, &mut self.length, self.decoded.as_bytes());
                }
                Step::Token(_) | Step::Name => {
                    self.state = State::Colon;
                    return Some(Step::Name);
                }
            }
        }
    }

    /// Reads on in a string: a piece of it, or its end.
    fn characters(&mut self, text: &[u8], at: &mut usize) -> Option<Step> {
        loop {
            let rest = text.get(*at..).filter(|rest| !rest.is_empty())?;
            let code = match self.escape {
                Escape::None if rest[0] == b'\\' => {
                    *at += 1;
                    self.escape = Escape::Begun;
                    continue;
                }
                Escape::None => {
                    if self.high.take().is_some() {
                        self.decoded.clear();
                        self.decoded.push(char::REPLACEMENT_CHARACTER);
                        return Some(Step::Decoded);
                    }
                    if rest[0] == b'"' {
                        *at += 1;
                        return Some(Step::Token(Token::String));
                    }
                    let start = *at;
                    *at += memchr2(b'"', b'\\', rest).unwrap_or(rest.len());
                    return Some(Step::Piece(start..*at));
                }
                Escape::Begun => match rest[0] {
                    b'u' => {
                        *at += 1;
                        self.escape = Escape::Hex(4, 0);
                        continue;
                    }
                    byte => escaped(byte),
                },
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
            let Some(code) = code else {
                self.state = State::Broken;
                *at = text.len();
                return None;
            };
            *at += 1;
            self.escape = Escape::None;
            if self.decode(code) {
                return Some(Step::Decoded);
            }
        }
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

    /// A number, `true`, `false` or `null`. Only what follows shows that it has ended.
    fn scalar(&mut self, text: &[u8], at: &mut usize) -> Option<Token<'static>> {
        let rest = text.get(*at..)?;
        let inside = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'.');
        let length = rest.iter().position(|byte| !inside(byte));
        let more = length.unwrap_or(rest.len());
        *at += more;
        extend(&mut self.word, &mut self.length, &rest[..more]);
        length?;
        self.state = State::Behind;
        let token = match self.word() {
            b"true" => Some(Token::Bool(true)),
            b"false" => Some(Token::Bool(false)),
            b"null" => Some(Token::Null),
            word if self.length > WORD => {
                matches!(word[0], b'-' | b'0'..=b'9').then_some(Token::Number(None))
            }
            word => is_number(word).then(|| Token::Number(whole_number(word))),
        };
        if token.is_none() {
            self.state = State::Broken;
            *at = text.len();
        }
        token
    }

    fn word(&self) -> &[u8] {
        &self.word[..self.length.min(WORD)]
    }
}

fn extend(word: &mut [u8; WORD], length: &mut usize, more: &[u8]) {
    let start = (*length).min(WORD);
    let taken = more.len().min(WORD - start);
    word[start..start + taken].copy_from_slice(&more[..taken]);
    *length = length.saturating_add(more.len()).min(WORD + 1);
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

fn is_number(word: &[u8]) -> bool {
    fn digits(word: &[u8]) -> (usize, &[u8]) {
        let digits = word.iter().take_while(|byte| byte.is_ascii_digit()).count();
        (digits, &word[digits..])
    }
    let word = word.strip_prefix(b"-").unwrap_or(word);
    let (whole, mut rest) = digits(word);
    let mut valid = whole == 1 || (whole > 1 && word[0] != b'0');
    if let [b'.', fraction @ ..] = rest {
        let (fraction, behind) = digits(fraction);
        valid &= fraction > 0;
        rest = behind;
    }
    if let [b'e' | b'E', exponent @ ..] = rest {
        let signed = matches!(exponent, [b'-' | b'+', ..]);
        let (exponent, behind) = digits(&exponent[usize::from(signed)..]);
        valid &= exponent > 0;
        rest = behind;
    }
    valid && rest.is_empty()
}

fn whole_number(word: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(word).ok()?;
    text.parse().ok().or_else(|| {
        // Some write whole numbers as `69.0`. Above 2^53 it would be another number.
        let number: f64 = text.parse().ok()?;
        let whole = number.fract() == 0.0 && (0.0..=9_007_199_254_740_992.0).contains(&number);
        whole.then_some(number as u64)
    })
}
