//! Google's Gemini.

use super::{Grammar, finish};
use crate::usage::{
    members::{Count, Counts, Members, Node, Text},
    needles::watch,
};

const MEMBERS: Members = &[
    ("modelVersion", Node::Text(Text::Model)),
    (
        "candidates",
        Node::Choice(&[
            ("index", Node::Index),
            ("finishReason", Node::Text(Text::Finish)),
            ("content", Node::Object(&[("parts", Node::Object(PART))])),
        ]),
    ),
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

const PART: Members = &[
    ("text", Node::Content),
    ("functionCall", Node::Content),
    ("inlineData", Node::Content),
    ("fileData", Node::Content),
    ("executableCode", Node::Content),
    ("codeExecutionResult", Node::Content),
];

pub(in crate::usage) static GRAMMAR: Grammar = Grammar {
    watch: watch!["\"usageMetadata\"", "\"finishReason\"", "\"blockReason\""],
    members: MEMBERS,
    finish,
    ends: |_, _| false, // Usage may follow the reason, and old models give one with every chunk.
    ends_with_reason: true,
    input: |counts| counts.sum(Count::Input, &[Count::ToolInput]),
    output,
};

/// Thoughts are outside of the candidates. A count of nought is left out, so thoughts alone are all output so far.
fn output(counts: &Counts) -> Option<u64> {
    counts.sum(Count::Output, &[Count::Reasoning]).or(counts.get(Count::Reasoning))
}
