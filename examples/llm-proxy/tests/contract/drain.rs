//! What is read of an answer after its client left.

use std::time::Duration;

use serde_json::{Value, json};
use testkit::{Gate, Play, Upstream};
use tokio::time::Instant;

use crate::{
    client::{Client, WIRES, Wire, chat, says},
    common::{LIMIT, Proxy},
};

const BEGUN: &str = "data: 1\n\ndata: 2\n\ndata: 3\n\n";

fn begun() -> Play {
    Play::new().head_sse().chunk(BEGUN)
}

/// A client that leaves after the third event of what an upstream plays.
async fn left(wire: Wire, play: Play, options: &[&str]) -> (Upstream, Proxy, String) {
    let upstream = Upstream::start([play]).await;
    let proxy = Proxy::before(upstream.addr(), options).await;
    let mut client = Client::get(wire, &proxy, "/").await;
    client.read_until(BEGUN).await;
    let id = client.id.clone();
    client.leave().await;
    (upstream, proxy, id)
}

/// An ending by a client that left after the third event, and then this.
fn drained(ending: &Value, bytes: usize, end: &str) {
    says(
        ending,
        [
            ("outcome", json!("disconnected")),
            ("reason", Value::Null),
            ("status", json!(200)),
            ("bytes", json!(BEGUN.len())),
            ("frames", json!(1)),
            ("drained", json!({"bytes": bytes, "end": end})),
        ],
    );
}

#[tokio::test]
async fn an_answer_that_was_left_is_read_to_its_end() {
    for wire in WIRES {
        let gate = Gate::new();
        let rest = "data: 4\n\ndata: [DONE]\n\n";
        let play = begun().wait(&gate).chunk(rest).last_chunk();
        let (_upstream, proxy, id) = left(wire, play, &["--drain=1m"]).await;
        let stream = proxy.stream(|stream| stream["draining"] == true).await;
        says(&stream, [("id", json!(id)), ("bytes", json!(BEGUN.len())), ("status", json!(200))]);
        assert_eq!(proxy.see("/endings").await, json!([]));
        gate.open();
        drained(&proxy.ending().await, rest.len(), "completed");
        assert_eq!(proxy.see("/streams").await, json!([]));
    }
}

#[tokio::test]
async fn an_abort_ends_the_drain_and_changes_nothing_else() {
    let (upstream, proxy, id) = left(Wire::H1, begun().stall(), &["--drain=1m"]).await;
    proxy.stream(|stream| stream["draining"] == true).await;
    assert_eq!(proxy.abort(&id, "?reason=stop").await, (200, "aborted".into()));
    upstream.closed(0, LIMIT).await;
    drained(&proxy.ending().await, 0, "aborted");
    assert_eq!(proxy.abort(&id, "").await, (409, "finished".into()));
}

#[tokio::test]
async fn an_upstream_that_breaks_off_in_the_drain_is_told() {
    let gate = Gate::new();
    let play = begun().wait(&gate).chunk("data: 4\n\n").fin();
    let (_upstream, proxy, _) = left(Wire::H1, play, &["--drain=1m"]).await;
    proxy.stream(|stream| stream["draining"] == true).await;
    gate.open();
    drained(&proxy.ending().await, 9, "failed");
}

#[tokio::test]
async fn a_drain_is_bounded_in_time() {
    for options in [["--drain=300ms", "--idle-timeout=1m"], ["--drain=1m", "--idle-timeout=300ms"]]
    {
        let asked = Instant::now();
        let (upstream, proxy, _) = left(Wire::H1, begun().stall(), &options).await;
        let closed = upstream.closed(0, LIMIT).await;
        assert!(closed.duration_since(asked) >= Duration::from_millis(300), "{options:?}");
        drained(&proxy.ending().await, 0, "limit");
    }
}

#[tokio::test]
async fn a_drain_is_bounded_in_bytes() {
    let gate = Gate::new();
    let play = begun().wait(&gate).flood(format!("data: {}\n\n", "x".repeat(100)));
    let (upstream, proxy, _) = left(Wire::H1, play, &["--drain=1m", "--drain-bytes=1KiB"]).await;
    proxy.stream(|stream| stream["draining"] == true).await;
    gate.open();
    upstream.closed(0, LIMIT).await;
    let ending = proxy.ending().await;
    let bytes = ending["drained"]["bytes"].as_u64().unwrap();
    // The frame that goes beyond it is the last one, and a frame is at most what hyper reads at once.
    assert!(bytes > 1024 && bytes < 1024 * 1024, "{bytes}");
    drained(&ending, bytes as usize, "limit");
}

#[tokio::test]
async fn so_many_are_drained_at_once_and_no_more() {
    let upstream = Upstream::start([begun().stall()]).await;
    let proxy = Proxy::before(upstream.addr(), &["--drain=1m", "--drain-streams=1"]).await;
    let mut ids = Vec::new();
    for n in 0..2 {
        let mut client = Client::get(Wire::H1, &proxy, "/").await;
        client.read_until(BEGUN).await;
        ids.push(client.id.clone());
        client.leave().await;
        if n == 0 {
            proxy.stream(|stream| stream["draining"] == true).await;
        }
    }
    upstream.closed(1, LIMIT).await;
    let ending = proxy.ending().await;
    assert_eq!(ending["id"], ids[1]);
    drained(&ending, 0, "limit");
    says(&proxy.see("/streams").await[0], [("id", json!(ids[0])), ("draining", json!(true))]);

    // Its place is free again once it has ended.
    proxy.abort(&ids[0], "").await;
    proxy.endings(2).await;
    let mut client = Client::get(Wire::H1, &proxy, "/").await;
    client.read_until(BEGUN).await;
    client.leave().await;
    proxy.stream(|stream| stream["draining"] == true).await;
}

#[tokio::test]
async fn without_the_option_and_for_a_client_that_stays_there_is_none() {
    let (upstream, proxy, _) = left(Wire::H1, begun().stall(), &[]).await;
    upstream.closed(0, LIMIT).await;
    says(&proxy.ending().await, [("outcome", json!("disconnected")), ("drained", Value::Null)]);

    let proxy = Proxy::start(&["--drain=1m"]).await;
    let mut client = Client::send(&proxy, chat("sim-words=2-gap=0ms")).await;
    client.rest().await;
    says(&proxy.ending().await, [("outcome", json!("completed")), ("drained", Value::Null)]);
}
