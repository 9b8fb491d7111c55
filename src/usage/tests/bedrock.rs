//! Bedrock's messages: written here, read there. `tests/interop` has botocore read the same bytes.

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;

use super::{
    super::*,
    samples::{FRAMES, head, line, pieces, read, sample},
};
use crate::tee::Sink;

/// Writes a message.
fn message(headers: &[(&str, &str)], payload: &str) -> Vec<u8> {
    let mut written = vec![];
    // Kinds that nobody asks for, which have to be stepped over: true, a byte, two, four, eight, bytes, a time, a UUID.
    for (kind, length) in [(0, 0), (2, 1), (3, 2), (4, 4), (5, 8), (8, 8), (9, 16)] {
        // Each with a name of its own: botocore refuses a message that has two of one name.
        written.extend([1, b'a' + kind, kind]);
        written.extend(vec![7; length]);
    }
    written.extend([1, b'x', 6, 0, 2, 7, 7]);
    for (name, value) in headers {
        written.push(name.len() as u8);
        written.extend(name.as_bytes());
        written.extend([7, 0, value.len() as u8]);
        written.extend(value.as_bytes());
    }
    let length = 16 + written.len() + payload.len();
    let mut message = (length as u32).to_be_bytes().to_vec();
    message.extend((written.len() as u32).to_be_bytes());
    message.extend(crc32fast::hash(&message).to_be_bytes());
    message.extend(written);
    message.extend(payload.as_bytes());
    message.extend(crc32fast::hash(&message).to_be_bytes());
    message
}

pub(super) fn event(kind: &str, payload: &str) -> Vec<u8> {
    let content = (":content-type", "application/json");
    message(&[(":event-type", kind), content, (":message-type", "event")], payload)
}

pub(super) fn chunk(words: &str) -> Vec<u8> {
    // The slash of base64 with its escape, as some writers of JSON have it.
    let bytes = STANDARD.encode(words).replace('/', "\\/");
    event("chunk", &format!("{{\"bytes\":\"{bytes}\",\"p\":\"abcdef\"}}"))
}

const METADATA: &str = r#"{"metrics":{"latencyMs":58},"p":"abc","usage":{"inputTokens":15,"outputTokens":142,"totalTokens":277,"cacheReadInputTokens":100,"cacheWriteInputTokens":20}}"#;

pub(super) fn converse() -> Bytes {
    [
        event("messageStart", r#"{"p":"abc","role":"assistant"}"#),
        event("contentBlockDelta", r#"{"contentBlockIndex":0,"delta":{"text":"Hi \"usage\":"}}"#),
        event("contentBlockStop", r#"{"contentBlockIndex":0,"p":"ab"}"#),
        event("messageStop", r#"{"p":"abcd","stopReason":"end_turn"}"#),
        event("metadata", METADATA),
    ]
    .concat()
    .into()
}

pub(super) fn exception() -> Bytes {
    let kinds = [(":exception-type", "throttlingException"), (":message-type", "exception")];
    let exception = message(&kinds, r#"{"message":"Too many requests"}"#);
    [event("messageStart", r#"{"role":"assistant"}"#), exception].concat().into()
}

pub(super) fn invoke() -> Bytes {
    [
        chunk(r#"{"type":"message_start","message":{"model":"claude-test","usage":{"input_tokens":46,"output_tokens":1}}}"#),
        chunk(r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"??>>~~"}}"#),
        chunk(r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":11}}"#),
        chunk(r#"{"type":"message_stop","amazon-bedrock-invocationMetrics":{"inputTokenCount":47,"outputTokenCount":12,"invocationLatency":417,"cacheReadInputTokenCount":0,"cacheWriteInputTokenCount":0}}"#),
    ]
    .concat()
    .into()
}

#[test]
fn the_words_of_other_models_are_read_too() {
    for (words, expected) in [
        (
            r#"{"metadata":{"usage":{"inputTokens":4,"outputTokens":2,"cacheReadInputTokenCount":1}}}"#,
            (5, 2),
        ),
        (
            r#"{"choices":[{"finish_reason":"stop"}],"usage":{"prompt_tokens":4,"completion_tokens":2}}"#,
            (4, 2),
        ),
        (
            r#"{"generation":"","stop_reason":"stop","amazon-bedrock-invocationMetrics":{"inputTokenCount":4,"outputTokenCount":2}}"#,
            (4, 2),
        ),
    ] {
        let usage = read(UsageMeter::new(Some(Dialect::BedrockInvoke)), [chunk(words).into()]);
        assert_eq!((usage.input_tokens, usage.output_tokens), (Some(expected.0), Some(expected.1)));
        assert_eq!(usage.terminator, Terminator::Seen);
    }
}

#[test]
fn a_response_of_invoke_is_counted_in_the_models_own_words() {
    for (words, expected) in [
        (
            r#"{"type":"message","model":"claude-test","stop_reason":"end_turn","usage":{"input_tokens":4,"cache_read_input_tokens":1,"output_tokens":2}}"#,
            "bedrock_invoke claude-test in 5 out 2 cached 1 written - thoughts - end_turn reported none",
        ),
        (
            r#"{"output":{"message":{"role":"assistant"}},"stopReason":"max_tokens","usage":{"inputTokens":4,"outputTokens":2}}"#,
            "bedrock_invoke - in 4 out 2 cached - written - thoughts - max_tokens reported none",
        ),
    ] {
        let mut meter = UsageMeter::new(Some(Dialect::BedrockInvoke));
        meter.head(&head(200, "application/json"));
        assert_eq!(line(&read(meter, [Bytes::from(words)])), expected);
    }
}

#[test]
fn a_response_of_invoke_is_counted_in_its_head() {
    let mut meter = UsageMeter::for_path("/model/m/invoke");
    let mut head = head(200, "application/json");
    for (name, value) in [("input", "30"), ("output", "8"), ("cache-read-input", "4")] {
        let name = format!("x-amzn-bedrock-{name}-token-count").parse::<http::HeaderName>();
        head.headers.insert(name.unwrap(), value.parse().unwrap());
    }
    meter.head(&head);
    let usage = read(meter, [Bytes::from("{\"generation\":\"Hi\"}")]);
    let expected = "bedrock_invoke m in 34 out 8 cached 4 written - thoughts - - reported none";
    assert_eq!(line(&usage), expected);
}

#[test]
fn a_broken_message_is_left_out_and_the_next_is_read() {
    let mut stop = event("messageStop", r#"{"stopReason":"end_turn"}"#);
    let at = stop.len() - 10;
    stop[at] ^= 1;
    let stream = [stop, event("metadata", METADATA)].concat();
    let usage = read(UsageMeter::new(Some(Dialect::BedrockConverse)), [stream.into()]);
    assert_eq!((usage.finish_reason, usage.output_tokens), (None, Some(142)));
}

#[test]
fn behind_a_broken_prelude_nothing_is_read() {
    let mut stop = event("messageStop", r#"{"stopReason":"end_turn"}"#);
    stop[3] ^= 1;
    let stream = [stop, event("metadata", METADATA)].concat();
    let usage = read(UsageMeter::new(Some(Dialect::BedrockConverse)), [stream.into()]);
    assert_eq!((usage.finish_reason, usage.output_tokens), (None, None));
}

#[test]
fn a_message_whose_lengths_contradict_each_other_is_left_out_and_the_next_is_read() {
    let mut stop = event("messageStop", r#"{"stopReason":"end_turn"}"#);
    let length = stop.len() as u32;
    stop[4..8].copy_from_slice(&length.to_be_bytes());
    let checksum = crc32fast::hash(&stop[..8]);
    stop[8..12].copy_from_slice(&checksum.to_be_bytes());
    let stream = Bytes::from([stop, event("metadata", METADATA)].concat());
    for size in [1, 7, 1000] {
        let pieces = pieces(&stream, size);
        let usage = read(UsageMeter::new(Some(Dialect::BedrockConverse)), pieces);
        assert_eq!((usage.finish_reason, usage.output_tokens), (None, Some(142)), "{size}");
    }
}

#[test]
fn a_chunk_that_is_no_base64_is_left_out() {
    let words = STANDARD.encode(r#"{"usage":{"input_tokens":4,"output_tokens":2}}"#);
    let broken =
        [&words[..words.len() - 1], &words.replacen('=', "", 1), &words.replacen('J', "%", 1)];
    for (bytes, counts) in
        broken.iter().map(|broken| (*broken, None)).chain([(&words[..], Some(2))])
    {
        let chunk = Bytes::from(event("chunk", &format!("{{\"bytes\":\"{bytes}\"}}")));
        for size in [1, 3, 1000] {
            let meter = UsageMeter::new(Some(Dialect::BedrockInvoke));
            let usage = read(meter, pieces(&chunk, size));
            assert_eq!(
                (usage.dialect, usage.output_tokens),
                (Some(Dialect::BedrockInvoke), counts)
            );
        }
    }
}

#[test]
fn of_two_members_with_the_words_the_last_counts() {
    let bytes =
        |count: u32| STANDARD.encode(format!("{{\"usage\":{{\"output_tokens\":{count}}}}}"));
    let twice = format!("{{\"bytes\":\"{}\",\"bytes\":\"{}\",\"p\":[\"x\"]}}", bytes(1), bytes(2));
    let meter = UsageMeter::new(Some(Dialect::BedrockInvoke));
    let usage = read(meter, [Bytes::from(event("chunk", &twice))]);
    assert_eq!(usage.output_tokens, Some(2));
}

#[test]
fn the_kind_of_the_messages_tells_converse_from_invoke() {
    const CONVERSE: Option<Dialect> = Some(Dialect::BedrockConverse);
    const INVOKE: Option<Dialect> = Some(Dialect::BedrockInvoke);
    for (path, name, dialect) in [
        ("/model/m/converse-stream", "bedrock_converse", CONVERSE),
        ("/model/m/converse-stream", "bedrock_invoke", INVOKE),
        ("/x", "bedrock_converse", CONVERSE),
        ("/x", "bedrock_invoke", INVOKE),
    ] {
        let mut meter = UsageMeter::for_path(path);
        meter.head(&head(200, FRAMES));
        assert_eq!(read(meter, [sample(name).body]).dialect, dialect, "{path} {name}");
    }
}

#[test]
fn messages_of_agents_flows_and_transcriptions_are_of_no_dialect() {
    for kinds in [
        &["trace", "chunk", "metadata"][..],
        &["flowOutputEvent", "flowCompletionEvent"],
        &["citation", "output"],
        &["TranscriptEvent"],
    ] {
        let stream: Vec<u8> =
            kinds.iter().flat_map(|kind| event(kind, r#"{"bytes":"aGk="}"#)).collect();
        let stream = Bytes::from(stream);
        for size in [1, 1000] {
            let mut meter = UsageMeter::for_path("/agents/a/agentAliases/b/sessions/s/text");
            meter.head(&head(200, FRAMES));
            assert_eq!(read(meter, pieces(&stream, size)), Usage::default(), "{kinds:?}");
        }
    }
}

#[test]
fn a_body_that_begins_with_a_zero_byte_is_a_stream_of_messages_only_where_bedrock_answers() {
    let body = Bytes::from_static(b"\0\0\0\x18ftypmp42");
    for path in ["/v1/chat/completions", "/v1/messages", "/v1/responses", "/api/chat"] {
        let mut meter = UsageMeter::for_path(path);
        meter.head(&head(200, "application/octet-stream"));
        assert_eq!(read(meter, [body.clone()]).terminator, Terminator::None, "{path}");
    }
}

#[test]
fn the_files_that_botocore_reads_are_what_is_written_here() {
    for (file, written) in [
        (&include_bytes!("../../../tests/fixtures/usage/bedrock_converse.bin")[..], converse()),
        (
            include_bytes!("../../../tests/fixtures/usage/bedrock_converse_exception.bin"),
            exception(),
        ),
        (include_bytes!("../../../tests/fixtures/usage/bedrock_invoke.bin"), invoke()),
    ] {
        assert_eq!(file, written);
    }
}
