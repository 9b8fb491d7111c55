//! Cohere's chat, version 2.

use super::{Grammar, finish, input, output};
use crate::usage::{
    members::{Count, Members, Node, Text},
    needles::watch,
};

/// What is billed is less than what was used: `billed_units` are no counts.
const USAGE: Node = Node::Object(&[
    (
        "tokens",
        Node::Object(&[
            ("input_tokens", Node::Count(Count::Input)),
            ("output_tokens", Node::Count(Count::Output)),
        ]),
    ),
    ("cached_tokens", Node::Count(Count::Cached)),
]);

const MEMBERS: Members = &[
    ("delta", Node::Object(&[("finish_reason", Node::Text(Text::Finish)), ("usage", USAGE)])),
    // The whole response.
    ("finish_reason", Node::Text(Text::Finish)),
    ("usage", USAGE),
];

pub(in crate::usage) static GRAMMAR: Grammar = Grammar {
    watch: watch!["message-end", "\"finish_reason\"", "\"usage\""],
    members: MEMBERS,
    finish,
    ends: |kind, _| kind == "message-end",
    ends_with_reason: false,
    input,
    output,
};
