//! What is held, and what is not.

use allocation_counter::measure;
use bytes::Bytes;

use super::{
    super::*,
    samples::{EVENTS, FRAMES, JSON, LINES, head, sample},
};
use crate::{exchange::Outcome, tee::Sink};

const LIMIT: usize = 16 * 1024;

/// The first bytes of an event, a line, an object or a message that does not end.
fn endless() -> [(&'static str, Bytes); 4] {
    let mut message = [15_000_u32.to_be_bytes(), [0; 4]].concat();
    message.extend(crc32fast::hash(&message).to_be_bytes());
    [
        (EVENTS, "data: {\"usage\":\"".into()),
        (LINES, "{\"done\":\"".into()),
        (JSON, "[{\"usageMetadata\":\"".into()),
        (FRAMES, message.into()),
    ]
}

#[test]
fn what_does_not_end_is_held_up_to_the_limit_and_no_further() {
    for (content_type, begin) in endless() {
        let piece = Bytes::from("x".repeat(1000));
        let used = measure(|| {
            let mut meter = UsageMeter::new(None).with_limit(LIMIT);
            meter.head(&head(200, content_type));
            meter.data(begin);
            for _ in 0..1500 {
                meter.data(piece.clone());
            }
            meter.end(Outcome::Disconnected);
        });
        assert!(used.bytes_max < 8 * LIMIT as u64, "{content_type}: {used:?}");
        assert!(used.count_total < 200, "{content_type}: {used:?}");
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

#[test]
fn a_response_that_is_no_stream_is_read_up_to_the_limit() {
    let sample = sample("openai_chat.json");
    for (limit, certainty) in
        [(sample.body.len(), Certainty::Reported), (sample.body.len() - 1, Certainty::Unknown)]
    {
        let usage = super::samples::read(sample.meter_of(limit), [sample.body.clone()]);
        assert_eq!((usage.certainty, usage.terminator), (certainty, Terminator::None));
    }
}

#[test]
fn the_usage_is_found_behind_an_event_that_is_too_large() {
    let sample = sample("openai_chat.sse");
    let large = format!("data: {{\"choices\":[],\"padding\":\"{}\"}}\n\n", "x".repeat(LIMIT));
    let mut meter = sample.meter_of(LIMIT);
    let report = meter.report();
    meter.data(Bytes::from(large));
    // The end may have been in what was skipped, so it is not missing.
    assert_eq!(report.usage().terminator, Terminator::None);
    meter.data(sample.body);
    assert_eq!(report.usage().certainty, Certainty::Reported);
    assert_eq!(report.usage().terminator, Terminator::Seen);
}
