//! What has to be held: a name, a number, `true`, `false` or `null`.

use super::Token;

/// Bytes of a name, or of a number, that are held.
pub(super) const LONGEST: usize = 64;

/// The beginning of a text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Word {
    held: [u8; LONGEST],
    /// Bytes of the text; one more than are held if it is longer.
    length: usize,
}

impl Default for Word {
    fn default() -> Self {
        Self { held: [0; LONGEST], length: 0 }
    }
}

impl Word {
    #[inline]
    pub(super) const fn clear(&mut self) {
        self.length = 0;
    }

    #[inline]
    pub(super) const fn is_empty(&self) -> bool {
        self.length == 0
    }

    pub(super) fn push(&mut self, more: &[u8]) {
        let start = self.length.min(LONGEST);
        let taken = more.len().min(LONGEST - start);
        self.held[start..start + taken].copy_from_slice(&more[..taken]);
        self.length = self.length.saturating_add(more.len()).min(LONGEST + 1);
    }

    pub(super) fn get(&self) -> &[u8] {
        &self.held[..self.length.min(LONGEST)]
    }

    /// Reads on in what is no string. `None`: only what follows shows that it has ended. `Some(None)`: it is no value.
    #[inline]
    pub(super) fn scalar(&mut self, text: &[u8], at: &mut usize) -> Option<Option<Token<'static>>> {
        let rest = text.get(*at..)?;
        let inside = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'.');
        let length = rest.iter().position(|byte| !inside(byte));
        let (more, _) = rest.split_at(length.unwrap_or(rest.len()));
        *at += more.len();
        if length.is_some() && self.is_empty() && more.len() <= LONGEST {
            return Some(scalar(more));
        }
        self.push(more);
        length?;
        if self.length > LONGEST {
            let number = matches!(self.held[0], b'-' | b'0'..=b'9');
            return Some(number.then_some(Token::Number(None)));
        }
        Some(scalar(self.get()))
    }
}

fn scalar(word: &[u8]) -> Option<Token<'static>> {
    match word {
        b"true" => Some(Token::Bool(true)),
        b"false" => Some(Token::Bool(false)),
        b"null" => Some(Token::Null),
        b"NaN" | b"Infinity" | b"-Infinity" => Some(Token::Number(None)),
        word => is_number(word).then(|| Token::Number(whole_number(word))),
    }
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
    if word.len() < 20 && word.iter().all(u8::is_ascii_digit) {
        return Some(word.iter().fold(0, |number, digit| number * 10 + u64::from(digit - b'0')));
    }
    let text = std::str::from_utf8(word).ok()?;
    text.parse().ok().or_else(|| {
        // Some write whole numbers as `69.0`. Above 2^53 it would be another number.
        let number: f64 = text.parse().ok()?;
        let whole = number.fract() == 0.0 && (0.0..=9_007_199_254_740_992.0).contains(&number);
        whole.then_some(number as u64)
    })
}
