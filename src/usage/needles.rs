//! Tells at the cost of a search whether an event is worth parsing.

use memchr::memmem::Finder;

/// What an event of interest has.
pub(super) struct Needles(Vec<Finder<'static>>);

impl Needles {
    /// Each of them begins with the quote of a JSON string, so that the text of a model is never taken for one: a quote
    /// inside of a string is written with an escape.
    pub(super) fn new(needles: &[&'static str]) -> Self {
        Self(needles.iter().map(|needle| Finder::new(*needle)).collect())
    }

    /// Whether one of them is there, and is not the name of a `null` or of a `false`.
    pub(super) fn are_in(&self, json: &[u8]) -> bool {
        self.0.iter().any(|needle| {
            let length = needle.needle().len();
            let mut rest = json;
            while let Some(at) = needle.find(rest) {
                rest = &rest[at + length..];
                let value = rest.trim_ascii_start().strip_prefix(b":").unwrap_or_default();
                let value = value.trim_ascii_start();
                if !value.starts_with(b"null") && !value.starts_with(b"false") {
                    return true;
                }
            }
            false
        })
    }
}
