//! Streams that look like one of a known dialect, or like a failure, and are none; and ends that are said in another way.

use serde_json::json;
use testkit::{Play, Upstream};

use crate::{
    client::{Client, End, Side, WIRES, says},
    common::{LIMIT, Proxy},
};

const DELTA: &str = "data: {\"object\":\"chat.completion.chunk\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hi\"}}]}\n\n";

/// It is passed on as it is, and this is its ending.
async fn passes(path: &str, content_type: &str, body: &str, outcome: &str, terminator: &str) {
    for wire in WIRES {
        let head = format!("HTTP/1.1 200 OK\r\ncontent-type: {content_type}");
        let head = format!("{head}\r\ntransfer-encoding: chunked\r\n\r\n");
        let upstream = Upstream::start([Play::new().send(head).chunk(body).last_chunk()]).await;
        let proxy = Proxy::before(upstream.addr(), &[]).await;
        let seen = Client::get(wire, &proxy, path).await.rest().await;
        assert_eq!(seen, (body.to_owned(), End::Clean), "{path}");
        says(
            &proxy.ending().await,
            [("outcome", json!(outcome)), ("terminator", json!(terminator))],
        );
    }
}

#[tokio::test]
async fn a_stream_that_only_has_a_name_in_common_with_a_dialect_is_whole_when_it_ends() {
    for event in [
        r#"{"event":"message","message_id":"m","created_at":1679586595,"answer":" I"}"#,
        r#"{"type":"message.output.delta","created_at":"2026-11-28T17:00:00Z","content":"hi"}"#,
        r#"{"choices":["yes","no"]}"#,
        r#"{"candidates":[{"name":"a"}]}"#,
    ] {
        passes("/x", "text/event-stream", &format!("data: {event}\n\n"), "completed", "none").await;
    }
    let line = "{\"created_at\":\"2026-11-28T17:00:00Z\",\"message\":\"a job\"}\n";
    passes("/jobs", "application/x-ndjson", line, "completed", "none").await;
    let array = "[{\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hi\"}}]}]";
    passes("/x", "application/json", array, "completed", "none").await;
}

#[tokio::test]
async fn an_error_of_json_rpc_or_of_no_known_dialect_fails_no_stream() {
    let rpc =
        "data: {\"jsonrpc\":\"2.0\",\"id\":1,\"error\":{\"code\":-32601,\"message\":\"m\"}}\n\n";
    passes("/mcp", "text/event-stream", rpc, "completed", "none").await;
    let row = "data: {\"error\":\"no such row\"}\n\n";
    passes("/x", "text/event-stream", row, "completed", "none").await;
    let called = "event: error\ndata: {\"error\":\"no such row\"}\n\n";
    passes("/x", "text/event-stream", called, "failed", "none").await;
}

#[tokio::test]
async fn a_terminal_event_that_only_its_event_line_names_makes_an_answer_whole() {
    for (path, name) in [("/v1/messages", "message_stop"), ("/v1/responses", "response.completed")]
    {
        let stream = format!("event: {name}\ndata: {{}}\n\n");
        passes(path, "text/event-stream", &stream, "completed", "seen").await;
    }
    let transcript = "data: {\"type\":\"transcript.text.done\",\"usage\":{\"input_tokens\":14,\"output_tokens\":5}}\n\ndata: [DONE]\n\n";
    let path = "/v1/audio/transcriptions";
    passes(path, "text/event-stream", transcript, "completed", "none").await;
}

#[tokio::test]
async fn an_answer_under_a_length_that_ends_too_early_is_passed_on_and_truncated() {
    for wire in WIRES {
        let length = DELTA.len();
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length";
        let play = Play::new().send(format!("{head}: {length}\r\n\r\n{DELTA}")).stall();
        let upstream = Upstream::start([play]).await;
        let proxy = Proxy::before(upstream.addr(), &[]).await;
        let mut client = Client::get(wire, &proxy, "/v1/chat/completions").await;
        let seen = match &mut client.side {
            Side::H1(client) => {
                client.read_until(|bytes| bytes.len() >= length, LIMIT).await.unwrap()
            }
            Side::H2(_, body) => body.rest(LIMIT).await.0,
        };
        assert_eq!(seen, DELTA.as_bytes());
        says(
            &proxy.ending().await,
            [("outcome", json!("truncated")), ("terminator", json!("missing"))],
        );
    }
}
