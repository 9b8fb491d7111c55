//! What every stream says, however it comes.

use bytes::Bytes;

use super::samples::{EVENTS, Sample, eventwise, head, line, read, sample, samples};
use crate::{
    tee::Sink,
    usage::{Certainty, Dialect, Terminator, Usage, UsageMeter},
};

const EXPECTED: &[(&str, &str)] = &[
    (
        "openai_chat.sse",
        "openai_chat gpt-test-1 in 1200 out 90 cached 1024 written - thoughts 64 stop reported seen",
    ),
    (
        "openai_chat_without_usage.sse",
        "openai_chat gpt-test-1 in - out - cached - written - thoughts - stop unknown seen",
    ),
    (
        "openai_chat_error.sse",
        "openai_chat gpt-test-1 in - out - cached - written - thoughts - - unknown missing error",
    ),
    (
        "azure.sse",
        "openai_chat gpt-test-1 in 5 out 2 cached - written - thoughts - content_filter reported seen",
    ),
    (
        "mistral.sse",
        "openai_chat mistral-test in 27 out 100 cached - written - thoughts - length reported seen",
    ),
    (
        "llamacpp.sse",
        "openai_chat test.gguf in 11 out 4 cached - written - thoughts - stop reported seen",
    ),
    (
        "openrouter.sse",
        "openai_chat maker/model in 50 out 6 cached 10 written 30 thoughts 2 stop reported seen",
    ),
    (
        "openrouter_error.sse",
        "openai_chat maker/model in - out - cached - written - thoughts - error unknown missing error",
    ),
    (
        "xai.sse",
        "openai_chat grok-test in 10 out 107 cached - written - thoughts 100 stop reported seen",
    ),
    (
        "vllm_continuous.sse",
        "openai_chat m in 8 out 3 cached - written - thoughts - stop reported seen",
    ),
    (
        "openai_responses.sse",
        "openai_responses gpt-test-2 in 36 out 87 cached 12 written - thoughts 40 completed reported seen",
    ),
    (
        "openai_responses_incomplete.sse",
        "openai_responses gpt-test-2 in 36 out 87 cached 12 written - thoughts 40 max_output_tokens reported seen",
    ),
    (
        "openai_responses_failed.sse",
        "openai_responses gpt-test-2 in - out - cached - written - thoughts - failed unknown seen error",
    ),
    (
        "openai_responses_error.sse",
        "openai_responses gpt-test-2 in - out - cached - written - thoughts - - unknown missing error",
    ),
    (
        "anthropic.sse",
        "anthropic claude-test in 2311 out 26 cached 2000 written 300 thoughts 20 end_turn reported seen",
    ),
    (
        "anthropic_cumulative.sse",
        "anthropic claude-test in 15 out 90 cached 0 written 0 thoughts - tool_use reported seen",
    ),
    (
        "anthropic_error.sse",
        "anthropic claude-test in 25 out - cached - written - thoughts - - partial missing error",
    ),
    (
        "anthropic_compatible.sse",
        "anthropic glm-test in 34347 out 49 cached 30464 written 0 thoughts - end_turn reported seen",
    ),
    (
        "gemini.sse",
        "gemini gemini-test in 57 out 13 cached 32 written - thoughts 10 STOP reported seen",
    ),
    (
        "gemini_array.json",
        "gemini gemini-test in 57 out 13 cached 32 written - thoughts 10 STOP reported seen",
    ),
    (
        "gemini_vertex.sse",
        "gemini - in 15 out 8 cached - written - thoughts 8 MAX_TOKENS reported seen",
    ),
    (
        "gemini_error.sse",
        "gemini gemini-test in 50 out - cached - written - thoughts - - partial missing error",
    ),
    (
        "gemini_error_array.json",
        "gemini gemini-test in 50 out - cached - written - thoughts - - partial missing error",
    ),
    (
        "ollama.ndjson",
        "ollama llama-test in 26 out 282 cached - written - thoughts - stop reported seen",
    ),
    (
        "ollama_cached.ndjson",
        "ollama llama-test in - out 282 cached - written - thoughts - stop partial seen",
    ),
    (
        "ollama_error.ndjson",
        "ollama llama-test in - out - cached - written - thoughts - - unknown missing error",
    ),
    ("cohere.sse", "cohere - in 69 out 5 cached 16 written - thoughts - COMPLETE reported seen"),
    (
        "cohere_error.sse",
        "cohere - in - out - cached - written - thoughts - ERROR unknown seen error",
    ),
    (
        "openai_chat.json",
        "openai_chat gpt-test-1 in 1200 out 90 cached 1024 written - thoughts 64 stop reported none",
    ),
    (
        "openai_responses.json",
        "openai_responses gpt-test-2 in 36 out 87 cached 12 written - thoughts 40 completed reported none",
    ),
    (
        "anthropic.json",
        "anthropic claude-test in 2311 out 6 cached 2000 written 300 thoughts - end_turn reported none",
    ),
    (
        "gemini.json",
        "gemini gemini-test in 57 out 13 cached 32 written - thoughts 10 STOP reported none",
    ),
    (
        "ollama.json",
        "ollama llama-test in 26 out 282 cached - written - thoughts - stop reported none",
    ),
    ("cohere.json", "cohere - in 69 out 5 cached - written - thoughts - MAX_TOKENS reported none"),
    (
        "bedrock_converse.json",
        "bedrock_converse m in 135 out 142 cached 100 written 20 thoughts - end_turn reported none",
    ),
    ("error.json", "openai_chat - in - out - cached - written - thoughts - - unknown none"),
    (
        "bedrock_converse",
        "bedrock_converse m in 135 out 142 cached 100 written 20 thoughts - end_turn reported seen",
    ),
    (
        "bedrock_converse_exception",
        "bedrock_converse m in - out - cached - written - thoughts - - unknown missing error",
    ),
    (
        "bedrock_invoke",
        "bedrock_invoke claude-test in 47 out 12 cached 0 written 0 thoughts - end_turn reported seen",
    ),
];

pub(super) fn expected(sample: &Sample) -> &'static str {
    EXPECTED.iter().find(|(name, _)| *name == sample.name).unwrap().1
}

fn bytewise(body: &Bytes) -> impl Iterator<Item = Bytes> + '_ {
    (0..body.len()).map(|at| body.slice(at..=at))
}

#[test]
fn every_stream_is_read_whole_and_byte_by_byte() {
    assert_eq!(samples().len(), EXPECTED.len());
    for sample in samples() {
        let expected = expected(&sample);
        assert_eq!(line(&sample.read([sample.body.clone()])), expected, "{}", sample.name);
        assert_eq!(
            line(&sample.read(bytewise(&sample.body))),
            expected,
            "{} bytewise",
            sample.name
        );
    }
}

#[test]
fn every_stream_is_read_the_same_at_every_split() {
    for sample in samples() {
        for at in 0..sample.body.len() {
            let pieces = [sample.body.slice(..at), sample.body.slice(at..)];
            assert_eq!(line(&sample.read(pieces)), expected(&sample), "{} at {at}", sample.name);
        }
    }
}

#[test]
fn every_stream_is_read_the_same_event_by_event() {
    for sample in samples() {
        assert_eq!(
            line(&sample.read(eventwise(&sample.body))),
            expected(&sample),
            "{}",
            sample.name
        );
    }
}

#[test]
fn every_stream_is_read_the_same_without_a_path_or_without_a_head() {
    for sample in samples() {
        let body = || [sample.body.clone()];
        let no_path = Sample { path: "/", ..super::samples::sample(sample.name) }.read(body());
        if sample.name != "error.json" && sample.name != "bedrock_converse_exception" {
            // There the path is all that tells of the model.
            let expected = expected(&sample).replace("bedrock_converse m", "bedrock_converse -");
            assert_eq!(line(&no_path), expected, "{} without a path", sample.name);
        }
        if sample.name != "ollama.json" {
            let no_head = read(UsageMeter::for_path(sample.path), body());
            assert_eq!(line(&no_head), expected(&sample), "{} without a head", sample.name);
        }
    }
}

#[test]
fn a_dialect_that_was_told_is_the_dialect() {
    let sample = sample("openai_chat.sse");
    let usage = read(UsageMeter::new(Some(Dialect::Anthropic)), [sample.body]);
    assert_eq!(usage.dialect, Some(Dialect::Anthropic));
    assert_eq!((usage.certainty, usage.terminator), (Certainty::Unknown, Terminator::Missing));
}

#[test]
fn an_error_in_place_of_a_response_is_no_event_of_a_stream() {
    let mut meter = UsageMeter::for_path("/v1beta/models/m:streamGenerateContent");
    meter.head(&head(400, "application/json"));
    let usage = read(meter, [Bytes::from("[{\"error\":{\"code\":400,\"message\":\"Bad\"}}\n]")]);
    assert!(!usage.error_event);
    assert_eq!(usage.terminator, Terminator::None);
}

#[test]
fn an_error_event_is_noticed_in_a_stream_of_no_known_dialect() {
    let mut meter = UsageMeter::new(None);
    meter.head(&head(200, EVENTS));
    let usage = read(meter, [Bytes::from("data: hello\n\nevent: error\ndata: overloaded\n\n")]);
    assert!(usage.error_event);
    assert_eq!((usage.dialect, usage.terminator), (None, Terminator::None));
}

#[test]
fn nothing_is_missing_where_nothing_came() {
    for sample in samples() {
        let usage = sample.read([Bytes::new()]);
        assert_eq!((usage.certainty, usage.terminator), Default::default(), "{}", sample.name);
    }
}

#[test]
fn a_page_and_a_coded_stream_are_not_read() {
    let sample = sample("anthropic.sse");
    for (name, value) in [("content-type", "text/html"), ("content-encoding", "gzip")] {
        let mut meter = UsageMeter::for_path(sample.path);
        let mut head = head(200, EVENTS);
        head.headers.insert(name, value.parse().unwrap());
        meter.head(&head);
        assert_eq!(read(meter, [sample.body.clone()]), Usage::default());
    }
}

#[test]
fn what_is_broken_counts_as_if_it_had_not_come() {
    let read = |stream: &'static str| {
        let stream = Bytes::from(stream);
        line(&read(UsageMeter::new(Some(Dialect::OpenAiChat)), [stream]))
    };
    let good = "openai_chat - in 7 out 2 cached - written - thoughts - - reported seen";
    let usage = r#"data: {"usage":{"prompt_tokens":7,"completion_tokens":2}}"#;
    for broken in [
        r#"data: {"usage":{"prompt_tokens":99,"completion_tokens":99}"#,
        r#"data: {"usage":{"prompt_tokens":-99,"completion_tokens":9.5}}"#,
        r#"data: {"usage":{"prompt_tokens":"99","completion_tokens":[99]}}"#,
        r#"data: {"usage":[99,{"prompt_tokens":null}],"model":{"usage":1},"choices":99}"#,
        r#"data: {"usage":{"prompt_tokens":99e99,"completion_tokens":99}"#,
        r#"data: {"usage":{"prompt_tokens":99,"completion_tokens":99}} and more"#,
        r#"data: ["usage", 99"#,
        "data: \"usage\" \u{fffd}",
    ] {
        let stream = format!("{usage}\n\n{broken}\n\ndata: [DONE]\n\n");
        assert_eq!(read(stream.leak()), good, "{broken}");
        let stream = format!("{broken}\n\n{usage}\n\ndata: [DONE]\n\n");
        assert_eq!(read(stream.leak()), good, "{broken} before");
    }
}

#[test]
fn names_written_with_escapes_are_names() {
    let stream =
        r#"{"\u006dodel":"caf\u00e9","usage":{"prompt_tok\u0065ns":7,"completion_tokens":2}}"#;
    let usage = read(UsageMeter::new(Some(Dialect::OpenAiChat)), [Bytes::from(stream)]);
    assert_eq!((usage.model.as_deref(), usage.input_tokens), (Some("café"), Some(7)));
}

#[test]
fn a_prompt_that_gemini_refused_has_ended() {
    let stream = "data: {\"promptFeedback\":{\"blockReason\":\"SAFETY\"},\"usageMetadata\":{\"promptTokenCount\":4,\"totalTokenCount\":4}}\n\n";
    let usage = read(UsageMeter::new(None), [Bytes::from(stream)]);
    let expected = "gemini - in 4 out - cached - written - thoughts - SAFETY partial seen";
    assert_eq!(line(&usage), expected);
}
