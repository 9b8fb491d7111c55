//! The streams, and what is said of them in one line.

use bytes::Bytes;

use super::{super::*, bedrock};
use crate::{exchange::Outcome, tee::Sink};

/// A response: its name, the path of its request, its content type, and its body.
pub(super) struct Sample {
    pub(super) name: &'static str,
    pub(super) path: &'static str,
    pub(super) content_type: &'static str,
    pub(super) body: Bytes,
}

pub(super) const EVENTS: &str = "text/event-stream; charset=utf-8";
pub(super) const LINES: &str = "application/x-ndjson";
pub(super) const JSON: &str = "application/json";
pub(super) const FRAMES: &str = "application/vnd.amazon.eventstream";

const CHAT: &str = "/v1/chat/completions";
const RESPONSES: &str = "/v1/responses";
const MESSAGES: &str = "/v1/messages";
const GEMINI: &str = "/v1beta/models/gemini-test:streamGenerateContent";
const OLLAMA: &str = "/api/chat";
const COHERE: &str = "/v2/chat";
const CONVERSE: &str = "/model/m/converse-stream";
const INVOKE: &str = "/model/m/invoke-with-response-stream";

macro_rules! samples {
    ($(($name:literal, $path:expr, $type:expr),)*) => {
        [$(Sample {
            name: $name,
            path: $path,
            content_type: $type,
            body: Bytes::from_static(include_bytes!(concat!("../../../tests/fixtures/usage/", $name))),
        },)*]
    };
}

/// All of them.
pub(super) fn samples() -> Vec<Sample> {
    let frames = |name, path, body| Sample { name, path, content_type: FRAMES, body };
    let mut samples: Vec<_> = samples![
        ("openai_chat.sse", CHAT, EVENTS),
        ("openai_chat_without_usage.sse", CHAT, EVENTS),
        ("openai_chat_error.sse", CHAT, EVENTS),
        ("azure.sse", "/openai/deployments/d/chat/completions", EVENTS),
        ("mistral.sse", CHAT, EVENTS),
        ("llamacpp.sse", CHAT, EVENTS),
        ("openrouter.sse", "/api/v1/chat/completions", EVENTS),
        ("openrouter_error.sse", "/api/v1/chat/completions", EVENTS),
        ("xai.sse", CHAT, EVENTS),
        ("vllm_continuous.sse", CHAT, EVENTS),
        ("openai_responses.sse", RESPONSES, EVENTS),
        ("openai_responses_incomplete.sse", RESPONSES, EVENTS),
        ("openai_responses_failed.sse", RESPONSES, EVENTS),
        ("openai_responses_error.sse", RESPONSES, EVENTS),
        ("anthropic.sse", MESSAGES, EVENTS),
        ("anthropic_cumulative.sse", MESSAGES, EVENTS),
        ("anthropic_error.sse", MESSAGES, EVENTS),
        ("anthropic_compatible.sse", "/api/anthropic/v1/messages", EVENTS),
        ("gemini.sse", GEMINI, EVENTS),
        ("gemini_array.json", GEMINI, JSON),
        ("gemini_vertex.sse", GEMINI, EVENTS),
        ("gemini_error.sse", GEMINI, EVENTS),
        ("gemini_error_array.json", GEMINI, JSON),
        ("ollama.ndjson", OLLAMA, LINES),
        ("ollama_cached.ndjson", OLLAMA, LINES),
        ("ollama_error.ndjson", OLLAMA, LINES),
        ("cohere.sse", COHERE, EVENTS),
        ("cohere_error.sse", COHERE, EVENTS),
        ("openai_chat.json", CHAT, JSON),
        ("openai_responses.json", RESPONSES, JSON),
        ("anthropic.json", MESSAGES, JSON),
        ("gemini.json", "/v1beta/models/gemini-test:generateContent", JSON),
        ("ollama.json", OLLAMA, JSON),
        ("cohere.json", COHERE, JSON),
        ("bedrock_converse.json", "/model/m/converse", JSON),
        ("error.json", CHAT, JSON),
    ]
    .into();
    samples.push(frames("bedrock_converse", CONVERSE, bedrock::converse()));
    samples.push(frames("bedrock_converse_exception", CONVERSE, bedrock::exception()));
    samples.push(frames("bedrock_invoke", INVOKE, bedrock::invoke()));
    samples
}

pub(super) fn sample(name: &str) -> Sample {
    samples().into_iter().find(|sample| sample.name == name).unwrap()
}

impl Sample {
    /// A meter as [`TeeLayer::usage`] makes one, behind the head.
    pub(super) fn meter(&self) -> UsageMeter {
        let mut meter = UsageMeter::for_path(self.path);
        meter.head(&head(200, self.content_type));
        meter
    }

    pub(super) fn read(&self, pieces: impl IntoIterator<Item = Bytes>) -> Usage {
        read(self.meter(), pieces)
    }
}

pub(super) fn head(status: u16, content_type: &str) -> http::response::Parts {
    let head = http::Response::builder().status(status).header("content-type", content_type);
    head.body(()).unwrap().into_parts().0
}

/// Reads pieces to their end.
pub(super) fn read(mut meter: UsageMeter, pieces: impl IntoIterator<Item = Bytes>) -> Usage {
    let report = meter.report();
    pieces.into_iter().for_each(|piece| meter.data(piece));
    meter.end(Outcome::Completed);
    report.usage()
}

/// Cuts a stream in pieces of one size.
pub(super) fn pieces(stream: &Bytes, size: usize) -> Vec<Bytes> {
    let ends = (0..stream.len()).step_by(size);
    ends.map(|at| stream.slice(at..stream.len().min(at + size))).collect()
}

/// One line that says all of it.
pub(super) fn line(usage: &Usage) -> String {
    let count = |count: Option<u64>| count.map_or("-".into(), |count| count.to_string());
    format!(
        "{} {} in {} out {} cached {} written {} thoughts {} {} {} {}{}",
        usage.dialect.map_or("-", Dialect::as_str),
        usage.model.as_deref().unwrap_or("-"),
        count(usage.input_tokens),
        count(usage.output_tokens),
        count(usage.cached_tokens),
        count(usage.cache_write_tokens),
        count(usage.reasoning_tokens),
        usage.finish_reason.as_deref().unwrap_or("-"),
        usage.certainty,
        usage.terminator,
        if usage.error_event { " error" } else { "" },
    )
}

/// Cuts a stream behind each blank line, as servers send their events.
pub(super) fn eventwise(body: &Bytes) -> Vec<Bytes> {
    let mut rest = body.clone();
    let mut events = vec![];
    while let Some(end) = (1..rest.len())
        .find(|end| rest[..*end].ends_with(b"\n\n") || rest[..*end].ends_with(b"\r\n\r\n"))
    {
        events.push(rest.split_to(end));
    }
    events.push(rest);
    events
}
