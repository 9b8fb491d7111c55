//! What is known of a stream that was cut, wherever that was.

use super::samples::{line, sample};

/// What is known, said once for as long as it stays the same, of a stream that is cut behind each of its bytes.
fn stages(name: &str) -> Vec<String> {
    let sample = sample(name);
    let mut stages: Vec<_> =
        (1..=sample.body.len()).map(|end| line(&sample.read([sample.body.slice(..end)]))).collect();
    stages.dedup();
    stages
}

#[test]
fn openai_chat_says_nothing_before_its_last_chunk() {
    let unknown = "openai_chat gpt-test-1 in - out - cached - written - thoughts -";
    let known =
        "openai_chat gpt-test-1 in 1200 out 90 cached 1024 written - thoughts 64 stop reported";
    assert_eq!(
        stages("openai_chat.sse"),
        [
            "openai_chat - in - out - cached - written - thoughts - - unknown missing".into(),
            format!("{unknown} - unknown missing"),
            format!("{unknown} stop unknown missing"),
            format!("{known} missing"),
            format!("{known} seen"),
        ]
    );
}

#[test]
fn counts_that_go_on_counting_are_partial_until_the_model_has_finished() {
    let with =
        |counts, rest| format!("openai_chat m {counts} cached - written - thoughts - {rest}");
    assert_eq!(
        stages("vllm_continuous.sse")[1..],
        [
            with("in 8 out 1", "- partial missing"),
            with("in 8 out 2", "- partial missing"),
            with("in 8 out 3", "stop reported missing"),
            with("in 8 out 3", "stop reported seen"),
        ]
    );
}

#[test]
fn openai_responses_says_nothing_before_its_last_event() {
    assert_eq!(
        stages("openai_responses.sse")[1..],
        [
            "openai_responses gpt-test-2 in - out - cached - written - thoughts - - unknown missing",
            "openai_responses gpt-test-2 in 36 out 87 cached 12 written - thoughts 40 completed reported seen",
        ]
    );
}

#[test]
fn the_placeholder_of_anthropic_is_no_count() {
    let input = "anthropic claude-test in 2311";
    assert_eq!(
        stages("anthropic.sse")[1..],
        [
            format!("{input} out - cached 2000 written 300 thoughts - - partial missing"),
            format!("{input} out 26 cached 2000 written 300 thoughts 20 end_turn reported missing"),
            format!("{input} out 26 cached 2000 written 300 thoughts 20 end_turn reported seen"),
        ]
    );
}

#[test]
fn the_later_count_of_anthropic_replaces_the_one_before() {
    let stages = stages("anthropic_cumulative.sse");
    let counts: Vec<_> = stages[1..].iter().map(|stage| &stage[22..]).collect();
    assert_eq!(
        counts,
        [
            "in 10 out - cached - written - thoughts - - partial missing",
            "in 10 out 40 cached - written - thoughts - - partial missing",
            "in 15 out 90 cached 0 written 0 thoughts - tool_use reported missing",
            "in 15 out 90 cached 0 written 0 thoughts - tool_use reported seen",
        ]
    );
}

#[test]
fn gemini_counts_up_and_only_the_last_is_sure() {
    let expected = [
        "gemini gemini-test in 50 out - cached - written - thoughts - - partial missing",
        "gemini gemini-test in 50 out 12 cached - written - thoughts 10 - partial missing",
        "gemini gemini-test in 57 out 13 cached 32 written - thoughts 10 STOP reported seen",
    ];
    assert_eq!(stages("gemini.sse")[1..], expected);
    assert_eq!(stages("gemini_array.json")[1..], expected);
    assert_eq!(
        stages("gemini_vertex.sse")[1..],
        ["gemini - in 15 out 8 cached - written - thoughts 8 MAX_TOKENS reported seen",]
    );
}

#[test]
fn ollama_and_cohere_say_nothing_before_their_last_event() {
    assert_eq!(
        stages("ollama.ndjson")[1..],
        [
            "ollama llama-test in - out - cached - written - thoughts - - unknown missing",
            "ollama llama-test in 26 out 282 cached - written - thoughts - stop reported seen",
        ]
    );
    assert_eq!(
        stages("cohere.sse"),
        [
            "cohere - in - out - cached - written - thoughts - - unknown missing",
            "cohere - in 69 out 5 cached 16 written - thoughts - COMPLETE reported seen",
        ]
    );
}

#[test]
fn bedrock_says_nothing_before_its_last_messages() {
    assert_eq!(
        stages("bedrock_converse"),
        [
            "bedrock_converse m in - out - cached - written - thoughts - - unknown missing",
            "bedrock_converse m in - out - cached - written - thoughts - end_turn unknown seen",
            "bedrock_converse m in 135 out 142 cached 100 written 20 thoughts - end_turn reported seen",
        ]
    );
    let stages = stages("bedrock_invoke");
    assert_eq!(
        stages[1..],
        [
            "bedrock_invoke claude-test in 46 out - cached - written - thoughts - - partial missing",
            "bedrock_invoke claude-test in 46 out 11 cached - written - thoughts - end_turn reported seen",
            "bedrock_invoke claude-test in 47 out 12 cached 0 written 0 thoughts - end_turn reported seen",
        ]
    );
}

#[test]
fn a_response_that_is_no_stream_says_all_or_nothing() {
    for name in ["openai_chat.json", "anthropic.json", "gemini.json", "bedrock_converse.json"] {
        let stages = stages(name);
        assert_eq!(stages.len(), 2, "{name}");
        assert!(stages[0].ends_with("- unknown none"), "{name}");
    }
}

#[test]
fn the_look_alikes_of_openai_say_it_beside_their_last_choice_or_behind_it() {
    let mistral = "openai_chat mistral-test in";
    assert_eq!(
        stages("mistral.sse")[1..],
        [
            format!("{mistral} - out - cached - written - thoughts - - unknown missing"),
            format!("{mistral} 27 out 100 cached - written - thoughts - length reported missing"),
            format!("{mistral} 27 out 100 cached - written - thoughts - length reported seen"),
        ]
    );
    let llama = "openai_chat test.gguf in";
    assert_eq!(
        stages("llamacpp.sse")[1..],
        [
            format!("{llama} - out - cached - written - thoughts - - unknown missing"),
            format!("{llama} - out - cached - written - thoughts - stop unknown missing"),
            format!("{llama} 11 out 4 cached - written - thoughts - stop reported missing"),
            format!("{llama} 11 out 4 cached - written - thoughts - stop reported seen"),
        ]
    );
    let router = "openai_chat maker/model in";
    assert_eq!(
        stages("openrouter.sse")[1..],
        [
            format!("{router} - out - cached - written - thoughts - - unknown missing"),
            format!("{router} - out - cached - written - thoughts - stop unknown missing"),
            format!("{router} 50 out 6 cached 10 written 30 thoughts 2 stop reported missing"),
            format!("{router} 50 out 6 cached 10 written 30 thoughts 2 stop reported seen"),
        ]
    );
}

#[test]
fn the_compatible_one_of_anthropic_says_it_rightly_at_last() {
    let stages = stages("anthropic_compatible.sse");
    let glm =
        "anthropic glm-test in 34347 out 49 cached 30464 written 0 thoughts - end_turn reported";
    assert_eq!(stages[stages.len() - 2..], [format!("{glm} missing"), format!("{glm} seen")]);
    assert!(stages[1].ends_with("out - cached - written - thoughts - - partial missing"));
}
