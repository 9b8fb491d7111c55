//! What an event says, or a response that is no stream: read while its bytes come, whatever its size.
//!
//! Its JSON goes through one [reader](crate::json), and the tokens to those who look for something: for the signs of a dialect
//! and of an error, and for what the dialect says where. None of them holds more than a few names and texts, so that nothing
//! has to be skipped for its size; and none of them sees where the bytes were cut.

use super::{
    Dialect,
    dialect::{CERTAIN_SIGNS, SIGNS},
    extract::Extractor,
    members::Found,
};
use crate::json::Reader;

#[derive(Debug)]
pub(super) struct Event {
    json: Reader,
    signs: Extractor,
    /// One for the dialect; one for each, as long as it is not certain.
    dialects: Vec<(Dialect, Extractor)>,
    done: Done,
}

impl Event {
    pub(super) fn new() -> Self {
        Self {
            json: Reader::default(),
            signs: Extractor::new(SIGNS),
            dialects: vec![],
            done: Done::default(),
        }
    }

    /// Takes the next event for one of this dialect; of any, unless that is certain.
    pub(super) fn expect(&mut self, dialect: Option<Dialect>, certain: bool) {
        self.signs.look_for(if certain { CERTAIN_SIGNS } else { SIGNS });
        let expected = if certain { dialect.as_slice() } else { &Dialect::ALL };
        if !self.dialects.iter().map(|(dialect, _)| dialect).eq(expected) {
            let extractor = |dialect: &Dialect| Extractor::new(dialect.grammar().members);
            self.dialects = expected.iter().map(|dialect| (*dialect, extractor(dialect))).collect();
        }
    }

    /// Reads on.
    pub(super) fn text(&mut self, text: &[u8]) {
        self.done.text(text);
        let mut at = 0;
        while let Some((depth, token)) = self.json.next(text, &mut at) {
            self.signs.token(token, depth);
            for (_, extractor) in &mut self.dialects {
                extractor.token(token, depth);
            }
        }
    }

    /// Whether it is JSON: an object or an array, valid and whole.
    pub(super) fn is_whole(&self) -> bool {
        self.json.is_whole()
    }

    /// Whether it is the end of OpenAI's streams, which is no JSON.
    pub(super) const fn is_done(&self) -> bool {
        self.done.matched == DONE.len() && !self.done.other
    }

    /// The signs that were found so far, whether it is whole or not.
    pub(super) const fn signs(&self) -> &Found {
        self.signs.found()
    }

    /// What it says as one of this dialect. `None`: it is not whole.
    pub(super) fn found(&self, dialect: Dialect) -> Option<&Found> {
        let extractor = self.dialects.iter().find(|(known, _)| *known == dialect);
        extractor.filter(|_| self.is_whole()).map(|(_, extractor)| extractor.found())
    }

    /// Begins with another one.
    pub(super) fn clear(&mut self) {
        self.json.clear();
        self.signs.clear();
        self.dialects.iter_mut().for_each(|(_, extractor)| extractor.clear());
        self.done = Done::default();
    }
}

const DONE: &[u8] = b"[DONE]";

/// Looks whether a text is that, but for white space around it.
#[derive(Debug, Default)]
struct Done {
    matched: usize,
    other: bool,
}

impl Done {
    fn text(&mut self, text: &[u8]) {
        for byte in text {
            if self.other {
                return;
            }
            let around = [0, DONE.len()].contains(&self.matched) && byte.is_ascii_whitespace();
            if DONE.get(self.matched) == Some(byte) {
                self.matched += 1;
            } else if !around {
                self.other = true;
            }
        }
    }
}
