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
//! | a count | replaces what was said before: providers count up, they do not add |
//! | a last event without its blank line | counts |
//! | broken JSON, a wrong type, a negative count, a broken frame | is as if it had not come |
//! | an error event of the provider's own | [`Usage::error_event`]; a finish reason `error` is one too |
//! | a JSON response that is no stream | is read at its end, all the same; it has no terminator, and its `error` is no event |
//! | another content type, a content coding | nothing is read |
//! | the end of the body, whatever it is | the report stays as it is |
//! | a client that leaves behind the terminator, or behind an error event, of a body that goes on | the [outcome](crate::exchange::Outcome) is `completed`, or `failed`: the stream itself had ended |
//!
//! # How the counts are made alike
//!
//! `input_tokens` is all input, what was read from a cache or written to one included; `output_tokens` is all that was
//! generated, thoughts included. What the provider did not say is `None`, never nought.
//!
//! | dialect | input | output | terminator |
//! |---|---|---|---|
//! | `openai_chat` | `prompt_tokens` | `completion_tokens`; with `reasoning_tokens` where the total says that they are apart (xAI) | `[DONE]` |
//! | `openai_responses` | `input_tokens` | `output_tokens` | `response.completed`, `.incomplete`, `.failed`, `.cancelled` |
//! | `anthropic` | `input_tokens` + `cache_read_input_tokens` + `cache_creation_input_tokens` | `output_tokens`, but not that of `message_start`, which is a placeholder | `message_stop` |
//! | `gemini` | `promptTokenCount` + `toolUsePromptTokenCount` | `candidatesTokenCount` + `thoughtsTokenCount` | none; `seen` with the `finishReason` |
//! | `ollama` | `prompt_eval_count`, absent when it was cached | `eval_count` | `"done": true` |
//! | `cohere` | `tokens.input_tokens`; what is billed is another thing | `tokens.output_tokens` | `message-end` |
//! | `bedrock_converse` | `inputTokens` + `cacheReadInputTokens` + `cacheWriteInputTokens` | `outputTokens` | none; `seen` with `messageStop` |
//! | `bedrock_invoke` | the same of `amazon-bedrock-invocationMetrics`, of the model's own words, or of the head | the same | none; `seen` with the reason or the metrics |
//!
//! Where a provider contradicts itself the later wins. [`Certainty::Reported`] needs both, said when the model had finished.
//!
//! # Which dialect
//!
//! Told with [`UsageMeter::new`]: that one. Otherwise the path and the content type let it be guessed ([`Dialect::detect`]),
//! and one of the first eight events decides by its members. [`TeeLayer::usage`] does that for each request, and leaves the
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
    /// Reads how many answers each request asks for (`n`, `generationConfig.candidateCount`), for
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
            RequestMeter::in_exchange(Exchange::get(&request.extensions).as_ref())
        })
    }
}
