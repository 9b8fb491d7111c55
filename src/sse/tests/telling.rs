//! Which events are heartbeats and which tell of a failure.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::{Decoded, DecodedEvent, Decoder, failure::tells_failure};

fn event(text: &str) -> DecodedEvent {
    let Some(Decoded::Event(event)) = Decoder::new().decode(&mut text.to_owned().into()) else {
        panic!("{text}")
    };
    event
}

fn is_error(data: &str) -> bool {
    event(&format!("data: {data}\n\n")).is_error()
}

#[test]
fn a_ping_is_a_heartbeat_and_nothing_else() {
    let ping = event("event: ping\ndata: {\"type\":\"ping\"}\n\n");
    assert!(ping.is_ping() && !ping.is_error());
    assert!(!event("data: ping\n\n").is_ping());
    assert!(!event("event: message_start\ndata: {\"type\":\"message_start\"}\n\n").is_ping());
}

#[test]
fn every_shape_that_providers_send_a_failure_in_is_one() {
    for failure in [
        // usage_wire.md 2 and 3: Anthropic, ours, the Responses flat and whole, OpenAI, OpenRouter, Gemini, Ollama.
        "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\"}}\n\n",
        "event: error\ndata: no JSON\n\n",
        "data: {\"type\":\"error\",\"code\":\"server_error\",\"message\":\"m\"}\n\n",
        "event: response.failed\ndata: {\"response\":{}}\n\n",
        "data: {\"sequence_number\":3,\"type\":\"response.failed\",\"response\":{}}\n\n",
        "data: {\"error\":{\"message\":\"m\"}}\n\n",
        "data: {\"id\":\"x\",\"choices\":[{\"finish_reason\":\"error\"}],\"error\":{\"code\":502}}\n\n",
        "data: {\"error\":{\"code\":503,\"message\":\"m\",\"status\":\"UNAVAILABLE\"}}\n\n",
        "data: {\"error\":\"model not found\"}\n\n",
        "data: {\ndata:   \"error\" : { \"code\": 1 }\ndata: }\n\n",
    ] {
        assert!(event(failure).is_error(), "{failure}");
    }
}

#[test]
fn what_only_speaks_of_errors_is_none() {
    for data in [
        "{\"error\":null,\"choices\":[]}",
        "{\"error\": false}",
        "{\"error\":\"\"}",
        "{\"error\":{ }}",
        "{\"error\":[]}",
        "{\"error\":0}",
        "{\"jsonrpc\":\"2.0\",\"id\":1,\"error\":{\"code\":-32601,\"message\":\"m\"}}",
        "{\"id\":1,\"error\":{\"code\":-32601},\"jsonrpc\":\"2.0\"}",
        "{\"choices\":[{\"delta\":{\"content\":\"{\\\"error\\\":1}\"}}]}",
        "{\"response\":{\"error\":{\"code\":1}},\"type\":\"response.created\"}",
        "{\"a\":[{\"error\":1}],\"type\":\"message\"}",
        "{\"a\":\"\\\\\",\"text\":\"error\"}",
        "{\"type\":{\"error\":1}}",
        "{\"type\":\"errors\"}",
        "[{\"error\":1}]",
        "\"error\"",
        "[DONE]",
        "{",
        "{\"error",
        "{\"error\"",
        "{error:1}",
        "",
    ] {
        assert!(!is_error(data), "{data}");
    }
}

#[test]
fn a_failure_that_is_cut_short_is_one_as_far_as_it_goes() {
    assert!(is_error("{\"id\":[1,{\"b\":\"}\"}],\"error\":{\"mess"));
}

fn json_value() -> impl Strategy<Value = Value> {
    let word = prop::sample::select(vec!["error", "type", "a\"", "\\", "{", "],", "\u{e9}\n"]);
    let leaf = prop_oneof![
        word.clone().prop_map(|word| json!(word)),
        Just(json!(null)),
        Just(json!(false)),
        (-1..2_i32).prop_map(|number| json!(number)),
        Just(json!("")),
    ];
    leaf.prop_recursive(4, 40, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((word.clone(), inner), 0..5)
                .prop_map(|members| members.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn the_scan_finds_what_a_json_parser_finds(value in json_value(), pretty in any::<bool>()) {
        let text = if pretty { format!("{value:#}") } else { value.to_string() };
        let nothing = [json!(null), json!(false), json!(0), json!(""), json!([]), json!({})];
        let error = value.get("error").is_some_and(|v| !nothing.contains(v));
        let kind = value.get("type").is_some_and(|v| *v == "error");
        // Lines of data are joined by LF, so that pretty JSON is what it was.
        let lines: String = text.lines().map(|line| format!("data: {line}\n")).collect();
        prop_assert_eq!(event(&(lines + "\n")).is_error(), error || kind, "{}", text);
    }

    #[test]
    fn the_scan_of_anything_ends_and_never_panics(json in "[{}\\[\\]\",:\\\\a ]{0,40}") {
        tells_failure(json.as_bytes());
    }
}
