//! Answers that are served again, and shared while they run.

use std::time::Duration;

use serde_json::{Value, json};
use testkit::{Gate, H1, Head, Play, Upstream};
use tokio::time::{Instant, sleep};

use crate::{
    client::{Client, End, WIRES, Wire, error_of, h1_post, says},
    common::{LIMIT, Proxy},
};

const DELTA: &str =
    "data: {\"model\":\"m-1\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hi\"}}]}\n\n";
const REST: &str = "data: {\"model\":\"m-1\",\"choices\":[],\"usage\":{\"prompt_tokens\":12,\"completion_tokens\":7}}\n\n\
                    data: [DONE]\n\n";
const CHAT: &str = "/v1/chat/completions";
const ON: &[&str] = &["--replay=60s"];

fn whole() -> Play {
    Play::new().head_sse().chunk(DELTA).chunk(REST).last_chunk()
}

async fn before(play: Play, options: &[&str]) -> (Upstream, Proxy) {
    let upstream = Upstream::start([play]).await;
    let proxy = Proxy::before(upstream.addr(), options).await;
    (upstream, proxy)
}

/// Asks, and tells the head.
async fn ask(proxy: &Proxy, path: &str, headers: &[(&str, &str)]) -> (Head, Client) {
    let mut client = H1::connect(proxy.addr).await.unwrap();
    client.send(h1_post(path, headers, "{}")).await.unwrap();
    let head = client.read_head(LIMIT).await.unwrap();
    let id = head.header("x-exchange-id").unwrap().to_owned();
    let status = head.status().unwrap();
    (head, Client { status, id, side: crate::client::Side::H1(client) })
}

async fn chat(wire: Wire, proxy: &Proxy) -> Client {
    Client::post(wire, proxy, CHAT, &[], "{}").await.0
}

/// Whether the answer to this is a replay.
async fn replayed(proxy: &Proxy, path: &str, headers: &[(&str, &str)]) -> String {
    let (head, mut client) = ask(proxy, path, headers).await;
    client.rest().await;
    head.header("x-replay").unwrap().to_owned()
}

#[tokio::test]
async fn nothing_is_served_again_unless_it_is_asked_for() {
    let (upstream, proxy) = before(whole(), &[]).await;
    for _ in 0..2 {
        let (head, mut client) = ask(&proxy, CHAT, &[]).await;
        assert_eq!(head.header("x-replay"), None);
        client.rest().await;
    }
    assert_eq!(upstream.conns().len(), 2);
}

#[tokio::test]
async fn a_complete_answer_is_served_again_byte_for_byte_and_costs_nothing() {
    let (upstream, proxy) = before(whole(), ON).await;
    for (wire, replay) in [(Wire::H1, false), (Wire::H1, true), (Wire::H2, true)] {
        let mut client = chat(wire, &proxy).await;
        let id = client.id.clone();
        assert_eq!(client.rest().await, ([DELTA, REST].concat(), End::Clean));
        let ending = proxy.ending_of(&id).await;
        says(&ending, [("outcome", json!("completed")), ("terminator", json!("seen"))]);
        says(&ending, [("bytes", json!(DELTA.len() + REST.len())), ("status", json!(200))]);
        assert_eq!(ending["usage"].is_null(), replay, "{ending}");
    }
    assert_eq!(upstream.conns().len(), 1);
    let (head, _) = ask(&proxy, CHAT, &[]).await;
    assert_eq!(head.header("x-replay"), Some("hit"));
    assert_eq!(head.header("content-type"), Some("text/event-stream"));
}

#[tokio::test]
async fn an_answer_is_served_again_for_its_time() {
    let (_upstream, proxy) = before(whole(), &["--replay=500ms"]).await;
    assert_eq!(replayed(&proxy, CHAT, &[]).await, "miss");
    let kept = Instant::now();
    while replayed(&proxy, CHAT, &[]).await == "hit" {
        assert!(kept.elapsed() < LIMIT, "for ever");
        sleep(Duration::from_millis(20)).await;
    }
    assert!(kept.elapsed() >= Duration::from_millis(400), "for so long at least");
}

#[tokio::test]
async fn what_failed_or_ended_early_or_says_no_is_not_served_again() {
    let refused = "HTTP/1.1 429 Too Many Requests\r\ncontent-length: 2\r\n\r\nno";
    for play in [
        Play::new().head_sse().chunk(DELTA).reset(),
        Play::new().head_sse().chunk(DELTA).last_chunk(),
        Play::new().send(refused),
    ] {
        let (upstream, proxy) = before(play, ON).await;
        for call in 1..3 {
            let (head, client) = ask(&proxy, CHAT, &[]).await;
            assert_eq!(head.header("x-replay"), Some("miss"));
            proxy.ending_of(&client.id).await;
            assert_eq!(upstream.conns().len(), call);
        }
    }
}

#[tokio::test]
async fn equal_requests_that_come_at_once_are_one_call_and_all_get_all_of_it() {
    let gate = Gate::new();
    let play = Play::new().head_sse().chunk(DELTA).wait(&gate).chunk(REST).last_chunk();
    let (upstream, proxy) = before(play, ON).await;
    let mut clients = Vec::new();
    for n in 0..100 {
        let (head, client) = ask(&proxy, CHAT, &[]).await;
        assert_eq!(head.header("x-replay"), Some(if n == 0 { "miss" } else { "join" }));
        clients.push(client);
    }
    for client in &mut clients {
        assert_eq!(client.read_until(DELTA).await, DELTA, "what was streamed so far");
    }
    gate.open();
    for client in &mut clients {
        assert_eq!(client.rest().await, (REST.to_owned(), End::Clean));
    }
    assert_eq!(upstream.conns().len(), 1);
    let endings = proxy.endings(100).await;
    let paid: Vec<&Value> = endings.iter().filter(|ending| !ending["usage"].is_null()).collect();
    assert_eq!(paid.len(), 1, "counted once");
    assert_eq!(paid[0]["usage"]["output_tokens"], 7);
    for ending in &endings {
        says(ending, [("outcome", json!("completed")), ("terminator", json!("seen"))]);
    }
}

#[tokio::test]
async fn one_that_leaves_or_is_aborted_cuts_no_other_and_the_last_one_does() {
    for wire in WIRES {
        let play = Play::new().head_sse().chunk(DELTA).stall();
        let (upstream, proxy) = before(play, ON).await;
        let mut first = chat(wire, &proxy).await;
        let mut second = chat(wire, &proxy).await;
        let mut third = chat(wire, &proxy).await;
        for client in [&mut first, &mut second, &mut third] {
            client.read_until(DELTA).await;
        }
        let ids = [first.id.clone(), second.id.clone(), third.id.clone()];
        first.leave().await;
        assert_eq!(proxy.ending_of(&ids[0]).await["outcome"], "disconnected");
        assert_eq!(proxy.abort(&ids[1], "?reason=stop").await, (200, "aborted".into()));
        assert_eq!(error_of(&second.rest().await.0)["error"]["message"], "stop");
        assert_eq!(proxy.ending_of(&ids[1]).await["outcome"], "aborted");
        assert_eq!(upstream.conns()[0].closed_at, None);
        third.leave().await;
        upstream.closed(0, LIMIT).await;
        let ending = proxy.ending_of(&ids[2]).await;
        assert_eq!(ending["outcome"], "disconnected");
        assert_eq!(ending["usage"]["model"], "m-1", "the last one has the bill");
    }
}

#[tokio::test]
async fn when_the_one_who_pays_leaves_another_does_and_nothing_is_lost_or_doubled() {
    let gate = Gate::new();
    let play = Play::new().head_sse().chunk(DELTA).wait(&gate).chunk(REST).last_chunk();
    let (_upstream, proxy) = before(play, ON).await;
    let mut first = chat(Wire::H1, &proxy).await;
    let mut second = chat(Wire::H1, &proxy).await;
    first.read_until(DELTA).await;
    let id = first.id.clone();
    first.leave().await;
    assert_eq!(proxy.ending_of(&id).await["usage"], Value::Null);
    gate.open();
    second.rest().await;
    let usage = &proxy.ending_of(&second.id).await["usage"];
    says(usage, [("input_tokens", json!(12)), ("output_tokens", json!(7))]);
}

#[tokio::test]
async fn a_failure_reaches_all_and_is_told_in_band() {
    let gate = Gate::new();
    let play = Play::new().head_sse().chunk(DELTA).wait(&gate).reset();
    let (upstream, proxy) = before(play, ON).await;
    let mut clients = Vec::new();
    for _ in 0..3 {
        clients.push(ask(&proxy, CHAT, &[]).await.1);
    }
    gate.open();
    for mut client in clients {
        let (seen, end) = client.rest().await;
        let error = error_of(seen.strip_prefix(DELTA).unwrap());
        assert_eq!((&error["error"]["type"], end), (&json!("upstream"), End::Clean));
        assert_eq!(proxy.ending_of(&client.id).await["outcome"], "failed");
    }
    assert_eq!(upstream.conns().len(), 1);
}

#[tokio::test]
async fn an_upstream_that_gives_no_answer_is_asked_once_and_all_are_told() {
    let gate = Gate::new();
    let (upstream, proxy) = before(Play::new().wait(&gate).fin(), ON).await;
    let mut clients = Vec::new();
    for _ in 0..3 {
        let mut client = H1::connect(proxy.addr).await.unwrap();
        client.send(h1_post(CHAT, &[], "{}")).await.unwrap();
        clients.push(client);
    }
    let deadline = Instant::now() + LIMIT;
    while proxy.see("/streams").await.as_array().unwrap().len() < 3 {
        assert!(Instant::now() < deadline, "they do not wait");
    }
    gate.open();
    for mut client in clients {
        let head = client.read_head(LIMIT).await.unwrap();
        assert_eq!(head.status(), Some(502));
        let id = head.header("x-exchange-id").unwrap();
        let ending = proxy.ending_of(id).await;
        says(&ending, [("outcome", json!("failed")), ("status", json!(502))]);
        says(&ending, [("bytes", json!(0)), ("frames", json!(0)), ("head_ms", Value::Null)]);
    }
    // Once for all of them, and not again: that the connection ended does not prove that a POST was not processed.
    assert_eq!(upstream.conns().len(), 1);
}

#[tokio::test]
async fn one_that_joined_counts_as_a_reader_while_it_is_drained() {
    let gate = Gate::new();
    let play = Play::new().head_sse().chunk(DELTA).wait(&gate).chunk(REST).last_chunk();
    let (_upstream, proxy) = before(play, &["--replay=60s", "--drain=1m"]).await;
    let mut client = chat(Wire::H1, &proxy).await;
    client.read_until(DELTA).await;
    let id = client.id.clone();
    client.leave().await;
    proxy.stream(|stream| stream["draining"] == true).await;
    let (head, mut late) = ask(&proxy, CHAT, &[]).await;
    assert_eq!(head.header("x-replay"), Some("join"));
    gate.open();
    assert_eq!(late.rest().await.0, [DELTA, REST].concat());
    let ending = proxy.ending_of(&id).await;
    says(&ending, [("outcome", json!("disconnected")), ("terminator", json!("seen"))]);
    assert_eq!(ending["usage"]["output_tokens"], 7);
    assert_eq!(replayed(&proxy, CHAT, &[]).await, "hit");
}

#[tokio::test]
async fn a_stream_that_ends_too_early_is_told_to_those_who_joined_though_the_first_has_left() {
    let gate = Gate::new();
    let play = Play::new().head_sse().chunk(DELTA).wait(&gate).last_chunk();
    let (_upstream, proxy) = before(play, ON).await;
    let (_, first) = ask(&proxy, CHAT, &[]).await;
    let (_, mut second) = ask(&proxy, CHAT, &[]).await;
    second.read_until(DELTA).await;
    let id = first.id.clone();
    first.leave().await;
    assert_eq!(proxy.ending_of(&id).await["outcome"], "disconnected");
    gate.open();
    let error = error_of(&second.rest().await.0);
    assert_eq!(error["error"]["code"], "truncated");
    let ending = proxy.ending_of(&second.id).await;
    says(&ending, [("outcome", json!("truncated")), ("terminator", json!("missing"))]);
}

#[tokio::test]
async fn nobody_joins_a_call_that_another_has_given_up() {
    let stalled = Play::new().head_sse().chunk(DELTA).stall();
    let upstream = Upstream::start([Play::new().stall(), stalled, whole()]).await;
    let options = ["--replay=60s", "--head-timeout=500ms", "--idle-timeout=500ms"];
    let proxy = Proxy::before(upstream.addr(), &options).await;
    let mut hung = H1::connect(proxy.addr).await.unwrap();
    hung.send(h1_post(CHAT, &[], "{}")).await.unwrap();
    proxy.stream(|_| true).await;
    sleep(Duration::from_millis(200)).await;
    // Joins in time, and waits for its own limit.
    let mut joined = H1::connect(proxy.addr).await.unwrap();
    joined.send(h1_post(CHAT, &[], "{}")).await.unwrap();
    assert_eq!(hung.read_head(LIMIT).await.unwrap().status(), Some(504));
    let (head, _stalled) = ask(&proxy, CHAT, &[]).await;
    assert_eq!((head.status(), head.header("x-replay")), (Some(200), Some("miss")));
    assert_eq!(joined.read_head(LIMIT).await.unwrap().header("x-replay"), Some("join"));
    proxy.ending_of(head.header("x-exchange-id").unwrap()).await;
    assert_eq!(replayed(&proxy, CHAT, &[]).await, "miss");
    assert_eq!(upstream.conns().len(), 3);
}
