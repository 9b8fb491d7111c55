//! A head for a client that asked for a stream, before the upstream has one.

use std::time::Duration;

use serde_json::{Value, json};
use testkit::{Gate, H1, Play, Upstream};
use tokio::time::Instant;

use crate::{
    client::{Client, End, WIRES, Wire, ask, chat, error_event, post, says, whole},
    common::{LIMIT, Proxy},
};

const COMMENT: &str = ": keep-alive\n";
const OPTIONS: [&str; 2] = ["--early-head=200ms", "--keepalive=100ms"];

#[tokio::test]
async fn the_head_comes_early_then_heartbeats_then_the_stream() {
    let proxy = Proxy::start(&OPTIONS).await;
    for path in ["/v1/chat/completions", "/v1/messages"] {
        let asked = Instant::now();
        let mut client = H1::connect(proxy.addr).await.unwrap();
        client.send(ask(path, "sim-head=1s-words=2-gap=0ms")).await.unwrap();
        let head = client.read_head(LIMIT).await.unwrap();
        let waited = asked.elapsed();
        assert!(waited >= Duration::from_millis(200) && waited < Duration::from_secs(1));
        assert_eq!(head.status(), Some(200));
        for (name, value) in [
            ("content-type", "text/event-stream"),
            ("cache-control", "no-cache"),
            ("x-accel-buffering", "no"),
        ] {
            assert_eq!(head.header(name), Some(value));
        }
        let id = head.header("x-exchange-id").unwrap().to_owned();
        let stream = proxy.stream(|stream| stream["id"] == *id).await;
        says(&stream, [("status", json!(200)), ("bytes", json!(0))]);

        let ends = |bytes: &[u8]| testkit::dechunk(bytes).complete;
        let bytes = client.read_until(ends, LIMIT).await.unwrap();
        let answer = String::from_utf8(testkit::dechunk(&bytes).body).unwrap();
        let stream = answer.trim_start_matches(COMMENT);
        let beats = (answer.len() - stream.len()) / COMMENT.len();
        assert!((2..=40).contains(&beats), "{beats} heartbeats in\n{answer}");
        assert!(stream.contains("\"The"), "{stream}");
        let ending = proxy.ending_of(&id).await;
        says(&ending, [("outcome", json!("completed")), ("status", json!(200))]);
        assert_eq!(ending["bytes"], stream.len());
        assert!(ending["head_ms"].as_u64().unwrap() >= 1000, "{ending}");
    }
}

#[tokio::test]
async fn an_accept_header_asks_for_a_stream_too() {
    for wire in WIRES {
        let gate = Gate::new();
        let play = Play::new().wait(&gate).head_sse().chunk("data: 1\n\n").last_chunk();
        let upstream = Upstream::start([play]).await;
        let proxy = Proxy::before(upstream.addr(), &["--early-head=100ms"]).await;
        let mut client = Client::get_stream(wire, &proxy).await;
        assert_eq!(client.status, 200);
        gate.open();
        assert_eq!(client.rest().await, ("data: 1\n\n".into(), End::Clean), "{wire:?}");
        says(&proxy.ending().await, [("outcome", json!("completed")), ("bytes", json!(9))]);
    }
}

#[tokio::test]
async fn a_late_refusal_is_told_in_the_stream() {
    for wire in WIRES {
        let gate = Gate::new();
        let refusal = "HTTP/1.1 429 Too Many Requests\r\ncontent-length: 2\r\n\r\n{}";
        let upstream = Upstream::start([Play::new().wait(&gate).send(refusal)]).await;
        let proxy = Proxy::before(upstream.addr(), &["--early-head=100ms"]).await;
        let mut client = Client::get_stream(wire, &proxy).await;
        gate.open();
        let last = error_event("upstream", "the upstream failed", "upstream_status_429");
        assert_eq!(client.rest().await, (last, End::Clean), "{wire:?}");
        let ending = proxy.ending().await;
        says(&ending, [("outcome", json!("failed")), ("status", json!(200))]);
        says(&ending, [("reason", json!("upstream_status_429")), ("id", json!(client.id))]);
    }
}

#[tokio::test]
async fn a_late_failure_of_the_upstream_is_told_in_the_stream() {
    let gate = Gate::new();
    let upstream = Upstream::start([Play::new().wait(&gate).reset()]).await;
    let proxy = Proxy::before(upstream.addr(), &["--early-head=100ms"]).await;
    let mut client = Client::get_stream(Wire::H1, &proxy).await;
    gate.open();
    let (last, end) = client.rest().await;
    assert_eq!(last, error_event("upstream", "the upstream failed", "failed"));
    assert_eq!(end, End::Clean);
    let ending = proxy.ending().await;
    says(&ending, [("outcome", json!("failed")), ("status", json!(200)), ("bytes", json!(0))]);
    says(&ending, [("reason", Value::Null), ("head_ms", Value::Null)]);
}

#[tokio::test]
async fn a_refusal_in_time_keeps_its_status() {
    let proxy = Proxy::start(&["--early-head=5s"]).await;
    let client = Client::send(&proxy, chat("sim-status=429")).await;
    assert_eq!(client.status, 429);
    says(&proxy.ending().await, [("outcome", json!("completed")), ("status", json!(429))]);
}

#[tokio::test]
async fn whoever_did_not_ask_for_a_stream_waits_for_the_true_head() {
    let proxy = Proxy::start(&["--early-head=100ms"]).await;
    for (model, status) in [("sim-head=500ms-words=1", 200), ("sim-head=500ms-status=429", 429)] {
        let body = json!({"model": model, "stream": false, "messages": []});
        let mut client = H1::connect(proxy.addr).await.unwrap();
        client.send(post("/v1/chat/completions", &body)).await.unwrap();
        let (head, _) = whole(&mut client).await;
        assert_eq!(head.status(), Some(status));
        assert_eq!(head.header("content-type"), Some("application/json"));
    }
    // Ollama's streams are no event streams.
    let mut client = Client::send(&proxy, ask("/api/chat", "sim-head=500ms-words=1")).await;
    assert_eq!(client.status, 200);
    let (answer, end) = client.rest().await;
    assert!(answer.starts_with('{') && answer.ends_with("}\n"), "{answer}");
    assert_eq!(end, End::Clean);
}

#[tokio::test]
async fn the_other_limits_and_an_abort_are_told_in_the_stream() {
    for (options, kind, message, code) in [
        (
            ["--head-timeout=500ms", ""],
            "timeout",
            "head timeout: no response head for 500ms",
            "head",
        ),
        (["--total-timeout=500ms", ""], "timeout", "total timeout: not finished in 500ms", "total"),
        (["", "?reason=stop"], "aborted", "stop", "aborted"),
    ] {
        let upstream = Upstream::start([Play::new().stall()]).await;
        let option = Some(options[0]).filter(|option| !option.is_empty());
        let options_given: Vec<&str> = ["--early-head=100ms"].into_iter().chain(option).collect();
        let proxy = Proxy::before(upstream.addr(), &options_given).await;
        let mut client = Client::get_stream(Wire::H1, &proxy).await;
        if code == "aborted" {
            assert_eq!(proxy.abort(&client.id, options[1]).await.0, 200);
        }
        assert_eq!(client.rest().await, (error_event(kind, message, code), End::Clean));
        upstream.closed(0, LIMIT).await;
        let ending = proxy.ending().await;
        let (outcome, reason) =
            if code == "aborted" { (code, message) } else { ("timed_out", code) };
        says(&ending, [("outcome", json!(outcome)), ("reason", json!(reason))]);
        says(&ending, [("status", json!(200)), ("head_ms", Value::Null)]);
    }
}

#[tokio::test]
async fn a_client_that_leaves_while_it_waits_lets_the_upstream_go() {
    for wire in WIRES {
        let upstream = Upstream::start([Play::new().stall()]).await;
        let proxy = Proxy::before(upstream.addr(), &["--early-head=100ms"]).await;
        let client = Client::get_stream(wire, &proxy).await;
        client.leave().await;
        upstream.closed(0, LIMIT).await;
        let ending = proxy.ending().await;
        says(&ending, [("outcome", json!("disconnected")), ("status", json!(200))]);
    }
}

/// A question that says only at its end that it asks for a stream.
fn at_the_end(path: &str, length: usize, last: &str) -> String {
    let message = r#"{"role":"user","content":"\"stream\": false \\"},"#;
    let messages = message.repeat(length / message.len());
    let body = format!(r#"{{"messages":[{messages}{{"stream":false}}],{last}}}"#);
    let length = body.len();
    format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n{body}")
}

#[tokio::test]
async fn a_body_asks_for_a_stream_behind_any_number_of_messages() {
    for length in [200 * 1024, 10 * 1024 * 1024] {
        let upstream = Upstream::start([Play::new().stall()]).await;
        let options = ["--early-head=300ms", "--head-timeout=1s"];
        let proxy = Proxy::before(upstream.addr(), &options).await;
        for (last, status) in [
            (r#""stream":true"#, 200),
            (r#""str\u0065am" : true"#, 200),
            (r#""stream":true,"stream":false"#, 504),
            (r#""options":{"stream":true}"#, 504),
            (r#""stream":"true""#, 504),
        ] {
            let question = at_the_end("/v1/chat/completions", length, last);
            let client = Client::send(&proxy, question).await;
            assert_eq!(client.status, status, "{length} {last}");
        }
    }
}

#[tokio::test]
async fn a_late_json_answer_to_a_client_that_takes_both_is_its_answer() {
    // An MCP client asks so, and the server chooses.
    let result = r#"{"jsonrpc":"2.0","id":1,"result":{"tools":[]}}"#;
    let question = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"});
    let accept = "accept: application/json, text/event-stream\r\n";
    let request =
        post("/mcp", &question).replace("host: test\r\n", &format!("host: x\r\n{accept}"));
    let length = result.len();
    let answer = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{result}"
    );
    let upstream =
        Upstream::start([Play::new().sleep(Duration::from_millis(600)).send(answer)]).await;
    let proxy = Proxy::before(upstream.addr(), &["--early-head=100ms"]).await;
    let mut client = H1::connect(proxy.addr).await.unwrap();
    client.send(request).await.unwrap();
    let (head, body) = whole(&mut client).await;
    assert_eq!(head.header("content-type"), Some("application/json"));
    assert_eq!(body.to_string(), serde_json::from_str::<Value>(result).unwrap().to_string());
    says(&proxy.ending().await, [("outcome", json!("completed")), ("status", json!(200))]);
}

#[tokio::test]
async fn gemini_is_asked_in_the_query_and_streams_of_another_kind_never_have_an_early_head() {
    let upstream = Upstream::start([Play::new().stall()]).await;
    let options = ["--early-head=100ms", "--head-timeout=500ms"];
    let proxy = Proxy::before(upstream.addr(), &options).await;
    let gemini = "/v1beta/models/gemini-2.5-pro:streamGenerateContent";
    for (target, status) in [
        (format!("{gemini}?alt=sse"), 200),
        (format!("{gemini}?key=k&alt=sse"), 200),
        (gemini.into(), 504),
        ("/api/chat".into(), 504),
        ("/api/generate".into(), 504),
        ("/model/anthropic.claude/converse-stream".into(), 504),
        ("/model/anthropic.claude/invoke-with-response-stream".into(), 504),
    ] {
        let body = json!({"stream": target != gemini && status == 504, "contents": []});
        let request = post(&target, &body);
        let accept = if status == 504 { "text/event-stream" } else { "*/*" };
        let request =
            request.replace("host: test\r\n", &format!("host: x\r\naccept: {accept}\r\n"));
        assert_eq!(Client::send(&proxy, request).await.status, status, "{target}");
    }
}

#[tokio::test]
async fn the_handshake_of_a_websocket_has_no_early_head() {
    let refusal = "HTTP/1.1 426 Upgrade Required\r\ncontent-length: 0\r\n\r\n";
    let play = Play::new().sleep(Duration::from_millis(800)).send(refusal);
    let upstream = Upstream::start([play]).await;
    let proxy = Proxy::before(upstream.addr(), &["--early-head=100ms"]).await;
    let handshake = "GET / HTTP/1.1\r\nhost: x\r\naccept: text/event-stream\r\nconnection: upgrade\r\n\
        upgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n";
    assert_eq!(Client::send(&proxy, handshake).await.status, 426);
    says(&proxy.ending().await, [("outcome", json!("completed")), ("status", json!(426))]);
}
