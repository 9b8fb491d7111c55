//! Reads the token usage of language models from the passing stream.
//!
//! ```
//! use bytes::Bytes;
//! use http_body_util::{BodyExt, Full};
//! use tower_lifeline::{tee::TeeBody, usage::{Certainty, Dialect, Terminator, UsageMeter}};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! let stream = r#"data: {"model":"m-1","choices":[{"delta":{"content":"Hi"},"finish_reason":"stop"}],"usage":null}
//!
//! data: {"model":"m-1","choices":[],"usage":{"prompt_tokens":12,"completion_tokens":3}}
//!
//! data: [DONE]
//!
//! "#;
//! let meter = UsageMeter::for_path("/v1/chat/completions");
//! let report = meter.report();
//! let body = TeeBody::new(Full::<Bytes>::from(stream), meter);
//! assert_eq!(body.collect().await.unwrap().to_bytes(), stream);
//!
//! let usage = report.usage();
//! assert_eq!(usage.dialect, Some(Dialect::OpenAiChat));
//! assert_eq!((usage.input_tokens, usage.output_tokens), (Some(12), Some(3)));
//! assert_eq!((usage.certainty, usage.terminator), (Certainty::Reported, Terminator::Seen));
//! # }
//! ```
//!
//! | what comes | what is made of it |
//! |---|---|
//! | a frame | is read as it comes, and neither held nor copied: the same is found however the stream is cut into frames |
//! | whole events without a word of interest | a search through their bytes, no parsing |
//! | an event, or a JSON response, of any size | is read in constant memory, a few KiB: strings are searched for their end, whatever stands before the usage or behind it |
//! | counts of the input, or of the output | replace together what was said of it before, since providers count up and do not add; noughts take nothing back |
//! | a last event without its blank line | counts; at a clean end it may be the terminal one |
//! | broken JSON, a wrong type, a negative count, a broken frame | is as if it had not come |
//! | an error event of the provider's own | [`Usage::error_event`]: an event of the type `error` or `response.failed`, by its line or its `type`; in a known dialect a member `error` with something in it, too, and a finish reason `error`; never JSON-RPC |
//! | a JSON response that is no stream: an object, or an array in another dialect than Gemini's | is read at its end, all the same; it has no terminator, and its `error` is no event |
//! | another content type, a content coding | nothing is read |
//! | the end of the body, whatever it is | the report stays as it is |
//! | whatever comes behind a terminal event | is counted all the same, and changes nothing else: see below |
//!
//! # When a stream is whole
//!
//! By what it says itself; the first terminal event wins. [`TeeLayer::usage`] writes that into the [`Exchange`], where all layers
//! find it, and [`TerminatorGuardLayer`] holds the stream to it.
//!
//! | what the stream has said | its body then | outcome |
//! |---|---|---|
//! | its dialect's terminator (below), or `[DONE]` in any dialect | ends, fails, hits a limit, is aborted or left: all the same | `completed` |
//! | an error event, `response.failed`; a terminator behind a finish reason `error` | the same | `failed`, `upstream_error_event` |
//! | of every answer that came, and of as many as were asked for ([`TeeRequestLayer::usage`]), why the model stopped; and none has gone on since | ends cleanly | `completed` |
//! | the same | fails, hits a limit, is aborted or left | is told as ever: usage may follow a reason, and old models of Gemini give one with each chunk |
//! | less than that | ends cleanly | `completed`; with [`TerminatorGuardLayer`] `truncated` |
//! | nothing, in no known dialect or without events | ends cleanly | `completed` |
//! | the same as a stream that is not whole, under a `Content-Length` | ends cleanly | `truncated` with [`TerminatorGuardLayer`], which leaves the body alone |
//!
//! An abort that comes behind the stream's own end answers `false`, as after any end. Who shares the answer of another request
//! ([`replay`](crate::replay)) is told what the stream had said by where it has read.
//!
//! # How the counts are made alike
//!
//! `input_tokens` is all input, what was read from a cache or written to one included; `output_tokens` is all that was
//! generated, thoughts included. What the provider did not say is `None`, never nought.
//!
//! | dialect | input | output | terminator |
//! |---|---|---|---|
//! | `openai_chat` | `prompt_tokens` | `completion_tokens`; with `reasoning_tokens` where the total says that they are apart (xAI) | `[DONE]` |
//! | the same: embeddings, images, transcriptions, speech, runs of assistants | the same, or `input_tokens` | the same, or `output_tokens` | none that could be missing |
//! | `openai_responses` | `input_tokens` | `output_tokens`; with `reasoning_tokens` as above | `response.completed`, `.incomplete`, `.failed`, `.cancelled` |
//! | `anthropic` | `input_tokens` + `cache_read_input_tokens` + `cache_creation_input_tokens` | `output_tokens`, but not that of `message_start`, which is a placeholder | `message_stop` |
//! | `gemini` | `promptTokenCount` + `toolUsePromptTokenCount` | `candidatesTokenCount` + `thoughtsTokenCount` | none; `seen` with the `finishReason` of every candidate, or a `blockReason` |
//! | `ollama` | `prompt_eval_count`, absent when it was cached | `eval_count` | `"done": true` |
//! | `cohere` | `tokens.input_tokens`; what is billed is another thing | `tokens.output_tokens` | `message-end` |
//! | `bedrock_converse` | `inputTokens` + `cacheReadInputTokens` + `cacheWriteInputTokens` | `outputTokens` | `metadata`; `seen` with `messageStop` |
//! | `bedrock_invoke` | the same of `amazon-bedrock-invocationMetrics`, of the model's own words, or of the head | the same | `message_stop`, the metrics; `seen` with the reason |
//!
//! Where a provider contradicts itself the later wins. [`Certainty::Reported`] needs both, said when the model had finished; or the input
//! alone where the provider says that it was all (`total_tokens` is `prompt_tokens`, Ollama's `embeddings`): an embedding has no
//! output that could be missing.
//!
//! # Which dialect
//!
//! Told with [`UsageMeter::new`]: that one. Otherwise the path and the content type let it be guessed ([`Dialect::detect`]),
//! and one of the first eight events decides by its members: several together that nobody else has, in a content type in which that
//! dialect talks. A stream that is not recognised has no terminator that could be missing. [`TeeLayer::usage`] does that for each request, and leaves the
//! [`UsageReport`] as a fact in the [`Exchange`].

mod account;
mod asked;
mod choices;
mod closing;
mod dialect;
mod dialects;
mod event;
mod extract;
mod framing;
mod guard;
mod include;
mod members;
mod meter;
mod needles;
mod report;
#[cfg(test)]
mod tests;
mod unwrap;

use http::request::Parts;

pub use self::{
    asked::RequestMeter,
    dialect::Dialect,
    guard::{
        MissingTerminator, TerminatorGuard, TerminatorGuardBody, TerminatorGuardLayer,
        TerminatorGuarded,
    },
    include::{
        IncludeUsage, IncludeUsageBody, IncludeUsageFuture, IncludeUsageLayer, IncludeUsageRequest,
    },
    meter::UsageMeter,
    report::{Certainty, Terminator, Usage, UsageReport},
};
use crate::{
    exchange::Exchange,
    tee::{TeeLayer, TeeRequestLayer},
};

impl TeeLayer<()> {
    /// Reads the token usage of each response, and leaves the [`UsageReport`] as a fact in the [`Exchange`].
    ///
    /// ```
    /// use tower_lifeline::tee::TeeLayer;
    ///
    /// // A hook finds it as `exchange.fact::<UsageReport>()`.
    /// let layer = TeeLayer::usage();
    /// # let _ = tower_layer::Layer::layer(&layer, ());
    /// ```
    pub fn usage() -> TeeLayer<impl Fn(&Parts) -> UsageMeter + Clone> {
        TeeLayer::new(|request: &Parts| {
            let meter = UsageMeter::for_path(request.uri.path());
            match Exchange::get(&request.extensions) {
                Some(exchange) => {
                    exchange.insert(meter.report());
                    meter.in_exchange(exchange)
                }
                None => meter,
            }
        })
    }
}

impl TeeRequestLayer<()> {
    /// Reads how many answers each request asks for (`n`, `generationConfig.candidateCount`, to each `prompt` of several), for
    /// [`TeeLayer::usage`], which then knows when all of them are whole. Without this layer one answer is enough.
    ///
    /// ```
    /// use tower_lifeline::tee::{TeeLayer, TeeRequestLayer};
    ///
    /// let layers = tower::ServiceBuilder::new().layer(TeeRequestLayer::usage()).layer(TeeLayer::usage());
    /// # let _ = layers.service(());
    /// ```
    pub fn usage() -> TeeRequestLayer<impl Fn(&Parts) -> RequestMeter + Clone> {
        TeeRequestLayer::new(|request: &Parts| {
            RequestMeter::for_path(request.uri.path(), Exchange::get(&request.extensions).as_ref())
        })
    }
}
