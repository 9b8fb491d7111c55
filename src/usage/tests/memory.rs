//! What is held, and what is not.

use allocation_counter::measure;
use bytes::Bytes;

use super::{
    super::*,
    bedrock,
    samples::{EVENTS, FRAMES, JSON, LINES, head, sample},
};
use crate::{exchange::Outcome, tee::Sink};

/// What is held of anything, however large it is.
const HELD: u64 = 24 * 1024;

/// The first bytes of an event, a line, an object or a message, and of something in it that does not end.
fn endless() -> Vec<(&'static str, Bytes, &'static str)> {
    let message = |headers: u32| {
        let mut message = [u32::MAX.to_be_bytes(), headers.to_be_bytes()].concat();
        message.extend(crc32fast::hash(&message).to_be_bytes());
        message
    };
    let chunk = bedrock::chunk(&"x".repeat(9000));
    let headers = u32::from_be_bytes(chunk[4..8].try_into().unwrap());
    let begun = [&message(headers)[..], &chunk[12..2000]].concat();
    vec![
        (EVENTS, "data: {\"usage\":\"".into(), "x"),
        (EVENTS, "data: {\"model\":\"".into(), "\\u00e9"),
        (EVENTS, "data: {\"choices\":[".into(), "{\"index\":1,\"finish_reason\":\"stop\"},"),
        (EVENTS, "data: {\"usage\":{\"a\":1".into(), ",\"prompt_tokens\":1"),
        (EVENTS, "data: {\"x\":".into(), "[{\"y\":"),
        (EVENTS, "data: {\"".into(), "usage"),
        (EVENTS, "data: {\"x\":".into(), "7"),
        (EVENTS, "data:".into(), "\ndata: "),
        (EVENTS, "event: ".into(), "error"),
        (EVENTS, "".into(), "data"),
        (LINES, "{\"done\":\"".into(), "x"),
        (JSON, "[{\"usageMetadata\":\"".into(), "x"),
        (JSON, "[".into(), "{"),
        (FRAMES, message(0).into(), "x"),
        (FRAMES, message(1000 * 1000).into(), "x"),
        (FRAMES, begun.into(), "QUFB"),
    ]
}

#[test]
fn what_does_not_end_is_not_held() {
    for (content_type, begin, goes_on) in endless() {
        for size in [200, 1000, 3000] {
            let piece = Bytes::from(goes_on.repeat(size));
            let name = format!("{content_type}: {begin:?} {goes_on}");
            let used = measure(|| {
                let mut meter = UsageMeter::new(None);
                meter.head(&head(200, content_type));
                meter.data(begin.clone());
                for _ in 0..100 {
                    meter.data(piece.clone());
                }
                meter.end(Outcome::Disconnected);
            });
            assert!(used.bytes_max < HELD, "{name}: {used:?}");
            assert!(used.count_total < 400, "{name}: {used:?}");
        }
    }
}

#[test]
fn an_event_without_a_word_of_interest_allocates_nothing() {
    for (name, event) in [
        (
            "openai_chat.sse",
            "data: {\"model\":\"m\",\"choices\":[{\"delta\":{\"content\":\"a\"},\"finish_reason\":null}],\"usage\":null}\n\n",
        ),
        (
            "openai_responses.sse",
            "event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"delta\":\"a\"}\n\n",
        ),
        (
            "anthropic.sse",
            "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"delta\":{\"text\":\"a\"}}\n\n",
        ),
        ("ollama.ndjson", "{\"model\":\"m\",\"message\":{\"content\":\"a\"},\"done\":false}\n"),
        (
            "cohere.sse",
            "data: {\"type\":\"content-delta\",\"delta\":{\"message\":{\"content\":{\"text\":\"a\"}}}}\n\n",
        ),
    ] {
        let sample = sample(name);
        let mut meter = sample.meter();
        meter.data(sample.body.clone());
        if name == "cohere.sse" || name == "anthropic.sse" {
            meter.data(Bytes::from("\n\n"));
        }
        let event = Bytes::from(event);
        meter.data(event.clone());
        let used = measure(|| {
            for _ in 0..100 {
                meter.data(event.clone());
            }
        });
        assert_eq!(used.count_total, 0, "{name}");
    }
}
