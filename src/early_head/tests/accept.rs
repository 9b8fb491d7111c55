//! What `Accept` says.

use http::HeaderMap;

use crate::early_head::accepts_event_stream;

fn accepts(values: &[&str]) -> bool {
    let mut headers = HeaderMap::new();
    for value in values {
        headers.append("accept", value.parse().unwrap());
    }
    accepts_event_stream(&headers)
}

#[test]
fn an_event_stream_is_found_wherever_it_is_named() {
    let asks = [
        "text/event-stream",
        "Text/Event-Stream",
        "  text/event-stream\t",
        "text/html, text/event-stream",
        "text/html,text/event-stream,*/*",
        "application/json;q=0, text/event-stream",
        "application/jsonl, text/event-stream",
        ", ,text/event-stream,,",
        "text/event-stream;charset=utf-8",
        "text/event-stream ; q=0.5",
        "text/event-stream;q=0.001",
        "text/event-stream;Q=1.000",
        "text/event-stream;q=",
        "text/event-stream;q=high",
        "text/event-stream;q",
        "text/event-stream;version=0",
        "text/event-stream;q=0, text/event-stream;version=2",
        r#"text/html;a="x, y;q=0\", z", text/event-stream"#,
        r#"text/event-stream;a="b;q=0,c""#,
        r#"text/event-stream;a="\\";q=1"#,
    ];
    for value in asks {
        assert!(accepts(&[value]), "{value}");
    }
    assert!(accepts(&["text/html", "text/event-stream"]), "in a second field");
}

#[test]
fn a_client_that_takes_json_too_leaves_the_choice_to_the_server() {
    for value in [
        "application/json, text/event-stream",
        "text/event-stream,application/json",
        "text/event-stream, Application/JSON;q=0.1",
        "text/event-stream, application/json; charset=utf-8",
    ] {
        assert!(!accepts(&[value]), "{value}");
    }
    assert!(!accepts(&["application/json", "text/event-stream"]), "in a second field");
}

#[test]
fn what_does_not_name_it_or_refuses_it_did_not_ask() {
    let asks_not = [
        "",
        "*/*",
        "text/*",
        "application/json",
        "text/event-streams",
        "xtext/event-stream",
        "text/event-stream;q=0",
        "text/event-stream; Q=0.000",
        "text/event-stream;charset=utf-8 ; q = 0",
        "text/event-stream;q=0.",
        r#"text/event-stream;a="x\"y";q=0"#,
        r#"text/html;a=", text/event-stream""#,
        r#"text/html;a="\\\", text/event-stream"#,
        "application/json; text/event-stream",
    ];
    for value in asks_not {
        assert!(!accepts(&[value]), "{value}");
    }
    assert!(!accepts(&[]), "no such field");
}

#[test]
fn a_value_that_is_no_text_harms_nobody() {
    let mut headers = HeaderMap::new();
    headers.insert("accept", http::HeaderValue::from_bytes(b"\xff/\xfe").unwrap());
    assert!(!accepts_event_stream(&headers));
    headers.append("accept", "text/event-stream".parse().unwrap());
    assert!(accepts_event_stream(&headers));
}
