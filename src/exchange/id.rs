//! The id of an exchange.

use std::{
    fmt,
    hash::{BuildHasher, RandomState},
};

/// Names an exchange, in headers, logs and databases. `Display` gives 32 lower-case hexadecimal digits.
///
/// It is 128 random bits: it tells nobody how many exchanges there are, and nobody guesses that of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ExchangeId(u128);

impl ExchangeId {
    pub(crate) fn random() -> Self {
        let mut bytes = [0; 16];
        if getrandom::fill(&mut bytes).is_err() {
            // A system that gives none gave std its keys at the start: unique, if not as hard to guess.
            let [low, high] = [(); 2].map(|()| RandomState::new().hash_one(()).to_ne_bytes());
            bytes[..8].copy_from_slice(&low);
            bytes[8..].copy_from_slice(&high);
        }
        Self(u128::from_ne_bytes(bytes))
    }
}

impl fmt::Display for ExchangeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}
