//! Reads the members of the outermost object of a JSON text that comes in pieces, in constant memory.

use memchr::memchr2;

/// Finds the members of the outermost object, and no others. What is no object has none; a broken one has those before the
/// break.
#[derive(Debug, Default)]
pub(super) struct TopLevel {
    state: State,
    name: Word<16>,
    value: Word<8>,
}

#[derive(Clone, Copy, Debug, Default)]
enum State {
    #[default]
    Start,
    /// Before a name.
    Member,
    Name,
    /// Behind a backslash in a name.
    NameEscape,
    /// In the four digits of an escape: how many are left, and what they say so far.
    NameCode(u8, u32),
    Colon,
    Value,
    /// In a number, or `true`, `false` or `null`.
    Literal,
    /// In a string, in so many objects and arrays, and whether behind a backslash.
    Text(usize, bool),
    /// In so many objects and arrays.
    Nested(usize),
    /// Behind a value.
    Behind,
    /// There is nothing more to find.
    Over,
}

impl TopLevel {
    /// Reads on. `found` is called with the name of each member, its escapes resolved, and with its value: a number, `true`,
    /// `false` or `null` at its end, the first character of any other. Of a long name or value only so much is kept that it
    /// is none of those that are looked for.
    pub(super) fn feed(&mut self, mut json: &[u8], mut found: impl FnMut(&[u8], &[u8])) {
        while let Some((&byte, rest)) = json.split_first() {
            let blank = matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
            self.state = match self.state {
                State::Over => return,
                State::Start | State::Member | State::Colon | State::Value | State::Behind
                    if blank =>
                {
                    self.state
                }
                State::Start if byte == b'{' => State::Member,
                State::Member if byte == b'"' => {
                    self.name.clear();
                    State::Name
                }
                State::Colon if byte == b':' => State::Value,
                State::Behind if byte == b',' => State::Member,
                State::Start | State::Member | State::Colon | State::Behind => State::Over,

                State::Name => {
                    let Some(end) = memchr2(b'"', b'\\', json) else {
                        self.name.push(json);
                        return;
                    };
                    let (name, rest) = json.split_at(end);
                    self.name.push(name);
                    let escaped = rest.first() == Some(&b'\\');
                    self.state = if escaped { State::NameEscape } else { State::Colon };
                    json = &rest[1..];
                    continue;
                }
                State::NameEscape if byte == b'u' => State::NameCode(4, 0),
                State::NameEscape => {
                    // No name that is looked for has a control character.
                    self.name.push(&[if byte.is_ascii_alphabetic() { 0 } else { byte }]);
                    State::Name
                }
                State::NameCode(left, code) => match char::from(byte).to_digit(16) {
                    None => State::Over,
                    Some(digit) if left > 1 => State::NameCode(left - 1, code * 16 + digit),
                    Some(digit) => {
                        // Nor one that is not ASCII.
                        self.name.push(&[u8::try_from(code * 16 + digit).unwrap_or(u8::MAX)]);
                        State::Name
                    }
                },

                State::Value => {
                    self.value.clear();
                    self.value.push(&[byte]);
                    let text = byte == b'"';
                    if text || byte == b'{' || byte == b'[' {
                        found(self.name.get(), self.value.get());
                    }
                    match byte {
                        b'"' => State::Text(0, false),
                        b'{' | b'[' => State::Nested(1),
                        _ => State::Literal,
                    }
                }
                State::Literal if blank || matches!(byte, b',' | b'}' | b']') => {
                    found(self.name.get(), self.value.get());
                    self.state = State::Behind;
                    continue; // It is looked at once more.
                }
                State::Literal => {
                    self.value.push(&[byte]);
                    State::Literal
                }

                State::Text(depth, true) => State::Text(depth, false),
                State::Text(depth, false) => {
                    let Some(end) = memchr2(b'"', b'\\', json) else { return };
                    self.state = match json[end] {
                        b'\\' => State::Text(depth, true),
                        _ if depth > 0 => State::Nested(depth),
                        _ => State::Behind,
                    };
                    json = &json[end + 1..];
                    continue;
                }
                State::Nested(depth) => match byte {
                    b'"' => State::Text(depth, false),
                    b'{' | b'[' => State::Nested(depth + 1),
                    b'}' | b']' if depth == 1 => State::Behind,
                    b'}' | b']' => State::Nested(depth - 1),
                    _ => State::Nested(depth),
                },
            };
            json = rest;
        }
    }
}

/// The beginning of a name or a value, and whether there was more.
#[derive(Debug)]
struct Word<const N: usize> {
    bytes: [u8; N],
    length: usize,
}

impl<const N: usize> Word<N> {
    fn clear(&mut self) {
        self.length = 0;
    }

    fn push(&mut self, more: &[u8]) {
        let more = &more[..more.len().min(N - self.length)];
        self.bytes[self.length..][..more.len()].copy_from_slice(more);
        self.length += more.len();
    }

    fn get(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl<const N: usize> Default for Word<N> {
    fn default() -> Self {
        Self { bytes: [0; N], length: 0 }
    }
}
