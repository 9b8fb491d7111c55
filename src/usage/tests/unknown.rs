//! Streams of no known dialect: what looks like one at first sight, and what ends them all the same.

use bytes::Bytes;
use http::Request;

use super::{
    super::*,
    samples::{EVENTS, JSON, LINES, eventwise, head, pieces, read},
};
use crate::{exchange::Outcome, tee::Sink};

const PATH: &str = "/x";

/// What is known of a stream, which has to be the same in whatever pieces it comes.
fn usage(path: &str, content_type: &str, stream: &str) -> Usage {
    let body = Bytes::copy_from_slice(stream.as_bytes());
    let [whole, others @ ..] =
        [vec![body.clone()], eventwise(&body), pieces(&body, 1)].map(|pieces| {
            let mut meter = UsageMeter::for_path(path);
            meter.head(&head(200, content_type));
            read(meter, pieces)
        });
    for other in others {
        assert_eq!(other, whole, "{stream}");
    }
    whole
}

/// How a stream has ended by its own words.
fn end(path: &str, stream: &str) -> Option<Outcome> {
    let exchange = Exchange::of(&mut Request::new(()));
    let mut meter = UsageMeter::for_path(path).in_exchange(exchange.clone());
    meter.head(&head(200, EVENTS));
    meter.data(Bytes::copy_from_slice(stream.as_bytes()));
    exchange.said().end.map(|end| end.outcome())
}

fn sse(data: &str) -> String {
    format!("data: {data}\n\n")
}

#[test]
fn a_stream_that_has_a_name_in_common_with_a_dialect_is_not_of_it() {
    for event in [
        // Dify; Mistral's conversations.
        r#"{"event":"message","message_id":"m","created_at":1679586595,"answer":" I"}"#,
        r#"{"type":"message.output.delta","created_at":"2026-11-28T17:00:00Z","content":"hi"}"#,
        r#"{"type":"conversation.response.started","created_at":"2026-11-28T17:00:00Z"}"#,
        r#"{"model":"m","created_at":"2026-11-28T17:00:00Z","done":true}"#,
        r#"{"choices":["yes","no"]}"#,
        r#"{"choices":[]}"#,
        r#"{"choices":[{"text":"yes","id":1},{"message":"no"}]}"#,
        r#"{"candidates":[{"name":"a","content":"b"}]}"#,
        r#"{"candidates":[]}"#,
        r#"{"usageMetadata":{}}"#,
        r#"{"type":"message_start"}"#,
        r#"{"type":"message-start","id":1}"#,
        r#"{"type":"response.delta","text":"a"}"#,
        r#"{"stop_reason":"end"}"#,
        r#"{"finish_reason":"end","message":{"text":"a"}}"#,
        r#"{"stopReason":"end"}"#,
    ] {
        assert_eq!(usage(PATH, EVENTS, &sse(event)), Usage::default(), "{event}");
    }
    for line in [
        r#"{"created_at":"2026-11-28T17:00:00Z","message":"a job"}"#,
        r#"{"object":"chat.completion.chunk","choices":[{"delta":{}}]}"#,
        r#"{"type":"message_start","message":{"role":"assistant"}}"#,
    ] {
        assert_eq!(usage(PATH, LINES, &format!("{line}\n")), Usage::default(), "{line}");
    }
}

#[test]
fn a_stream_of_a_dialect_is_known_for_it_by_its_first_event_on_any_path() {
    for (event, dialect) in [
        (r#"{"choices":[{"index":0,"delta":{"content":"hi"}}]}"#, Dialect::OpenAiChat),
        (r#"{"choices":[{"message":{"role":"assistant"}}]}"#, Dialect::OpenAiChat),
        (r#"{"choices":[{"text":"hi","finish_reason":null}]}"#, Dialect::OpenAiChat),
        (r#"{"object":"text_completion","choices":[]}"#, Dialect::OpenAiChat),
        (r#"{"type":"response.created","response":{"id":"r"}}"#, Dialect::OpenAiResponses),
        (r#"{"type":"response.output_text.delta","sequence_number":0}"#, Dialect::OpenAiResponses),
        (r#"{"type":"message_start","message":{"role":"assistant"}}"#, Dialect::Anthropic),
        (r#"{"type":"message-start","delta":{}}"#, Dialect::Cohere),
        (r#"{"candidates":[{"content":{"parts":[],"role":"model"}}]}"#, Dialect::Gemini),
        (r#"{"candidates":[{"finishReason":"SAFETY"}]}"#, Dialect::Gemini),
        (r#"{"usageMetadata":{"trafficType":"ON_DEMAND"}}"#, Dialect::Gemini),
    ] {
        let usage = usage(PATH, EVENTS, &sse(event));
        assert_eq!(usage.dialect, Some(dialect), "{event}");
    }
    let line = "{\"model\":\"m\",\"created_at\":\"1\",\"response\":\"\",\"done\":false}\n";
    assert_eq!(usage(PATH, LINES, line).dialect, Some(Dialect::Ollama));
}

#[test]
fn an_answer_of_json_rpc_that_is_an_error_ends_no_stream() {
    for rpc in [
        r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"no such method"}}"#,
        r#"{"id":1,"error":{"code":-32601,"message":"no such method"},"jsonrpc":"2.0"}"#,
    ] {
        for path in ["/mcp", "/v1/chat/completions"] {
            assert!(!usage(path, EVENTS, &sse(rpc)).error_event, "{path}");
            assert_eq!(end(path, &sse(rpc)), None, "{path}");
        }
        assert!(!usage("/mcp", LINES, &format!("{rpc}\n")).error_event);
    }
}

#[test]
fn a_stream_of_no_known_dialect_has_failed_only_where_an_event_is_called_so() {
    let error = r#"{"error":{"message":"no such row"}}"#;
    let kind = r#"{"type":"error","error":{"message":"no such row"}}"#;
    for (stream, failed) in [
        (sse(error), false),
        (sse(kind), true),
        (format!("event: error\ndata: {error}\n\n"), true),
        ("event: error\ndata: no JSON\n\n".to_owned(), true),
        (sse("{\"errors\":1}"), false),
    ] {
        assert_eq!(usage(PATH, EVENTS, &stream).error_event, failed, "{stream}");
    }
    assert!(!usage(PATH, LINES, &format!("{error}\n")).error_event);
    assert!(!usage(PATH, LINES, "{\"type\":\"error\",\"line\":7}\n").error_event);
    assert!(usage(PATH, LINES, &format!("{kind}\n")).error_event);
    assert!(usage("/v1/chat/completions", EVENTS, &sse(error)).error_event);
}

#[test]
fn an_error_in_which_nothing_is_is_none() {
    for nothing in ["\"\"", "{}", "{ }", "[]", "0", "0.0", "null", "false"] {
        let event = format!("{{\"error\":{nothing},\"choices\":[{{\"delta\":{{}}}}]}}");
        assert!(!usage("/v1/chat/completions", EVENTS, &sse(&event)).error_event, "{event}");
        let line = format!("{{\"error\":{nothing}}}\n");
        assert!(!usage("/api/chat", LINES, &line).error_event, "{line}");
    }
    for something in ["\"x\"", "{\"code\":0}", "[null]", "1", "-1", "1.5", "true"] {
        let event = format!("{{\"error\":{something}}}");
        assert!(usage("/v1/chat/completions", EVENTS, &sse(&event)).error_event, "{event}");
    }
}

#[test]
fn an_array_of_objects_is_a_stream_of_gemini_s_alone() {
    let chat = r#"[{"choices":[{"index":0,"delta":{"content":"hi"}}]}]"#;
    let stopped = r#"[{"type":"message_stop"},{"error":{"message":"no"}}]"#;
    for (path, array) in [
        (PATH, chat),
        ("/v1/chat/completions", chat),
        ("/v1/messages", stopped),
        ("/v2/chat", stopped),
        (PATH, "[{\"error\":{\"code\":1}}]"),
    ] {
        let usage = usage(path, JSON, array);
        assert_eq!(usage.terminator, Terminator::None, "{path} {array}");
        assert!(!usage.unfinished && !usage.error_event, "{path} {array}");
    }
    let gemini = r#"[{"candidates":[{"content":{"parts":[{"text":"hi"}]}}]}]"#;
    for path in [PATH, "/v1beta/models/m:streamGenerateContent"] {
        let usage = usage(path, JSON, gemini);
        assert_eq!((usage.terminator, usage.unfinished), (Terminator::Missing, true), "{path}");
    }
}

#[test]
fn a_terminal_event_that_only_its_event_line_names_is_one() {
    for (path, name) in [
        ("/v1/messages", "message_stop"),
        ("/v1/responses", "response.completed"),
        ("/v1/responses", "response.incomplete"),
        ("/v2/chat", "message-end"),
    ] {
        for data in ["{}", "{\"x\":1}"] {
            let event = format!("event: {name}\ndata: {data}\n\n");
            for before in ["", "data: {\"model\":\"m\"}\n\n"] {
                let stream = format!("{before}{event}");
                assert_eq!(usage(path, EVENTS, &stream).terminator, Terminator::Seen, "{stream}");
                assert_eq!(end(path, &stream), Some(Outcome::Completed), "{stream}");
            }
        }
        let other = format!("event: {name}\ndata: {{\"type\":\"ping\"}}\n\n");
        assert_eq!(end(path, &other), None, "the data know better");
    }
}

#[test]
fn done_ends_a_stream_of_any_dialect_and_of_none() {
    for path in [PATH, "/v1/messages", "/v1/chat/completions", "/v1/audio/transcriptions"] {
        let stream = "data: {\"token\":1}\n\ndata: [DONE]\n\n";
        assert_eq!(end(path, stream), Some(Outcome::Completed), "{path}");
    }
    let usage = usage(PATH, EVENTS, "data: {\"token\":1}\n\ndata: [DONE]\n\n");
    assert_eq!(usage, Usage::default(), "no terminator was promised");
}

#[test]
fn a_stream_that_is_no_chat_has_no_terminator_though_it_says_done() {
    let usage = usage(
        "/v1/audio/transcriptions",
        EVENTS,
        "data: {\"type\":\"transcript.text.done\",\"usage\":{\"input_tokens\":14,\"output_tokens\":5}}\n\ndata: [DONE]\n\n",
    );
    assert_eq!((usage.input_tokens, usage.output_tokens), (Some(14), Some(5)));
    assert_eq!((usage.terminator, usage.certainty), (Terminator::None, Certainty::Reported));
}

#[test]
fn a_reason_that_is_unspecified_is_none() {
    let path = "/v1beta/models/m:streamGenerateContent";
    for event in [
        r#"{"candidates":[{"content":{"parts":[{"text":"hi"}]},"finishReason":"FINISH_REASON_UNSPECIFIED"}]}"#,
        r#"{"promptFeedback":{"blockReason":"BLOCK_REASON_UNSPECIFIED"}}"#,
    ] {
        let usage = usage(path, EVENTS, &sse(event));
        assert_eq!((usage.terminator, usage.unfinished), (Terminator::Missing, true), "{event}");
        assert_eq!(usage.finish_reason, None, "{event}");
    }
}

#[test]
fn thoughts_that_the_total_has_apart_are_output_in_responses_too() {
    let of = |total| {
        let event = format!(
            "{{\"type\":\"response.completed\",\"response\":{{\"usage\":{{\"input_tokens\":65,\"output_tokens\":51,\
             \"total_tokens\":{total},\"output_tokens_details\":{{\"reasoning_tokens\":200}}}}}}}}"
        );
        usage("/v1/responses", EVENTS, &sse(&event)).output_tokens
    };
    assert_eq!((of(316), of(116)), (Some(251), Some(51)));
}

#[test]
fn what_is_no_number_in_an_event_does_not_hide_the_rest_of_it() {
    let event = r#"{"choices":[{"logprobs":{"content":[{"logprob":-Infinity},{"logprob":NaN}]},"finish_reason":"stop"}],"usage":{"prompt_tokens":NaN,"prompt_tokens":3,"completion_tokens":4}}"#;
    let usage = usage("/v1/chat/completions", EVENTS, &sse(event));
    assert_eq!((usage.input_tokens, usage.output_tokens), (Some(3), Some(4)));
    assert!(!usage.unfinished);
}
