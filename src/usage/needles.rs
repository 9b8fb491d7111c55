//! Tells at the cost of one search whether events are worth reading.

use std::sync::OnceLock;

use aho_corasick::{AhoCorasick, MatchKind};

/// What an event of interest has in its bytes, as everyone writes it, without escapes.
pub(super) struct Needles {
    words: &'static [&'static str],
    /// `None`: it could not be built, and everything is of interest.
    search: OnceLock<Option<AhoCorasick>>,
}

impl Needles {
    /// One that begins with the quote of a JSON string is never found in the text of a model, where a quote is written with an
    /// escape. None may begin as another one ends, but for that quote.
    pub(super) const fn new(words: &'static [&'static str]) -> Self {
        Self { words, search: OnceLock::new() }
    }

    /// Whether one of them is there, and is not the name of a `null` or of a `false` behind it on the same line.
    pub(super) fn are_in(&self, events: &[u8]) -> bool {
        self.any(events, |_, behind| is_said(behind))
    }

    /// Whether one of them is there that is of interest with what stands behind it.
    pub(super) fn any(
        &self,
        events: &[u8],
        mut of_interest: impl FnMut(&str, &[u8]) -> bool,
    ) -> bool {
        let build =
            || AhoCorasick::builder().match_kind(MatchKind::LeftmostFirst).build(self.words);
        let Some(search) = self.search.get_or_init(|| build().ok()) else { return true };
        search.find_iter(events).any(|found| {
            of_interest(self.words[found.pattern().as_usize()], &events[found.end()..])
        })
    }
}

/// What is searched for in a dialect.
pub(super) struct Watch {
    /// As long as the model or the first answer is not known.
    pub(super) early: Needles,
    pub(super) late: Needles,
}

pub(super) const INDEX: &str = "\"index\"";
pub(super) const MODEL: &str = "\"model\"";
pub(super) const MODEL_VERSION: &str = "\"modelVersion\"";
pub(super) const CHOICES: &str = "\"choices\"";
pub(super) const CANDIDATES: &str = "\"candidates\"";

/// What tells a failure or an end in any dialect, and what any letter of a name may be written as.
pub(super) static ANY: Needles = Needles::new(&["error", "response.failed", "[DONE]", "\\u00"]);

/// What is searched for in any dialect, and these words of one.
macro_rules! watch {
    ($($word:literal),* $(,)?) => {{
        use $crate::usage::needles::{CANDIDATES, CHOICES, INDEX, MODEL, MODEL_VERSION, Needles, Watch};
        const EARLY: &[&str] = &[
            $($word,)* "error", "response.failed", "[DONE]", "\\u00", INDEX,
            MODEL, MODEL_VERSION, CHOICES, CANDIDATES,
        ];
        const LATE: &[&str] = EARLY.split_at(EARLY.len() - 4).0;
        Watch { early: Needles::new(EARLY), late: Needles::new(LATE) }
    }};
}
pub(super) use watch;

/// Whether what stands behind a needle is not the `null` or the `false` of a member of this name.
pub(super) fn is_said(behind: &[u8]) -> bool {
    let value = value(behind).unwrap_or_default();
    !value.starts_with(b"null") && !value.starts_with(b"false")
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
