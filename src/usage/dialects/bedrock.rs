//! AWS Bedrock: its own Converse, and what it makes of the models' own words.

use super::{Grammar, anthropic, finish, input_and_cache, output};
use crate::usage::{
    members::{Count, Mark, Node, Text},
    needles::watch,
};

/// Of `contentBlockDelta`.
const DELTA: Node = Node::Object(&[
    ("text", Node::Content),
    ("toolUse", Node::Content),
    ("reasoningContent", Node::Content),
]);

/// The messages `messageStop` and `metadata`, or the whole response.
pub(in crate::usage) static CONVERSE: Grammar = Grammar {
    watch: watch!["\"usage\"", "\"stopReason\""],
    members: &[
        ("stopReason", Node::Text(Text::Finish)),
        ("delta", DELTA),
        (
            "usage",
            Node::Object(&[
                ("inputTokens", Node::Count(Count::Input)),
                ("outputTokens", Node::Count(Count::Output)),
                ("cacheReadInputTokens", Node::Count(Count::Cached)),
                ("cacheWriteInputTokens", Node::Count(Count::CacheWrite)),
            ]),
        ),
    ],
    finish,
    ends: |_, _| false, // It is `metadata`, which is the name of a message.
    ends_with_reason: true,
    input: input_and_cache,
    output,
};

/// The models' own: Anthropic's, Nova's, OpenAI's.
const USAGE: Node = Node::Object(&[
    ("input_tokens", Node::Count(Count::Input)),
    ("cache_read_input_tokens", Node::Count(Count::Cached)),
    ("cache_creation_input_tokens", Node::Count(Count::CacheWrite)),
    ("output_tokens", Node::Count(Count::Output)),
    ("inputTokens", Node::Count(Count::Input)),
    ("cacheReadInputTokenCount", Node::Count(Count::Cached)),
    ("cacheWriteInputTokenCount", Node::Count(Count::CacheWrite)),
    ("outputTokens", Node::Count(Count::Output)),
    ("prompt_tokens", Node::Count(Count::Input)),
    ("completion_tokens", Node::Count(Count::Output)),
]);

const FINISH: Node = Node::Text(Text::Finish);

pub(in crate::usage) static INVOKE: Grammar = Grammar {
    watch: watch![
        "\"amazon-bedrock-invocationMetrics\"",
        "\"metadata\"",
        "message_stop",
        "\"usage\"",
        "\"stop_reason\"",
        "\"stopReason\"",
        "\"finish_reason\"",
        "\"completionReason\"",
    ],
    members: &[
        // Bedrock's own, in the last chunk of every model.
        (
            "amazon-bedrock-invocationMetrics",
            Node::Last(&[
                ("inputTokenCount", Node::Count(Count::Input)),
                ("outputTokenCount", Node::Count(Count::Output)),
                ("cacheReadInputTokenCount", Node::Count(Count::Cached)),
                ("cacheWriteInputTokenCount", Node::Count(Count::CacheWrite)),
            ]),
        ),
        ("usage", USAGE),
        ("model", Node::Text(Text::Model)),
        // Anthropic, and Llama's reason.
        ("message", anthropic::STARTED),
        ("delta", anthropic::DELTA),
        ("stop_reason", FINISH),
        // Nova.
        ("messageStop", Node::Object(&[("stopReason", FINISH)])),
        ("contentBlockDelta", Node::Object(&[("delta", DELTA)])),
        ("metadata", Node::Last(&[("usage", USAGE)])),
        ("stopReason", FINISH),
        // Mistral and OpenAI.
        ("choices", Node::Object(&[("finish_reason", FINISH), ("stop_reason", FINISH)])),
        ("outputs", Node::Object(&[("stop_reason", FINISH)])),
        // Titan.
        ("results", Node::Object(&[("completionReason", FINISH)])),
        ("completionReason", FINISH),
        // Llama, Titan.
        ("generation", Node::Content),
        ("outputText", Node::Content),
    ],
    finish,
    ends: |kind, found| kind == "message_stop" || found.has(Mark::Last),
    ends_with_reason: true,
    input: input_and_cache,
    output,
};
