//! OpenAI's chat completions and what looks like them; and what else of OpenAI's says what it cost.

use super::{Grammar, finish, input, output_and_thoughts};
use crate::usage::{
    members::{Count, Found, Members, Node, Text},
    needles::watch,
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
    // Images, transcriptions, speech.
    ("input_tokens", Node::Count(Count::Input)),
    ("output_tokens", Node::Count(Count::Output)),
    ("input_tokens_details", Node::Object(&[("cached_tokens", Node::Count(Count::Cached))])),
]);

/// What one of the answers says.
const DELTA: Node = Node::Object(&[
    ("content", Node::Content),
    ("reasoning_content", Node::Content),
    ("reasoning", Node::Content),
    ("refusal", Node::Content),
    ("tool_calls", Node::Content),
    ("function_call", Node::Content),
    ("audio", Node::Content),
]);

const MEMBERS: Members = &[
    ("model", Node::Text(Text::Model)),
    ("object", Node::Text(Text::Other)),
    (
        "choices",
        Node::Choice(&[
            ("index", Node::Index),
            ("delta", DELTA),
            ("text", Node::Content), // Of the older completions.
            ("finish_reason", Node::Text(Text::Finish)),
            ("usage", USAGE), // Moonshot.
        ]),
    ),
    ("usage", USAGE),
    ("x_groq", Node::Object(&[("usage", USAGE)])),
];

pub(in crate::usage) static GRAMMAR: Grammar = Grammar {
    watch: watch!["\"usage\"", "\"finish_reason\""],
    members: MEMBERS,
    finish,
    ends: |_, _| false, // It is `[DONE]`, which is no JSON.
    ends_with_reason: false,
    input,
    output: output_and_thoughts,
};

/// What is no chat says its usage once, with its last event; but a step of an assistant's run is not the run.
pub(in crate::usage) fn is_of_all(found: &Found) -> bool {
    found.text(Text::Other) != Some("thread.run.step")
}
