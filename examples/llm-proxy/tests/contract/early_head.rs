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
