//! What a provider counts, where it contradicts itself and where it counts something else than words.

use bytes::Bytes;

use super::samples::{EVENTS, JSON, eventwise, head, line, read};
use crate::{tee::Sink, usage::UsageMeter};

/// What is said of a body, whole and in pieces.
fn told(path: &str, content_type: &str, body: &str) -> String {
    let of = |pieces: Vec<Bytes>| {
        let mut meter = UsageMeter::for_path(path);
        meter.head(&head(200, content_type));
        line(&read(meter, pieces))
    };
    let body = Bytes::copy_from_slice(body.as_bytes());
    let whole = of(vec![body.clone()]);
    assert_eq!(of(eventwise(&body)), whole, "event by event");
    for size in [1, 3, 17] {
        let pieces = (0..body.len()).step_by(size);
        let pieces = pieces.map(|at| body.slice(at..body.len().min(at + size))).collect();
        assert_eq!(of(pieces), whole, "by {size}");
    }
    whole
}

fn events(events: &[&str]) -> String {
    events.iter().map(|event| format!("data: {event}\n\n")).collect()
}

#[test]
fn an_object_of_noughts_takes_nothing_back() {
    let anthropic = |later: &str| {
        let started = r#"{"type":"message_start","message":{"model":"m","usage":{"input_tokens":25,"cache_read_input_tokens":5,"output_tokens":1}}}"#;
        let delta = format!(
            r#"{{"type":"message_delta","delta":{{"stop_reason":"end_turn"}},"usage":{{{later}}}}}"#
        );
        told("/v1/messages", EVENTS, &events(&[started, &delta, r#"{"type":"message_stop"}"#]))
    };
    let counts =
        |counts| format!("anthropic m {counts} written - thoughts - end_turn reported seen");
    for (later, expected) in [
        (r#""input_tokens":0,"output_tokens":42"#, "in 30 out 42 cached 5"),
        (r#""output_tokens":42"#, "in 30 out 42 cached 5"),
        (
            r#""input_tokens":0,"cache_read_input_tokens":0,"output_tokens":42"#,
            "in 30 out 42 cached 5",
        ),
        // As a group: what the later one does not say is not there.
        (r#""input_tokens":40,"output_tokens":42"#, "in 40 out 42 cached -"),
        (
            r#""input_tokens":0,"cache_read_input_tokens":40,"output_tokens":42"#,
            "in 40 out 42 cached 40",
        ),
    ] {
        assert_eq!(anthropic(later), counts(expected), "{later}");
    }

    let real = r#"{"choices":[],"usage":{"prompt_tokens":12,"completion_tokens":7,"total_tokens":19,"prompt_tokens_details":{"cached_tokens":8},"completion_tokens_details":{"reasoning_tokens":3}}}"#;
    let stop = r#"{"model":"m","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;
    let expected = "openai_chat m in 12 out 7 cached 8 written - thoughts 3 stop reported seen";
    for zeros in [
        r#"{"choices":[],"usage":{"prompt_tokens":0,"completion_tokens":0,"total_tokens":0}}"#,
        r#"{"choices":[],"usage":{"prompt_tokens":0,"completion_tokens":0,"total_tokens":0,"prompt_tokens_details":{"cached_tokens":0},"completion_tokens_details":{"reasoning_tokens":0}}}"#,
        r#"{"choices":[],"usage":{}}"#,
        r#"{"choices":[],"usage":null}"#,
    ] {
        for order in [[stop, real, zeros], [stop, zeros, real]] {
            let body = events(&[&order[..], &["[DONE]"]].concat());
            assert_eq!(told("/v1/chat/completions", EVENTS, &body), expected, "{order:?}");
        }
    }
    // Both ways at once, and only one of them meant.
    let twice = r#"{"model":"m","choices":[{"finish_reason":"stop"}],"usage":{"prompt_tokens":12,"completion_tokens":7,"input_tokens":0,"output_tokens":0}}"#;
    let expected = "openai_chat m in 12 out 7 cached - written - thoughts - stop reported none";
    assert_eq!(told("/v1/chat/completions", JSON, twice), expected);
    // Nought is said where nothing else was.
    let nought = r#"{"model":"m","choices":[{"finish_reason":"stop"}],"usage":{"prompt_tokens":12,"completion_tokens":0}}"#;
    let expected = "openai_chat m in 12 out 0 cached - written - thoughts - stop reported none";
    assert_eq!(told("/v1/chat/completions", JSON, nought), expected);
}

#[test]
fn thoughts_that_only_the_total_counts_are_output() {
    for (total, output) in [(316, 251), (116, 51), (300, 51)] {
        let usage = format!(
            r#"{{"prompt_tokens":65,"completion_tokens":51,"total_tokens":{total},"completion_tokens_details":{{"reasoning_tokens":200}}}}"#
        );
        let answer =
            format!(r#"{{"model":"m","choices":[{{"finish_reason":"stop"}}],"usage":{usage}}}"#);
        let counts = format!(
            "openai_chat m in 65 out {output} cached - written - thoughts 200 stop reported"
        );
        assert_eq!(told("/v1/chat/completions", JSON, &answer), format!("{counts} none"));
        let stream = events(&[&answer, "[DONE]"]);
        assert_eq!(told("/v1/chat/completions", EVENTS, &stream), format!("{counts} seen"));
    }
}

#[test]
fn embeddings_are_all_input() {
    let body = r#"{"object":"list","data":[{"object":"embedding","embedding":[0.5,-1e-3],"index":0}],"model":"m","usage":{"prompt_tokens":8,"total_tokens":8}}"#;
    let expected = "openai_chat m in 8 out - cached - written - thoughts - - reported none";
    for path in ["/v1/embeddings", "/openai/deployments/d/embeddings?api-version=1"] {
        assert_eq!(told(path, JSON, body), expected, "{path}");
    }
    let bare = r#"{"usage":{"prompt_tokens":8,"total_tokens":8}}"#;
    assert_eq!(told("/v1/embeddings", JSON, bare), expected.replace(" m ", " - "));

    let body = r#"{"model":"all-minilm","embeddings":[[0.01,-0.001]],"total_duration":14143917,"prompt_eval_count":8}"#;
    let expected = "ollama all-minilm in 8 out - cached - written - thoughts - - reported none";
    assert_eq!(told("/api/embed", JSON, body), expected);
    // Without an answer nobody has said all.
    let chat =
        r#"{"model":"m","created_at":"1","done":true,"done_reason":"stop","prompt_eval_count":8}"#;
    let expected = "ollama m in 8 out - cached - written - thoughts - stop partial none";
    assert_eq!(told("/api/chat", JSON, chat), expected);
}

#[test]
fn images_transcriptions_and_speech_are_counted_where_they_say_a_usage() {
    let image = r#""usage":{"total_tokens":100,"input_tokens":50,"output_tokens":50,"input_tokens_details":{"text_tokens":10,"image_tokens":40}}"#;
    let words = r#""usage":{"type":"tokens","input_tokens":14,"input_token_details":{"text_tokens":10,"audio_tokens":4},"output_tokens":5,"total_tokens":19}"#;
    let spoken = r#""usage":{"input_tokens":14,"output_tokens":101,"total_tokens":115}"#;
    let data = |kind: &str, rest: &str| format!(r#"{{"type":"{kind}",{rest}}}"#);
    let delta = data("transcript.text.delta", r#""delta":"Hi""#);
    let done = data("transcript.text.done", &format!(r#""text":"Hi",{words}"#));
    let partial = data("image_generation.partial_image", r#""b64_json":"aGk=","created_at":1"#);
    let drawn =
        data("image_generation.completed", &format!(r#""b64_json":"aGk=","created_at":1,{image}"#));
    let edited =
        data("image_edit.completed", &format!(r#""b64_json":"aGk=","created_at":1,{image}"#));
    let sound = data("speech.audio.delta", r#""audio":"aGk=""#);
    let said = data("speech.audio.done", spoken);
    let cases = [
        (
            "/v1/images/generations",
            JSON,
            format!(r#"{{"created":1,"data":[{{"b64_json":"aGk="}}],{image}}}"#),
            (50, 50),
        ),
        ("/v1/images/edits", JSON, format!(r#"{{"created":1,"data":[],{image}}}"#), (50, 50)),
        ("/v1/images/generations", EVENTS, events(&[&partial, &drawn]), (50, 50)),
        ("/v1/images/edits", EVENTS, events(&[&edited]), (50, 50)),
        ("/v1/audio/transcriptions", JSON, format!(r#"{{"text":"Hi",{words}}}"#), (14, 5)),
        ("/v1/audio/transcriptions", EVENTS, events(&[&delta, &done]), (14, 5)),
        ("/v1/audio/translations", JSON, format!(r#"{{"text":"Hi",{words}}}"#), (14, 5)),
        ("/v1/audio/speech", EVENTS, events(&[&sound, &said]), (14, 101)),
    ];
    for (path, content_type, body, (input, output)) in &cases {
        let told_here = told(path, content_type, body);
        let expected = format!(
            "openai_chat - in {input} out {output} cached - written - thoughts - - reported none"
        );
        assert_eq!(told_here, expected, "{path} {body}");
        if *content_type == EVENTS {
            assert_eq!(told("/somewhere", content_type, body), expected, "by its events: {body}");
        }
    }
    // A length of time is no count of tokens, and no sound has any.
    let body = r#"{"text":"Hi","usage":{"type":"duration","seconds":3}}"#;
    let expected = "openai_chat - in - out - cached - written - thoughts - - unknown none";
    assert_eq!(told("/v1/audio/transcriptions", JSON, body), expected);
    assert!(told("/v1/audio/speech", "audio/mpeg", "ID3").starts_with("- - in - out -"));
}

#[test]
fn a_run_of_an_assistant_is_counted_when_it_is_complete() {
    let object = |object: &str, rest: &str| {
        format!(r#"{{"id":"1","object":"{object}","created_at":1,{rest}}}"#)
    };
    let run = |status: &str, usage: &str| {
        object("thread.run", &format!(r#""model":"m","status":"{status}","usage":{usage}"#))
    };
    let event = |kind: &str, data: &str| format!("event: {kind}\ndata: {data}\n\n");
    let step = r#""usage":{"prompt_tokens":20,"completion_tokens":3,"total_tokens":23}"#;
    let total = r#"{"prompt_tokens":34,"completion_tokens":11,"total_tokens":45}"#;
    let begun = event("thread.run.created", &run("queued", "null"))
        + &event("thread.message.delta", &object("thread.message.delta", r#""delta":{}"#))
        + &event("thread.run.step.completed", &object("thread.run.step", step));
    let whole = begun.clone() + &event("thread.run.completed", &run("completed", total));
    let of = |certainty, terminator, counts| {
        format!("openai_chat m {counts} cached - written - thoughts - - {certainty} {terminator}")
    };
    for path in [
        "/v1/threads/t/runs",
        "/v1/threads/runs",
        "/v1/threads/t/runs/r/submit_tool_outputs",
        "/somewhere",
    ] {
        assert_eq!(told(path, EVENTS, &begun), of("partial", "none", "in 20 out 3"), "{path}");
        assert_eq!(told(path, EVENTS, &whole), of("reported", "none", "in 34 out 11"), "{path}");
        let done = whole.clone() + "event: done\ndata: [DONE]\n\n";
        assert_eq!(told(path, EVENTS, &done), of("reported", "seen", "in 34 out 11"), "{path}");
    }
}
