//! Google's Gemini.

use std::sync::LazyLock;

use super::{Grammar, finish};
use crate::usage::{
    members::{Count, Counts, Members, Node, Text},
    needles::Needles,
};

const MEMBERS: Members = &[
    ("modelVersion", Node::Text(Text::Model)),
    ("candidates", Node::Object(&[("finishReason", Node::Text(Text::Finish))])),
    // A prompt that was refused has no candidates.
    ("promptFeedback", Node::Object(&[("blockReason", Node::Text(Text::Finish))])),
    (
        "usageMetadata",
        Node::Object(&[
            ("promptTokenCount", Node::Count(Count::Input)),
            ("toolUsePromptTokenCount", Node::Count(Count::ToolInput)),
            ("cachedContentTokenCount", Node::Count(Count::Cached)),
            ("candidatesTokenCount", Node::Count(Count::Output)),
            ("thoughtsTokenCount", Node::Count(Count::Reasoning)),
        ]),
    ),
];

pub(in crate::usage) static GRAMMAR: Grammar = Grammar {
    needles: LazyLock::new(|| {
        Needles::new(&["\"usageMetadata\"", "\"finishReason\"", "\"blockReason\""])
    }),
    members: MEMBERS,
    finish,
    ends: |found| found.text(Text::Finish).is_some(),
    has_terminator: false,
    input: |counts| counts.sum(Count::Input, &[Count::ToolInput]),
    output,
};

/// Thoughts are outside of the candidates. A count of nought is left out, so thoughts alone are all output so far.
fn output(counts: &Counts) -> Option<u64> {
    counts.sum(Count::Output, &[Count::Reasoning]).or(counts.get(Count::Reasoning))
}
