//! What each dialect says where, one file for each.

pub(super) mod anthropic;
pub(super) mod bedrock;
pub(super) mod cohere;
pub(super) mod gemini;
pub(super) mod ollama;
pub(super) mod openai_chat;
pub(super) mod openai_responses;

use super::{
    members::{Count, Counts, Found, Members, Text},
    needles::Watch,
};

/// What a dialect says where.
pub(super) struct Grammar {
    /// Names and types that are searched for: one of them is on the way to each of the `members`, but for what only matters with
    /// them.
    pub(super) watch: Watch,
    /// Where it is, in an event and in a whole response.
    pub(super) members: Members,
    /// Why the model stopped.
    pub(super) finish: fn(&Found) -> Option<&str>,
    /// Whether an event of this type is the end: what comes behind it changes nothing.
    pub(super) ends: fn(&str, &Found) -> bool,
    /// The reason why the model stopped is all that its streams say of their end, though more may follow.
    pub(super) ends_with_reason: bool,
    /// All input.
    pub(super) input: fn(&Counts) -> Option<u64>,
    /// All output.
    pub(super) output: fn(&Counts) -> Option<u64>,
}

fn finish(found: &Found) -> Option<&str> {
    found.text(Text::Finish)
}

/// Of dialects whose input is all input.
const fn input(counts: &Counts) -> Option<u64> {
    counts.get(Count::Input)
}

/// Of dialects whose output is all output.
const fn output(counts: &Counts) -> Option<u64> {
    counts.get(Count::Output)
}

/// Of dialects whose output is all output, except where the total says that thoughts are apart, as xAI's does.
fn output_and_thoughts(counts: &Counts) -> Option<u64> {
    let apart = counts.sum(Count::Input, &[Count::Output, Count::Reasoning]);
    if counts.get(Count::Reasoning) > Some(0) && counts.get(Count::Total) == apart {
        counts.sum(Count::Output, &[Count::Reasoning])
    } else {
        counts.get(Count::Output)
    }
}

/// Of dialects whose input leaves out what was read from a cache or written to one.
fn input_and_cache(counts: &Counts) -> Option<u64> {
    counts.sum(Count::Input, &[Count::Cached, Count::CacheWrite])
}
