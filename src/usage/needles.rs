//! Tells at the cost of a search whether events are worth reading.

use memchr::memmem::Finder;

/// What an event of interest has in its bytes, as everyone writes it, without escapes.
pub(super) struct Needles(Vec<Finder<'static>>);

impl Needles {
    /// One that begins with the quote of a JSON string is never found in the text of a model, where a quote is written with an
    /// escape.
    pub(super) fn new(needles: &[&'static str]) -> Self {
        Self(needles.iter().map(|needle| Finder::new(*needle)).collect())
    }

    /// Whether one of them is there, and is not the name of a `null` or of a `false` behind it on the same line.
    pub(super) fn are_in(&self, events: &[u8]) -> bool {
        self.0.iter().any(|needle| {
            let mut behind =
                needle.find_iter(events).map(|at| &events[at + needle.needle().len()..]);
            behind.any(|rest| {
                let value = value(rest).unwrap_or_default();
                !value.starts_with(b"null") && !value.starts_with(b"false")
            })
        })
    }
}

/// What follows the colon behind a name, if that is on the same line.
pub(super) fn value(behind: &[u8]) -> Option<&[u8]> {
    fn trimmed(text: &[u8]) -> &[u8] {
        let blank = text.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
        &text[blank..]
    }
    let behind = behind.strip_prefix(b"\"").unwrap_or(behind);
    trimmed(behind).strip_prefix(b":").map(trimmed)
}
