//! Anthropic's Messages and what looks like them.

use super::{Grammar, finish, input_and_cache, output};
use crate::usage::{
    members::{Count, Members, Node, Text},
    needles::watch,
};

const USAGE: Node = Node::Object(&[
    ("input_tokens", Node::Count(Count::Input)),
    ("cache_read_input_tokens", Node::Count(Count::Cached)),
    ("cache_creation_input_tokens", Node::Count(Count::CacheWrite)),
    ("output_tokens", Node::Count(Count::Output)),
    ("output_tokens_details", Node::Object(&[("thinking_tokens", Node::Count(Count::Reasoning))])),
]);

/// `message_start`. Its output is a placeholder, no count.
pub(super) const STARTED: Node = Node::Object(&[
    ("model", Node::Text(Text::Model)),
    (
        "usage",
        Node::Object(&[
            ("input_tokens", Node::Count(Count::Input)),
            ("cache_read_input_tokens", Node::Count(Count::Cached)),
            ("cache_creation_input_tokens", Node::Count(Count::CacheWrite)),
        ]),
    ),
]);

/// Of `message_delta`, and of `content_block_delta`.
pub(super) const DELTA: Node = Node::Object(&[
    ("stop_reason", Node::Text(Text::Finish)),
    ("text", Node::Content),
    ("thinking", Node::Content),
    ("partial_json", Node::Content),
]);

const MEMBERS: Members = &[
    ("message", STARTED),
    ("delta", DELTA),
    ("usage", USAGE), // Of `message_delta`, or the whole message.
    ("model", Node::Text(Text::Model)),
    ("stop_reason", Node::Text(Text::Finish)),
];

pub(in crate::usage) static GRAMMAR: Grammar = Grammar {
    // The second is in `stop_reason` and `message_stop`: one search for both.
    watch: watch!["\"usage\"", "stop"],
    members: MEMBERS,
    finish,
    ends: |kind, _| kind == "message_stop",
    ends_with_reason: false,
    input: input_and_cache,
    output,
};
