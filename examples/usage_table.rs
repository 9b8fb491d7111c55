//! Prints what the usage meter knows of each dialect's stream: when it is complete, when it is cut in the middle, and when
//! the provider says no usage, because nobody asked for it or because it does not.
//!
//! `cargo run --example usage_table --features usage`. Every cell is what the meter says; the table at the end of this file is
//! what it said last, and the example fails when a cell changes.

use bytes::Bytes;
use http::{HeaderValue, Response};
use tower_lifeline::{
    exchange::Outcome,
    tee::Sink,
    usage::{Usage, UsageMeter},
};

const EVENTS: &str = "text/event-stream";
const LINES: &str = "application/x-ndjson";
const JSON: &str = "application/json";
const FRAMES: &str = "application/vnd.amazon.eventstream";

const CHAT: &str = "/v1/chat/completions";
const GEMINI: &str = "/v1beta/models/m:streamGenerateContent";

struct Stream {
    name: &'static str,
    path: &'static str,
    media: &'static str,
    /// What the body is, with the usage or without.
    body: fn(usage: bool) -> Vec<u8>,
}

const STREAMS: [Stream; 13] = [
    Stream { name: "OpenAI chat", path: CHAT, media: EVENTS, body: openai_chat },
    Stream { name: "- as of Mistral", path: CHAT, media: EVENTS, body: mistral },
    Stream { name: "- as of OpenRouter", path: CHAT, media: EVENTS, body: openrouter },
    Stream { name: "- as of llama.cpp", path: CHAT, media: EVENTS, body: llama_cpp },
    Stream { name: "OpenAI Responses", path: "/v1/responses", media: EVENTS, body: responses },
    Stream { name: "Anthropic", path: "/v1/messages", media: EVENTS, body: anthropic },
    Stream { name: "- as of GLM", path: "/v1/messages", media: EVENTS, body: glm },
    Stream { name: "Gemini", path: GEMINI, media: EVENTS, body: gemini },
    Stream { name: "- JSON array", path: GEMINI, media: JSON, body: gemini_array },
    Stream { name: "Ollama", path: "/api/chat", media: LINES, body: ollama },
    Stream { name: "Cohere v2", path: "/v2/chat", media: EVENTS, body: cohere },
    Stream {
        name: "Bedrock Converse",
        path: "/model/m/converse-stream",
        media: FRAMES,
        body: bedrock_converse,
    },
    Stream {
        name: "Bedrock Invoke",
        path: "/model/m/invoke-with-response-stream",
        media: FRAMES,
        body: bedrock_invoke,
    },
];

fn main() {
    let mut table = String::from(
        "| dialect | stream | model | input | output | cached | finish | certainty | terminator |\n\
         |---|---|---|---|---|---|---|---|---|\n",
    );
    for stream in &STREAMS {
        let whole = (stream.body)(true);
        let cut = whole[..whole.len() / 2].to_vec();
        for (case, body) in [
            ("complete", whole),
            ("cut in the middle", cut),
            ("no usage asked", (stream.body)(false)),
        ] {
            let row = row(&read(stream, &body));
            table += &format!("| {} | {case} | {row} |\n", stream.name);
        }
    }
    print!("{table}");
    assert_eq!(table, TABLE.trim_start(), "a cell has changed");
}

/// Reads a stream as a server reads its upstream, in pieces of 100 bytes.
fn read(stream: &Stream, body: &[u8]) -> Usage {
    let mut meter = UsageMeter::for_path(stream.path);
    let report = meter.report();
    let mut head = Response::new(());
    head.headers_mut().insert("content-type", HeaderValue::from_static(stream.media));
    meter.head(&head.into_parts().0);
    for piece in body.chunks(100) {
        meter.data(Bytes::copy_from_slice(piece));
    }
    meter.end(Outcome::Completed);
    report.usage()
}

fn row(usage: &Usage) -> String {
    let count =
        |count: Option<u64>| count.map_or_else(|| "-".to_owned(), |count| count.to_string());
    let text = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    [
        text(&usage.model),
        count(usage.input_tokens),
        count(usage.output_tokens),
        count(usage.cached_tokens),
        text(&usage.finish_reason),
        usage.certainty.to_string(),
        usage.terminator.to_string(),
    ]
    .join(" | ")
}

/// Events of nothing but data.
fn sse(events: &[&str]) -> String {
    events.iter().map(|event| format!("data: {event}\n\n")).collect()
}

/// Events that also have a type: that of their data.
fn typed(events: &[&str]) -> String {
    let named = events.iter().map(|event| {
        let name = event.split('"').nth(3).unwrap_or_default();
        format!("event: {name}\ndata: {event}\n\n")
    });
    named.collect()
}

/// The first where there is usage, else the second.
const fn either(usage: bool, with: &'static str, without: &'static str) -> &'static str {
    if usage { with } else { without }
}

fn openai_chat(usage: bool) -> Vec<u8> {
    let mut events = vec![
        r#"{"object":"chat.completion.chunk","model":"m-1","choices":[{"delta":{"content":"Hel"}}]}"#,
        r#"{"object":"chat.completion.chunk","model":"m-1","choices":[{"delta":{"content":"lo"}}]}"#,
        r#"{"object":"chat.completion.chunk","model":"m-1","choices":[{"delta":{},"finish_reason":"stop"}]}"#,
    ];
    if usage {
        events.push(r#"{"object":"chat.completion.chunk","model":"m-1","choices":[],"usage":{"prompt_tokens":12,"completion_tokens":3,"prompt_tokens_details":{"cached_tokens":4}}}"#);
    }
    sse(&[&events[..], &["[DONE]"]].concat()).into()
}

fn mistral(usage: bool) -> Vec<u8> {
    let last = either(
        usage,
        r#"{"model":"m-1","choices":[{"delta":{"content":""},"finish_reason":"length"}],"usage":{"prompt_tokens":12,"total_tokens":15,"completion_tokens":3}}"#,
        r#"{"model":"m-1","choices":[{"delta":{"content":""},"finish_reason":"length"}]}"#,
    );
    let first = r#"{"model":"m-1","choices":[{"delta":{"content":"Hello"},"finish_reason":null}]}"#;
    sse(&[first, first, last, "[DONE]"]).into()
}

fn openrouter(usage: bool) -> Vec<u8> {
    let last = either(
        usage,
        r#"{"model":"maker/m-1","choices":[{"delta":{"content":""},"finish_reason":null}],"usage":{"prompt_tokens":12,"completion_tokens":3,"cost":0.1,"prompt_tokens_details":{"cached_tokens":4}}}"#,
        r#"{"model":"maker/m-1","choices":[{"delta":{"content":""},"finish_reason":null}]}"#,
    );
    let delta = r#"{"model":"maker/m-1","choices":[{"delta":{"content":"Hello"}}]}"#;
    let stop = r#"{"model":"maker/m-1","choices":[{"delta":{},"finish_reason":"stop"}]}"#;
    [": PROCESSING\n\n", &sse(&[delta, delta, stop, last, "[DONE]"])].concat().into()
}

fn llama_cpp(usage: bool) -> Vec<u8> {
    let last = either(
        usage,
        r#"{"choices":[],"model":"m-1.gguf","usage":{"completion_tokens":3,"prompt_tokens":12,"total_tokens":15},"timings":{"prompt_n":12,"predicted_n":3}}"#,
        r#"{"choices":[],"model":"m-1.gguf","timings":{"prompt_n":12,"predicted_n":3}}"#,
    );
    let delta =
        r#"{"choices":[{"finish_reason":null,"delta":{"content":"Hello"}}],"model":"m-1.gguf"}"#;
    let stop = r#"{"choices":[{"finish_reason":"stop","delta":{}}],"model":"m-1.gguf"}"#;
    [":\n\n", &sse(&[delta, delta, stop, last, "[DONE]"])].concat().into()
}

fn responses(usage: bool) -> Vec<u8> {
    let last = either(
        usage,
        r#"{"type":"response.completed","response":{"model":"m-1","status":"completed","usage":{"input_tokens":12,"input_tokens_details":{"cached_tokens":4},"output_tokens":3}}}"#,
        r#"{"type":"response.completed","response":{"model":"m-1","status":"completed","usage":null}}"#,
    );
    typed(&[
        r#"{"type":"response.created","response":{"model":"m-1","status":"in_progress","usage":null}}"#,
        r#"{"type":"response.output_text.delta","delta":"Hel"}"#,
        r#"{"type":"response.output_text.delta","delta":"lo"}"#,
        last,
    ])
    .into()
}

fn anthropic(usage: bool) -> Vec<u8> {
    let first = either(
        usage,
        r#"{"type":"message_start","message":{"model":"m-1","usage":{"input_tokens":8,"cache_read_input_tokens":4,"output_tokens":1}}}"#,
        r#"{"type":"message_start","message":{"model":"m-1"}}"#,
    );
    let last = either(
        usage,
        r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":3}}"#,
        r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"}}"#,
    );
    let delta = r#"{"type":"content_block_delta","delta":{"text":"Hello"}}"#;
    typed(&[first, delta, delta, last, r#"{"type":"message_stop"}"#]).into()
}

fn glm(usage: bool) -> Vec<u8> {
    let first = either(
        usage,
        r#"{"type":"message_start","message":{"model":"m-1","usage":{"input_tokens":12,"output_tokens":0}}}"#,
        r#"{"type":"message_start","message":{"model":"m-1"}}"#,
    );
    let last = either(
        usage,
        r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"input_tokens":8,"output_tokens":3,"cache_read_input_tokens":4}}"#,
        r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"}}"#,
    );
    let delta = r#"{"type":"content_block_delta","delta":{"text":"Hello"}}"#;
    let events = typed(&[first, delta, delta, last, r#"{"type":"message_stop"}"#]);
    events.replace("event: ", "event:").replace("data: ", "data:").into()
}

fn gemini_events(usage: bool) -> [&'static str; 3] {
    let first = either(
        usage,
        r#"{"candidates":[{"content":{"parts":[{"text":"Hel"}]}}],"usageMetadata":{"promptTokenCount":12},"modelVersion":"m-1"}"#,
        r#"{"candidates":[{"content":{"parts":[{"text":"Hel"}]}}],"modelVersion":"m-1"}"#,
    );
    let last = either(
        usage,
        r#"{"candidates":[{"content":{"parts":[{"text":"lo"}]},"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":12,"candidatesTokenCount":1,"thoughtsTokenCount":2,"cachedContentTokenCount":4},"modelVersion":"m-1"}"#,
        r#"{"candidates":[{"content":{"parts":[{"text":"lo"}]},"finishReason":"STOP"}],"modelVersion":"m-1"}"#,
    );
    [first, first, last]
}

fn gemini(usage: bool) -> Vec<u8> {
    sse(&gemini_events(usage)).replace('\n', "\r\n").into()
}

fn gemini_array(usage: bool) -> Vec<u8> {
    format!("[{}]", gemini_events(usage).join("\n,\n")).into()
}

fn ollama(usage: bool) -> Vec<u8> {
    let last = either(
        usage,
        r#"{"model":"m-1","created_at":"2026-01-01T00:00:00Z","done":true,"done_reason":"stop","prompt_eval_count":12,"eval_count":3}"#,
        r#"{"model":"m-1","created_at":"2026-01-01T00:00:00Z","done":true,"done_reason":"stop"}"#,
    );
    let delta = r#"{"model":"m-1","created_at":"2026-01-01T00:00:00Z","message":{"content":"Hello"},"done":false}"#;
    [delta, delta, last].map(|line| format!("{line}\n")).concat().into()
}

fn cohere(usage: bool) -> Vec<u8> {
    let last = either(
        usage,
        r#"{"type":"message-end","delta":{"finish_reason":"COMPLETE","usage":{"billed_units":{"input_tokens":1,"output_tokens":1},"tokens":{"input_tokens":12,"output_tokens":3}}}}"#,
        r#"{"type":"message-end","delta":{"finish_reason":"COMPLETE"}}"#,
    );
    let delta = r#"{"type":"content-delta","delta":{"message":{"content":{"text":"Hello"}}}}"#;
    typed(&[r#"{"type":"message-start","delta":{"message":{}}}"#, delta, delta, last]).into()
}

fn bedrock_converse(usage: bool) -> Vec<u8> {
    let delta = frame("contentBlockDelta", r#"{"delta":{"text":"Hello"}}"#);
    let stop = frame("messageStop", r#"{"stopReason":"end_turn"}"#);
    let metadata =
        r#"{"usage":{"inputTokens":8,"outputTokens":3,"cacheReadInputTokens":4,"totalTokens":15}}"#;
    let metadata = if usage { frame("metadata", metadata) } else { vec![] };
    [frame("messageStart", r#"{"role":"assistant"}"#), delta.clone(), delta, stop, metadata]
        .concat()
}

fn bedrock_invoke(usage: bool) -> Vec<u8> {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let start = either(
        usage,
        r#"{"type":"message_start","message":{"model":"m-1","usage":{"input_tokens":12,"output_tokens":1}}}"#,
        r#"{"type":"message_start","message":{"model":"m-1"}}"#,
    );
    let delta = either(
        usage,
        r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":3}}"#,
        r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"}}"#,
    );
    let stop = either(
        usage,
        r#"{"type":"message_stop","amazon-bedrock-invocationMetrics":{"inputTokenCount":12,"outputTokenCount":3}}"#,
        r#"{"type":"message_stop"}"#,
    );
    let text = r#"{"type":"content_block_delta","delta":{"text":"Hello"}}"#;
    let chunks = [start, text, text, delta, stop];
    chunks
        .map(|words| frame("chunk", &format!("{{\"bytes\":\"{}\"}}", STANDARD.encode(words))))
        .concat()
}

/// A message of AWS's event stream: lengths, headers, payload, checksums.
fn frame(kind: &str, payload: &str) -> Vec<u8> {
    let mut headers = vec![];
    for (name, value) in [(":event-type", kind), (":message-type", "event")] {
        headers.push(name.len() as u8);
        headers.extend(name.as_bytes());
        headers.extend([7, 0, value.len() as u8]);
        headers.extend(value.as_bytes());
    }
    let length = 16 + headers.len() + payload.len();
    let mut frame = (length as u32).to_be_bytes().to_vec();
    frame.extend((headers.len() as u32).to_be_bytes());
    frame.extend(crc32fast::hash(&frame).to_be_bytes());
    frame.extend(headers);
    frame.extend(payload.as_bytes());
    frame.extend(crc32fast::hash(&frame).to_be_bytes());
    frame
}

const TABLE: &str = "
| dialect | stream | model | input | output | cached | finish | certainty | terminator |
|---|---|---|---|---|---|---|---|---|
| OpenAI chat | complete | m-1 | 12 | 3 | 4 | stop | reported | seen |
| OpenAI chat | cut in the middle | m-1 | - | - | - | - | unknown | missing |
| OpenAI chat | no usage asked | m-1 | - | - | - | stop | unknown | seen |
| - as of Mistral | complete | m-1 | 12 | 3 | - | length | reported | seen |
| - as of Mistral | cut in the middle | m-1 | - | - | - | - | unknown | missing |
| - as of Mistral | no usage asked | m-1 | - | - | - | length | unknown | seen |
| - as of OpenRouter | complete | maker/m-1 | 12 | 3 | 4 | stop | reported | seen |
| - as of OpenRouter | cut in the middle | maker/m-1 | - | - | - | - | unknown | missing |
| - as of OpenRouter | no usage asked | maker/m-1 | - | - | - | stop | unknown | seen |
| - as of llama.cpp | complete | m-1.gguf | 12 | 3 | - | stop | reported | seen |
| - as of llama.cpp | cut in the middle | m-1.gguf | - | - | - | - | unknown | missing |
| - as of llama.cpp | no usage asked | m-1.gguf | - | - | - | stop | unknown | seen |
| OpenAI Responses | complete | m-1 | 12 | 3 | 4 | completed | reported | seen |
| OpenAI Responses | cut in the middle | m-1 | - | - | - | - | unknown | missing |
| OpenAI Responses | no usage asked | m-1 | - | - | - | completed | unknown | seen |
| Anthropic | complete | m-1 | 12 | 3 | 4 | end_turn | reported | seen |
| Anthropic | cut in the middle | m-1 | 12 | - | 4 | - | partial | missing |
| Anthropic | no usage asked | m-1 | - | - | - | end_turn | unknown | seen |
| - as of GLM | complete | m-1 | 12 | 3 | 4 | end_turn | reported | seen |
| - as of GLM | cut in the middle | m-1 | 12 | - | - | - | partial | missing |
| - as of GLM | no usage asked | m-1 | - | - | - | end_turn | unknown | seen |
| Gemini | complete | m-1 | 12 | 3 | 4 | STOP | reported | seen |
| Gemini | cut in the middle | m-1 | 12 | - | - | - | partial | missing |
| Gemini | no usage asked | m-1 | - | - | - | STOP | unknown | seen |
| - JSON array | complete | m-1 | 12 | 3 | 4 | STOP | reported | seen |
| - JSON array | cut in the middle | m-1 | 12 | - | - | - | partial | missing |
| - JSON array | no usage asked | m-1 | - | - | - | STOP | unknown | seen |
| Ollama | complete | m-1 | 12 | 3 | - | stop | reported | seen |
| Ollama | cut in the middle | m-1 | - | - | - | - | unknown | missing |
| Ollama | no usage asked | m-1 | - | - | - | stop | unknown | seen |
| Cohere v2 | complete | - | 12 | 3 | - | COMPLETE | reported | seen |
| Cohere v2 | cut in the middle | - | - | - | - | - | unknown | missing |
| Cohere v2 | no usage asked | - | - | - | - | COMPLETE | unknown | seen |
| Bedrock Converse | complete | m | 12 | 3 | 4 | end_turn | reported | seen |
| Bedrock Converse | cut in the middle | m | - | - | - | - | unknown | missing |
| Bedrock Converse | no usage asked | m | - | - | - | end_turn | unknown | seen |
| Bedrock Invoke | complete | m-1 | 12 | 3 | - | end_turn | reported | seen |
| Bedrock Invoke | cut in the middle | m-1 | 12 | - | - | - | partial | missing |
| Bedrock Invoke | no usage asked | m-1 | - | - | - | end_turn | unknown | seen |
";
