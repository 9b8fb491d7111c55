//! OpenAI's Responses.

use super::{Grammar, input, output_and_thoughts};
use crate::usage::{
    members::{Count, Found, Members, Node, Text},
    needles::watch,
};

const USAGE: Node = Node::Object(&[
    ("input_tokens", Node::Count(Count::Input)),
    ("output_tokens", Node::Count(Count::Output)),
    ("total_tokens", Node::Count(Count::Total)),
    ("input_tokens_details", Node::Object(&[("cached_tokens", Node::Count(Count::Cached))])),
    ("output_tokens_details", Node::Object(&[("reasoning_tokens", Node::Count(Count::Reasoning))])),
]);

const REASON: Node = Node::Object(&[("reason", Node::Text(Text::Finish))]);

const MEMBERS: Members = &[
    ("response", Node::Object(RESPONSE)),
    // The whole response.
    ("model", Node::Text(Text::Model)),
    ("status", Node::Text(Text::Other)),
    ("incomplete_details", REASON),
    ("usage", USAGE),
];

const RESPONSE: Members = &[
    ("model", Node::Text(Text::Model)),
    ("status", Node::Text(Text::Other)),
    ("incomplete_details", REASON),
    ("usage", USAGE),
];

pub(in crate::usage) static GRAMMAR: Grammar = Grammar {
    // Only the first events and the last have a response in them.
    watch: watch![
        "\"response\"",
        "response.completed",
        "response.incomplete",
        "response.cancelled",
        "\"status\"",
        "\"incomplete_details\"",
        "\"usage\"",
    ],
    members: MEMBERS,
    finish,
    ends,
    ends_with_reason: false,
    input,
    output: output_and_thoughts,
};

fn ends(kind: &str, _: &Found) -> bool {
    ["response.completed", "response.incomplete", "response.failed", "response.cancelled"]
        .contains(&kind)
}

/// Why it is incomplete, else how it stands.
fn finish(found: &Found) -> Option<&str> {
    let status = found.text(Text::Other);
    let over = status.filter(|status| !["in_progress", "queued"].contains(status));
    over.and(found.text(Text::Finish)).or(over)
}
