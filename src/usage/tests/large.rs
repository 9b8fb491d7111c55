//! Usage is found wherever it is, however large its event is.

use allocation_counter::measure;
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;

use super::{
    bedrock,
    samples::{EVENTS, FRAMES, JSON, LINES, head, pieces},
};
use crate::{
    exchange::Outcome,
    tee::Sink,
    usage::{Certainty, Terminator, Usage, UsageMeter},
};

/// An image in base64: its size in the issue, and a large one.
const SIZES: [usize; 2] = [1_126_400, 64 * 1024 * 1024];

/// What the meter holds at most, whatever comes.
const HELD: u64 = 24 * 1024;

/// Reads what is written around a string of that size, in frames of 16 KiB, and says what was held.
fn read(path: &str, content_type: &str, before: &str, behind: &str, size: usize) -> Usage {
    let filling = Bytes::from("iVBORw0KGgo/".repeat(1366));
    let (before, behind) =
        (Bytes::copy_from_slice(before.as_bytes()), Bytes::copy_from_slice(behind.as_bytes()));
    let mut usage = Usage::default();
    let used = measure(|| {
        let mut meter = UsageMeter::for_path(path);
        meter.head(&head(200, content_type));
        let report = meter.report();
        meter.data(before.clone());
        let mut left = size;
        while left > 0 {
            let piece = filling.slice(..left.min(filling.len()));
            left -= piece.len();
            meter.data(piece);
        }
        meter.data(behind.clone());
        meter.end(Outcome::Completed);
        usage = report.usage();
    });
    assert!(used.bytes_max < HELD, "{path}: {used:?}");
    usage
}

fn counted(usage: &Usage) -> (Option<u64>, Option<u64>, Certainty) {
    (usage.input_tokens, usage.output_tokens, usage.certainty)
}

const COUNTED: (Option<u64>, Option<u64>, Certainty) = (Some(11), Some(7), Certainty::Reported);

#[test]
fn the_usage_behind_an_image_in_the_event_that_ends_a_response_is_found_in_constant_memory() {
    let before = "event: response.completed\ndata: {\"type\":\"response.completed\",\"response\":{\"status\":\"completed\",\
                  \"output\":[{\"type\":\"image_generation_call\",\"result\":\"";
    let behind = "\"}],\"usage\":{\"input_tokens\":11,\"output_tokens\":7}}}\n\n";
    for size in SIZES {
        let usage = read("/v1/responses", EVENTS, before, behind, size);
        assert_eq!(counted(&usage), COUNTED);
        assert_eq!(usage.terminator, Terminator::Seen);
    }
}

#[test]
fn the_usage_before_a_large_string_is_found_too() {
    let before = "data: {\"type\":\"response.completed\",\"response\":{\"status\":\"completed\",\
                  \"usage\":{\"input_tokens\":11,\"output_tokens\":7},\"output\":[{\"result\":\"";
    let usage = read("/v1/responses", EVENTS, before, "\"}]}}\n\n", SIZES[0]);
    assert_eq!((counted(&usage), usage.terminator), (COUNTED, Terminator::Seen));
}

#[test]
fn a_json_response_may_have_a_content_of_any_size() {
    for (path, before, behind) in [
        (
            "/v1/chat/completions",
            "{\"object\":\"chat.completion\",\"choices\":[{\"index\":0,\"message\":{\"content\":\"",
            "\"},\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":11,\"completion_tokens\":7}}",
        ),
        (
            "/v1/messages",
            "{\"type\":\"message\",\"usage\":{\"input_tokens\":11,\"output_tokens\":7},\"content\":[{\"text\":\"",
            "\"}],\"stop_reason\":\"end_turn\"}",
        ),
        (
            "/v2/chat",
            "{\"message\":{\"content\":[{\"text\":\"",
            "\"}]},\"finish_reason\":\"COMPLETE\",\"usage\":{\"tokens\":{\"input_tokens\":11,\"output_tokens\":7}}}",
        ),
        (
            "/model/m/converse",
            "{\"output\":{\"message\":{\"content\":[{\"text\":\"",
            "\"}]}},\"stopReason\":\"end_turn\",\"usage\":{\"inputTokens\":11,\"outputTokens\":7}}",
        ),
    ] {
        for size in SIZES {
            let usage = read(path, JSON, before, behind, size);
            assert_eq!((counted(&usage), usage.terminator), (COUNTED, Terminator::None), "{path}");
        }
    }
}

#[test]
fn an_event_of_any_framing_may_have_a_content_of_any_size() {
    let gemini =
        "{\"candidates\":[{\"index\":0,\"content\":{\"parts\":[{\"inlineData\":{\"data\":\"";
    let behind = "\"}}]},\"finishReason\":\"STOP\"}],\"usageMetadata\":{\"promptTokenCount\":11,\"candidatesTokenCount\":7}}";
    for (path, content_type, before, behind) in [
        (
            "/v1beta/models/m:streamGenerateContent",
            JSON,
            format!("[{gemini}"),
            format!("{behind}]"),
        ),
        (
            "/v1beta/models/m:streamGenerateContent",
            EVENTS,
            format!("data: {gemini}"),
            format!("{behind}\r\n\r\n"),
        ),
        (
            "/api/chat",
            LINES,
            "{\"model\":\"m\",\"message\":{\"content\":\"".into(),
            "\"},\"done\":true,\"prompt_eval_count\":11,\"eval_count\":7}\n".into(),
        ),
        (
            "/v1/messages",
            EVENTS,
            "data: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":11}}}\n\n\
             data: {\"type\":\"message_delta\",\"delta\":{\"stop_sequence\":\""
                .into(),
            "\",\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":7}}\n\n\
             data: {\"type\":\"message_stop\"}\n\n"
                .into(),
        ),
    ] {
        for size in SIZES {
            let usage = read(path, content_type, &before, &behind, size);
            assert_eq!((counted(&usage), usage.terminator), (COUNTED, Terminator::Seen), "{path}");
        }
    }
}

#[test]
fn a_message_of_bedrock_may_be_large_and_so_may_what_it_wraps() {
    let text = "iVBORw0KGgo/".repeat(100_000);
    let converse =
        format!("{{\"x\":\"{text}\",\"usage\":{{\"inputTokens\":11,\"outputTokens\":7}}}}");
    let converse = [
        bedrock::event("messageStart", "{\"role\":\"assistant\"}"),
        bedrock::event("messageStop", "{\"stopReason\":\"end_turn\"}"),
        bedrock::event("metadata", &converse),
    ];
    let words = format!(
        "{{\"generation\":\"{text}\",\"stop_reason\":\"stop\",\
         \"amazon-bedrock-invocationMetrics\":{{\"inputTokenCount\":11,\"outputTokenCount\":7}}}}"
    );
    for stream in [converse.concat(), bedrock::chunk(&words)] {
        for size in [7, 8 * 1024, stream.len()] {
            let pieces = pieces(&Bytes::from(stream.clone()), size);
            let mut usage = Usage::default();
            let used = measure(|| {
                let mut meter = UsageMeter::new(None);
                meter.head(&head(200, FRAMES));
                let report = meter.report();
                pieces.iter().for_each(|piece| meter.data(piece.clone()));
                meter.end(Outcome::Completed);
                usage = report.usage();
            });
            assert!(used.bytes_max < HELD, "{used:?}");
            assert_eq!((counted(&usage), usage.terminator), (COUNTED, Terminator::Seen));
        }
    }
}

#[test]
fn an_error_event_with_a_large_message_is_one() {
    for (path, content_type, before, behind) in [
        (
            "/v1/chat/completions",
            EVENTS,
            "data: {\"error\":{\"message\":\"",
            "\",\"code\":529}}\n\n",
        ),
        ("/v1/messages", EVENTS, "event: error\ndata: {\"message\":\"", "\"}\n\n"),
        ("/v1/messages", EVENTS, "data: {\"message\":\"", "\",\"type\":\"error\"}\n\n"),
        ("/v1/messages", EVENTS, "data: {\"message\":\"", "\"}\nevent: error\n\n"),
        ("/api/chat", LINES, "{\"error\":\"", "\"}\n"),
    ] {
        let usage = read(path, content_type, before, behind, SIZES[0]);
        assert!(usage.error_event, "{path} {before}");
    }
}

#[test]
fn the_usage_is_found_behind_a_hundred_thousand_levels_and_a_million_numbers() {
    let deep = "[{\"a\":".repeat(50_000) + "0" + &"}]".repeat(50_000);
    let numbers = "[".to_owned() + &"-0.0123,".repeat(1_000_000) + "1]";
    for filling in [deep, numbers] {
        let stream = format!(
            "data: {{\"choices\":[{{\"index\":0,\"finish_reason\":\"stop\"}}],\"x\":{filling},\
             \"usage\":{{\"prompt_tokens\":11,\"completion_tokens\":7}}}}\n\ndata: [DONE]\n\n"
        );
        let mut meter = UsageMeter::for_path("/v1/chat/completions");
        meter.head(&head(200, EVENTS));
        let usage = super::samples::read(meter, pieces(&Bytes::from(stream), 16 * 1024));
        assert_eq!((counted(&usage), usage.terminator), (COUNTED, Terminator::Seen));
    }
}

#[test]
fn the_text_of_a_model_is_never_taken_for_its_usage_however_it_is_written() {
    let quoted =
        r#"\"usage\":{\"prompt_tokens\":99,\"completion_tokens\":99}}\u0022,\u0022usage\u0022:{}"#;
    let wrapped = STANDARD.encode(quoted);
    let stream =
        format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{quoted}{wrapped}\"}}}}]}}\n\n");
    let mut meter = UsageMeter::for_path("/v1/chat/completions");
    meter.head(&head(200, EVENTS));
    let usage = super::samples::read(meter, [Bytes::from(stream)]);
    assert_eq!(usage.certainty, Certainty::Unknown);
}
