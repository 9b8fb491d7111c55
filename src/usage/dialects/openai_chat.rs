//! OpenAI's chat completions and what looks like them.

use std::sync::LazyLock;

use super::{Grammar, finish, input};
use crate::usage::{
    members::{Count, Counts, Members, Node, Text},
    needles::Needles,
};

const USAGE: Node = Node::Object(&[
    ("prompt_tokens", Node::Count(Count::Input)),
    ("completion_tokens", Node::Count(Count::Output)),
    ("total_tokens", Node::Count(Count::Total)),
    ("cached_tokens", Node::Count(Count::Cached)), // Moonshot.
    ("prompt_cache_hit_tokens", Node::Count(Count::Cached)), // DeepSeek.
    (
        "prompt_tokens_details",
        Node::Object(&[
            ("cached_tokens", Node::Count(Count::Cached)),
            ("cache_write_tokens", Node::Count(Count::CacheWrite)), // OpenRouter.
        ]),
    ),
    (
        "completion_tokens_details",
        Node::Object(&[("reasoning_tokens", Node::Count(Count::Reasoning))]),
    ),
]);

const MEMBERS: Members = &[
    ("model", Node::Text(Text::Model)),
    (
        "choices",
        Node::Object(&[
            ("finish_reason", Node::Text(Text::Finish)),
            ("usage", USAGE), // Moonshot.
        ]),
    ),
    ("usage", USAGE),
    ("x_groq", Node::Object(&[("usage", USAGE)])),
];

pub(in crate::usage) static GRAMMAR: Grammar = Grammar {
    needles: LazyLock::new(|| Needles::new(&["\"usage\"", "\"finish_reason\""])),
    members: MEMBERS,
    finish,
    ends: |_| false, // It is `[DONE]`, which is no JSON.
    has_terminator: true,
    input,
    output,
};

/// xAI leaves thoughts out of the completion, and its total says so.
fn output(counts: &Counts) -> Option<u64> {
    let apart = counts.sum(Count::Input, &[Count::Output, Count::Reasoning]);
    if counts.get(Count::Reasoning) > Some(0) && counts.get(Count::Total) == apart {
        counts.sum(Count::Output, &[Count::Reasoning])
    } else {
        counts.get(Count::Output)
    }
}
