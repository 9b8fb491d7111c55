//! How a dialect is recognised.

use bytes::Bytes;

use super::{
    super::*,
    samples::{head, read, sample},
};
use crate::tee::Sink;

#[test]
fn a_path_tells_the_dialect() {
    for (path, dialect) in [
        ("/v1/chat/completions", Some(Dialect::OpenAiChat)),
        ("/openai/deployments/d/chat/completions?api-version=1", Some(Dialect::OpenAiChat)),
        ("/v1/completions/", Some(Dialect::OpenAiChat)),
        ("/v1/responses", Some(Dialect::OpenAiResponses)),
        ("/v1/responses/resp_1?stream=true", Some(Dialect::OpenAiResponses)),
        ("/v1/messages", Some(Dialect::Anthropic)),
        ("/v1/messages/count_tokens", None),
        ("/v1/threads/t/messages", None),
        ("/v1/projects/p/publishers/anthropic/models/m:streamRawPredict", Some(Dialect::Anthropic)),
        ("/v1beta/models/m:streamGenerateContent?alt=sse", Some(Dialect::Gemini)),
        ("/v1beta/models/m:generateContent", Some(Dialect::Gemini)),
        ("/api/chat", Some(Dialect::Ollama)),
        ("/api/generate", Some(Dialect::Ollama)),
        ("/v2/chat", Some(Dialect::Cohere)),
        ("/v1beta/models/g%3AstreamGenerateContent", Some(Dialect::Gemini)),
        ("/model/m/converse", Some(Dialect::BedrockConverse)),
        ("/model/m/converse-stream", Some(Dialect::BedrockConverse)),
        ("/model/m/invoke", Some(Dialect::BedrockInvoke)),
        ("/model/m/invoke-with-response-stream", Some(Dialect::BedrockInvoke)),
        ("/", None),
        ("", None),
    ] {
        assert_eq!(Dialect::detect(path, None), dialect, "{path}");
    }
}

#[test]
fn a_path_tells_the_model_where_the_answer_does_not() {
    for (path, model) in [
        ("/model/anthropic.claude-3%3A0/converse-stream", Some("anthropic.claude-3:0")),
        ("/model/m/invoke", Some("m")),
        ("/model/%FF/invoke", None),
        ("/converse", None),
        ("/model/m/v1/chat/completions", None),
    ] {
        let meter = UsageMeter::for_path(path);
        assert_eq!(meter.report().usage().model.as_deref(), model, "{path}");
    }
}

#[test]
fn a_content_type_takes_a_guess_back() {
    let detect = |path, content_type| Dialect::detect(path, Some(content_type));
    assert_eq!(detect("/v1/messages", "TEXT/Event-Stream;charset=utf-8"), Some(Dialect::Anthropic));
    assert_eq!(detect("/v1/messages", "text/html"), None);
    assert_eq!(detect("/v1/messages", "application/x-ndjson"), None);
    assert_eq!(detect("/api/chat", "text/event-stream"), None);
    assert_eq!(detect("/model/m/invoke", "text/event-stream"), None);
    assert_eq!(detect("/v1/messages", "text/plain"), Some(Dialect::Anthropic));
}

#[test]
fn the_first_event_knows_better_than_the_path() {
    for (path, name, dialect) in [
        ("/api/chat", "openai_chat.sse", Dialect::OpenAiChat),
        ("/v1/chat/completions", "anthropic.sse", Dialect::Anthropic),
        ("/v1/messages", "gemini.sse", Dialect::Gemini),
    ] {
        let mut meter = UsageMeter::for_path(path);
        meter.head(&head(200, "text/event-stream"));
        let usage = read(meter, [sample(name).body]);
        assert_eq!((usage.dialect, usage.certainty), (Some(dialect), Certainty::Reported));
    }
}

#[test]
fn a_stream_that_is_not_recognised_at_its_beginning_is_not_recognised_later() {
    let mut stream = "data: {\"hello\":1}\n\n".repeat(8).into_bytes();
    stream.extend(sample("openai_chat.sse").body);
    let mut meter = UsageMeter::new(None);
    meter.head(&head(200, "text/event-stream"));
    assert_eq!(read(meter, [Bytes::from(stream)]), Usage::default());
}

#[test]
fn an_event_of_another_api_is_of_no_dialect() {
    for event in
        [r#"{"jsonrpc":"2.0","method":"message"}"#, r#"{"type":"ping"}"#, "[1, 2]", "hello"]
    {
        let mut meter = UsageMeter::new(None);
        meter.head(&head(200, "text/event-stream"));
        let stream = format!("data: {event}\n\n");
        assert_eq!(read(meter, [Bytes::from(stream)]), Usage::default(), "{event}");
    }
}
