//! The time limits: which one is hit, what the client is told, and that the upstream is let go.

use std::time::Duration;

use serde_json::{Value, json};
use testkit::{H1, H2, Play, Upstream};
use tokio::time::{Instant, sleep};

use crate::{
    client::{Client, End, WIRES, Wire, ask, chat, error_event, says, whole},
    common::{LIMIT, Proxy},
    unread::{asleep, event, wake_up},
};

/// What the client is told in the stream.
fn told(message: &str, limit: &str) -> String {
    error_event("timeout", &format!("{limit} timeout: {message}"), limit)
}

fn timed_out(ending: &Value, limit: &str, status: u16) {
    says(
        ending,
        [("outcome", json!("timed_out")), ("reason", json!(limit)), ("status", json!(status))],
    );
}

#[tokio::test]
async fn without_a_head_in_time_the_client_gets_a_504() {
    for (option, limit, message) in [
        ("--head-timeout=300ms", "head", "head timeout: no response head for 300ms"),
        ("--total-timeout=300ms", "total", "total timeout: not finished in 300ms"),
    ] {
        for wire in WIRES {
            let upstream = Upstream::start([Play::new().stall()]).await;
            let proxy = Proxy::before(upstream.addr(), &[option]).await;
            let asked = Instant::now();
            let (status, body) = match wire {
                Wire::H1 => {
                    let mut client = H1::connect(proxy.addr).await.unwrap();
                    client.get("/").await.unwrap();
                    let (head, body) = whole(&mut client).await;
                    assert_eq!(head.header("content-type"), Some("application/json"));
                    (head.status().unwrap(), body)
                }
                Wire::H2 => {
                    let mut client = H2::connect(proxy.addr).await.unwrap();
                    let (head, mut body) = client.request("GET", "/", &[]).await.unwrap();
                    let body = body.rest(LIMIT).await.0;
                    (head.status.as_u16(), serde_json::from_slice(&body).unwrap())
                }
            };
            assert!(asked.elapsed() >= Duration::from_millis(300));
            let error = json!({"type": "timeout", "message": message, "code": limit});
            assert_eq!((status, body), (504, json!({"type": "error", "error": error})), "{wire:?}");
            upstream.closed(0, LIMIT).await;
            let ending = proxy.ending().await;
            timed_out(&ending, limit, 504);
            says(&ending, [("bytes", json!(0)), ("head_ms", Value::Null)]);
        }
    }
}

#[tokio::test]
async fn a_head_without_a_body_and_a_stream_without_progress_end_in_band() {
    let no_byte = told("no byte of the body for 300ms", "first_frame");
    let no_progress = told("no progress for 300ms", "idle");
    for (limit, sent, last) in [("first_frame", "", no_byte), ("idle", "data: 1\n\n", no_progress)]
    {
        for wire in WIRES {
            let play = Play::new().head_sse();
            let play = if sent.is_empty() { play } else { play.chunk(format!("{sent}data: tw")) };
            let upstream = Upstream::start([play.stall()]).await;
            let options = ["--first-frame-timeout=300ms", "--idle-timeout=300ms"];
            let proxy = Proxy::before(upstream.addr(), &options).await;
            let mut client = Client::get(wire, &proxy, "/").await;
            let (answer, end) = client.rest().await;
            assert_eq!((answer, end), (format!("{sent}{last}"), End::Clean), "{wire:?} {limit}");
            upstream.closed(0, LIMIT).await;
            let ending = proxy.ending().await;
            timed_out(&ending, limit, 200);
            assert!(ending["elapsed_ms"].as_u64().unwrap() >= 300, "{ending}");
        }
    }
}

#[tokio::test]
async fn whatever_is_no_event_stream_is_cut() {
    let proxy = Proxy::start(&["--idle-timeout=300ms"]).await;
    let mut client = Client::send(&proxy, ask("/api/chat", "sim-stall=2-gap=0ms")).await;
    let (answer, end) = client.rest().await;
    assert_eq!(end, End::Cut);
    assert!(!answer.contains("error"), "{answer}");
    timed_out(&proxy.ending().await, "idle", 200);
}

#[tokio::test]
async fn comments_and_pings_of_the_upstream_are_no_progress() {
    let alive = ": alive\n\nevent: ping\ndata: {\"type\":\"ping\"}\n\n";
    let mut play = Play::new().head_sse().chunk("data: 1\n\n");
    for _ in 0..200 {
        play = play.sleep(Duration::from_millis(50)).chunk(alive);
    }
    let upstream = Upstream::start([play]).await;
    let proxy = Proxy::before(upstream.addr(), &["--idle-timeout=500ms"]).await;
    let mut client = Client::get(Wire::H1, &proxy, "/").await;
    let (answer, _) = client.rest().await;
    let last = told("no progress for 500ms", "idle");
    let before = answer.strip_prefix("data: 1\n\n").unwrap().strip_suffix(&last).unwrap();
    let passed = before.matches(alive).count();
    assert!((1..=40).contains(&passed), "{passed} passed");
    assert_eq!(before, alive.repeat(passed), "they are passed on as they are");
    timed_out(&proxy.ending().await, "idle", 200);
}

#[tokio::test]
async fn heartbeats_of_ours_are_no_progress() {
    let proxy = Proxy::start(&["--keepalive=50ms", "--idle-timeout=500ms"]).await;
    for path in ["/v1/chat/completions", "/v1/messages"] {
        let mut client = Client::send(&proxy, ask(path, "sim-stall=1")).await;
        let (answer, _) = client.rest().await;
        let beats =
            answer.matches(": keep-alive\n").count() + answer.matches("event: ping").count();
        assert!(beats >= 2, "{beats} heartbeats in\n{answer}");
        assert!(answer.ends_with(&told("no progress for 500ms", "idle")), "{answer}");
        timed_out(&proxy.ending_of(&client.id).await, "idle", 200);
    }
}

#[tokio::test]
async fn a_stream_that_goes_on_is_never_too_slow() {
    let options = ["--head-timeout=400ms", "--first-frame-timeout=400ms", "--idle-timeout=400ms"];
    let proxy = Proxy::start(&options).await;
    for path in ["/v1/chat/completions", "/v1/messages", "/api/chat"] {
        let model = "sim-head=100ms-first=100ms-words=8-gap=100ms";
        let mut client = Client::send(&proxy, ask(path, model)).await;
        assert_eq!(client.rest().await.1, End::Clean);
        let ending = proxy.ending_of(&client.id).await;
        says(&ending, [("outcome", json!("completed")), ("reason", Value::Null)]);
    }
}

#[tokio::test]
async fn the_total_limit_ends_a_stream_however_busy_it_is() {
    let proxy = Proxy::start(&["--total-timeout=500ms"]).await;
    let asked = Instant::now();
    let mut client = Client::send(&proxy, chat("sim-words=1000-gap=20ms")).await;
    let (answer, end) = client.rest().await;
    assert!(asked.elapsed() >= Duration::from_millis(500) && asked.elapsed() < LIMIT / 2);
    assert!(answer.ends_with(&told("not finished in 500ms", "total")), "{answer}");
    assert_eq!(end, End::Clean);
    assert!(answer.matches("data: ").count() > 5);
    timed_out(&proxy.ending().await, "total", 200);
}

#[tokio::test]
async fn a_client_that_does_not_read_is_not_the_upstreams_silence() {
    for wire in WIRES {
        let upstream = Upstream::start([Play::new().head_sse().flood(event())]).await;
        let options = ["--idle-timeout=200ms", "--unread-timeout=off"];
        let proxy = Proxy::before(upstream.addr(), &options).await;
        let client = asleep(wire, &proxy).await;
        let id = proxy.blocked().await;
        sleep(Duration::from_millis(500)).await;
        let streams = proxy.see("/streams").await;
        assert_eq!(streams[0]["id"], *id, "{wire:?}: it was ended");
        assert_eq!(proxy.abort(&id, "?reason=stop").await.0, 200);
        let read = String::from_utf8(wake_up(client).await).unwrap();
        assert!(read.ends_with(&error_event("aborted", "stop", "aborted")), "{wire:?}");
    }
}

#[tokio::test]
async fn a_client_that_stops_reading_is_given_up_and_the_upstream_let_go() {
    for wire in WIRES {
        let upstream = Upstream::start([Play::new().head_sse().flood(event())]).await;
        let proxy = Proxy::before(upstream.addr(), &["--unread-timeout=500ms"]).await;
        let client = asleep(wire, &proxy).await;
        upstream.closed(0, LIMIT).await;
        let ending = proxy.ending().await;
        timed_out(&ending, "unread", 200);
        assert!(ending["elapsed_ms"].as_u64().unwrap() >= 500, "{ending}");
        // If it wakes up after all, it learns what happened.
        let read = String::from_utf8(wake_up(client).await).unwrap();
        let last = told("not read by the client for 500ms", "unread");
        let kept = read.strip_suffix(&last).unwrap_or_else(|| panic!("{wire:?}: no last event"));
        assert_eq!(kept, event().repeat(kept.len() / event().len()), "{wire:?}");
    }
}

#[tokio::test]
async fn a_client_that_reads_a_silent_stream_is_not_taken_for_one_that_does_not() {
    let proxy = Proxy::start(&["--unread-timeout=200ms"]).await;
    let mut client = Client::send(&proxy, chat("sim-words=3-gap=0ms-pause=1:1s")).await;
    let (answer, end) = client.rest().await;
    assert!(answer.ends_with("data: [DONE]\n\n"), "{answer}");
    assert_eq!(end, End::Clean);
    assert_eq!(proxy.ending().await["outcome"], "completed");
}
