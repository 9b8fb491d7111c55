//! What `/endings` says of each exchange.

use std::{collections::BTreeSet, time::Duration};

use serde_json::{Value, json};
use testkit::{H1, How, Play, Upstream};

use crate::{
    client::{Client, End, WIRES, chat},
    common::{LIMIT, Proxy},
};

const FIELDS: [&str; 15] = [
    "bytes",
    "capture_truncated",
    "drained",
    "elapsed_ms",
    "first_frame_ms",
    "frames",
    "head_ms",
    "id",
    "method",
    "outcome",
    "path",
    "reason",
    "status",
    "terminator",
    "usage",
];

fn keys(value: &Value) -> BTreeSet<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

fn ms(ending: &Value, field: &str) -> u64 {
    ending[field].as_u64().unwrap_or_else(|| panic!("{field}: {ending}"))
}

#[tokio::test]
async fn a_completed_answer_is_told_with_all_its_fields() {
    let proxy = Proxy::start(&[]).await;
    let model = "sim-head=80ms-first=80ms-words=3-gap=40ms";
    let mut client = Client::send(&proxy, chat(model)).await;
    let (answer, end) = client.rest().await;
    assert_eq!(end, End::Clean);
    let ending = proxy.ending().await;
    assert_eq!(keys(&ending), FIELDS.into());
    for (field, expected) in [
        ("id", json!(client.id)),
        ("method", json!("POST")),
        ("path", json!("/v1/chat/completions")),
        ("status", json!(200)),
        ("outcome", json!("completed")),
        ("reason", Value::Null),
        ("bytes", json!(answer.len())),
        ("drained", Value::Null),
        ("capture_truncated", json!(false)),
    ] {
        assert_eq!(ending[field], expected, "{field}");
    }
    // The opening, three words, the closing: as many frames, or fewer where two came in one read.
    assert!((1..=5).contains(&ms(&ending, "frames")), "{ending}");
    let (head, first, all) =
        (ms(&ending, "head_ms"), ms(&ending, "first_frame_ms"), ms(&ending, "elapsed_ms"));
    assert!(head >= 80 && first >= head + 70 && all >= first + 70, "{ending}");
    assert!(all < LIMIT.as_millis() as u64);
}

/// The ending of a GET that is answered with these bytes, which its client reads to the end.
async fn of_answer(method: &str, answer: &'static str) -> (Value, Vec<u8>) {
    let upstream = Upstream::start([Play::new().send(answer)]).await;
    let proxy = Proxy::before(upstream.addr(), &[]).await;
    let mut client = H1::connect(proxy.addr).await.unwrap();
    let request = format!("{method} / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    client.send(request).await.unwrap();
    client.read_head(LIMIT).await.unwrap();
    let end = client.read_to_end(LIMIT).await;
    assert_ne!(end.how, How::TimedOut);
    (proxy.ending().await, end.bytes)
}

#[tokio::test]
async fn an_answer_that_has_no_body_is_complete() {
    for (method, answer, status) in [
        ("HEAD", "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n", 200),
        (
            "HEAD",
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n",
            200,
        ),
        ("GET", "HTTP/1.1 204 No Content\r\n\r\n", 204),
        ("GET", "HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n", 304),
        ("GET", "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", 200),
        ("GET", "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n", 404),
    ] {
        let (ending, body) = of_answer(method, answer).await;
        assert_eq!(body, b"", "{method} {answer}");
        assert_eq!(ending["outcome"], "completed", "{method} {answer}");
        assert_eq!(ending["status"], status);
        assert_eq!((&ending["bytes"], &ending["frames"]), (&json!(0), &json!(0)));
        assert_eq!((&ending["reason"], &ending["first_frame_ms"]), (&Value::Null, &Value::Null));
        assert!(ending["head_ms"].is_u64());
    }
}

#[tokio::test]
async fn an_answer_of_known_length_is_complete_at_its_length() {
    let (ending, body) =
        of_answer("GET", "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello").await;
    assert_eq!(body, b"hello");
    assert_eq!((&ending["outcome"], &ending["bytes"]), (&json!("completed"), &json!(5)));
}

#[tokio::test]
async fn an_answer_shorter_than_its_length_is_no_complete_one() {
    let short = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello";
    let (ending, body) = of_answer("GET", short).await;
    assert_eq!(body, b"hello");
    // hyper's client makes an error of it, so nobody takes it for a clean end (truths.md 4, faults.md 16).
    assert_eq!(ending["outcome"], "failed");
    assert_eq!((&ending["status"], &ending["bytes"]), (&json!(200), &json!(5)));
}

#[tokio::test]
async fn an_aborted_answer_is_told_with_its_reason_and_what_had_passed() {
    for wire in WIRES {
        let upstream = Upstream::start([Play::new().head_sse().chunk("data: 1\n\n").stall()]).await;
        let proxy = Proxy::before(upstream.addr(), &[]).await;
        let mut client = Client::get(wire, &proxy, "/x?y=z").await;
        client.read_until("data: 1\n\n").await;
        proxy.abort(&client.id, "?reason=too%20much").await;
        let ending = proxy.ending().await;
        assert_eq!(keys(&ending), FIELDS.into());
        for (field, expected) in [
            ("id", json!(client.id)),
            ("method", json!("GET")),
            ("path", json!("/x")),
            ("status", json!(200)),
            ("outcome", json!("aborted")),
            ("reason", json!("too much")),
            ("bytes", json!(9)),
            ("frames", json!(1)),
        ] {
            assert_eq!(ending[field], expected, "{field}");
        }
    }
}

#[tokio::test]
async fn an_abort_before_the_head_is_told_with_the_503_that_the_client_got() {
    let upstream = Upstream::start([Play::new().stall()]).await;
    let proxy = Proxy::before(upstream.addr(), &[]).await;
    let mut client = H1::connect(proxy.addr).await.unwrap();
    client.get("/").await.unwrap();
    let stream = proxy.stream(|_| true).await;
    proxy.abort(stream["id"].as_str().unwrap(), "").await;
    assert_eq!(client.read_head(LIMIT).await.unwrap().status(), Some(503));
    let ending = proxy.ending().await;
    for (field, expected) in [
        ("id", stream["id"].clone()),
        ("status", json!(503)),
        ("outcome", json!("aborted")),
        ("reason", json!("aborted")),
        ("bytes", json!(0)),
        ("head_ms", Value::Null),
        ("first_frame_ms", Value::Null),
    ] {
        assert_eq!(ending[field], expected, "{field}");
    }
}

#[tokio::test]
async fn a_capture_that_was_too_small_is_marked() {
    for (options, truncated) in [
        (["--capture=9B", "--capture-total=off"], false),
        (["--capture=8B", "--capture-total=off"], true),
        (["--capture=off", "--capture-total=8B"], true),
        (["--capture=off", "--capture-total=off"], false),
    ] {
        let play = Play::new().head_sse().chunk("data: 1\n\n").last_chunk();
        let upstream = Upstream::start([play]).await;
        let proxy = Proxy::before(upstream.addr(), &options).await;
        let mut client = Client::get(WIRES[0], &proxy, "/").await;
        assert_eq!(client.rest().await.0, "data: 1\n\n", "what streams through is never cut");
        assert_eq!(proxy.ending().await["capture_truncated"], truncated, "{options:?}");
    }
}

#[tokio::test]
async fn the_newest_ending_comes_first_and_as_many_as_were_asked_for() {
    let proxy = Proxy::start(&[]).await;
    let mut ids = Vec::new();
    for n in 1..=3 {
        let mut client = Client::send(&proxy, chat("sim-words=1")).await;
        client.rest().await;
        proxy.endings(n).await;
        ids.insert(0, client.id);
    }
    for (query, count) in [("", 3), ("?limit=2", 2), ("?limit=0", 0), ("?limit=99999", 3)] {
        let endings = proxy.see(&format!("/endings{query}")).await;
        let seen: Vec<_> =
            endings.as_array().unwrap().iter().map(|ending| ending["id"].clone()).collect();
        assert_eq!(seen, ids[..count], "{query}");
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    proxy.endings(3).await;
}
