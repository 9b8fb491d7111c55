//! Ollama's own API.

use super::{Grammar, finish, input, output};
use crate::usage::{
    members::{Count, Mark, Members, Node, Text},
    needles::watch,
};

const MEMBERS: Members = &[
    ("model", Node::Text(Text::Model)),
    ("done", Node::Mark(Mark::Done)),
    ("done_reason", Node::Text(Text::Finish)),
    ("embeddings", Node::Mark(Mark::Embeddings)),
    ("prompt_eval_count", Node::Count(Count::Input)), // Absent when all of it was cached.
    ("eval_count", Node::Count(Count::Output)),
];

pub(in crate::usage) static GRAMMAR: Grammar = Grammar {
    watch: watch![
        "\"done\"",
        "\"done_reason\"",
        "\"prompt_eval_count\"",
        "\"eval_count\"",
        "\"embeddings\"",
    ],
    members: MEMBERS,
    finish,
    ends: |_, found| found.has(Mark::Done),
    ends_with_reason: false,
    input,
    output,
};
