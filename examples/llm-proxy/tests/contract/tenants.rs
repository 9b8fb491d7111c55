//! What exchanges share: nobody sees, slows or starves another through it.

use std::{convert::Infallible, future::ready, net::SocketAddr, time::Duration};

use hyper::{Request, Response, body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use serde_json::json;
use testkit::{Gate, H1, Play, Script, Upstream, dechunk};
use tokio::{
    net::TcpListener,
    time::{Instant, sleep},
};

use crate::{
    client::{Client, End, WIRES, Wire, h1_post, says},
    common::{LIMIT, Proxy},
    metrics::value,
};

const CHAT: &str = "/v1/chat/completions";
/// Is not replayable, so what the budget holds is what was captured.
const RECORDED: &str = "/v1/recorded";
const KIB: usize = 1024;
const DELTA: &str =
    "data: {\"model\":\"m-1\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hi\"}}]}\n\n";
const REST: &str = "data: {\"model\":\"m-1\",\"choices\":[],\"usage\":{\"prompt_tokens\":12,\"completion_tokens\":7}}\n\n\
                    data: [DONE]\n\n";

/// An event of so many bytes.
fn event(bytes: usize) -> String {
    let around = "data: \n\n".len();
    format!("data: {}\n\n", "x".repeat(bytes - around))
}

/// Waits until the recordings hold so many bytes.
async fn captured(proxy: &Proxy, bytes: usize) {
    let deadline = Instant::now() + LIMIT;
    while value(proxy, "llm_proxy_captured_bytes").await < bytes as f64 {
        assert!(Instant::now() < deadline, "the budget is not used up");
        sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn who_fills_the_capture_budget_costs_others_their_recording_and_nothing_of_their_streams() {
    for wire in WIRES {
        let large = Play::new().head_sse().chunk(event(300 * KIB)).stall();
        let chat = Play::new().head_sse().chunk(DELTA).chunk(REST).last_chunk();
        let upstream = Upstream::start([large, chat]).await;
        let options = ["--capture=256KiB", "--capture-total=256KiB", "--replay=60s"];
        let proxy = Proxy::before(upstream.addr(), &options).await;
        let alice = [("authorization", "alice")];
        let (mut alice, _) = Client::post(wire, &proxy, RECORDED, &alice, "{}").await;
        alice.read_until("\n\n").await;
        captured(&proxy, 100 * KIB).await;

        let bob = [("authorization", "bob")];
        let (mut bob, _) = Client::post(wire, &proxy, CHAT, &bob, "{}").await;
        assert_eq!(bob.rest().await, ([DELTA, REST].concat(), End::Clean), "{wire:?}");
        let ending = proxy.ending_of(&bob.id).await;
        says(&ending, [("outcome", json!("completed")), ("terminator", json!("seen"))]);
        let usage = &ending["usage"];
        says(usage, [("input_tokens", json!(12)), ("output_tokens", json!(7))]);
    }
}

// The two of Bob's share an answer. How far apart they may be must not depend on what Alice's streams hold.
#[tokio::test]
async fn who_fills_the_capture_budget_cuts_no_slow_reader_of_an_answer_that_others_share() {
    let goes_on = Gate::new();
    let shared = (0..40)
        .fold(Play::new().head_sse().chunk("data: 1\n\n").wait(&goes_on), |play, _| {
            play.chunk(event(16 * KIB))
        });
    let large = Play::new().head_sse().chunk(event(1100 * KIB)).stall();
    let upstream = Upstream::start([shared.chunk("data: [DONE]\n\n").last_chunk(), large]).await;
    let options = ["--capture-total=4MiB", "--replay=60s"];
    let proxy = Proxy::before(upstream.addr(), &options).await;

    let bob = [("authorization", "bob"), ("connection", "close")];
    let (mut quick, _) = Client::post(Wire::H1, &proxy, CHAT, &bob, "{}").await;
    quick.read_until("data: 1\n\n").await;
    let mut slow = H1::connect_with_small_buffers(proxy.addr).await.unwrap();
    slow.send(h1_post(CHAT, &bob, "{}")).await.unwrap();
    let head = slow.read_head(LIMIT).await.unwrap();
    assert_eq!(head.header("x-replay"), Some("join"));

    let mut streams = Vec::new();
    for n in 0..4 {
        let tenant = format!("alice {n}");
        let alice = [("authorization", &*tenant)];
        let (mut client, _) = Client::post(Wire::H1, &proxy, RECORDED, &alice, "{}").await;
        client.read_until("\n\n").await;
        streams.push(client);
    }
    captured(&proxy, 3500 * KIB).await;
    goes_on.open();
    let (whole, end) = quick.rest().await;
    assert_eq!((whole.len(), end), (40 * 16 * KIB + "data: [DONE]\n\n".len(), End::Clean));
    // Only now: it is more than half a megabyte behind, of which the sockets hold a part.
    let read = slow.read_to_end(LIMIT).await;
    let body = dechunk(&read.bytes);
    assert_eq!(body.body.len(), "data: 1\n\n".len() + whole.len(), "{:?}", read.how);
    assert!(body.complete && body.body.ends_with(b"data: [DONE]\n\n"));
    proxy.ending_of(head.header("x-exchange-id").unwrap()).await;
}

#[tokio::test]
async fn an_id_that_a_client_sends_is_not_the_one_it_is_known_by() {
    for wire in WIRES {
        let gate = Gate::new();
        let play = Play::new().head_sse().chunk(DELTA).wait(&gate).chunk(REST).last_chunk();
        let upstream = Upstream::start([play]).await;
        let proxy = Proxy::before(upstream.addr(), &[]).await;
        let (mut alice, _) = Client::post(wire, &proxy, CHAT, &[], "{}").await;
        let id = alice.id.clone();
        let (mut mallory, _) =
            Client::post(wire, &proxy, CHAT, &[("x-exchange-id", &*id)], "{}").await;
        assert_ne!(mallory.id, id);
        assert_eq!(proxy.abort(&mallory.id, "?reason=stop").await, (200, "aborted".to_owned()));
        mallory.rest().await;
        gate.open();
        assert_eq!(alice.rest().await, ([DELTA, REST].concat(), End::Clean), "{wire:?}");
        says(&proxy.ending_of(&id).await, [("outcome", json!("completed"))]);
        says(&proxy.ending_of(&mallory.id).await, [("outcome", json!("aborted"))]);
        // What has ended is not aborted under its id either.
        assert_eq!(proxy.abort(&id, "").await, (409, "finished".to_owned()));
    }
}

#[tokio::test]
async fn who_takes_all_places_of_the_drain_costs_others_theirs_and_nothing_of_their_streams() {
    for wire in WIRES {
        let gate = Gate::new();
        let stalled = Play::new().head_sse().chunk(DELTA).stall();
        let chat = Play::new().head_sse().chunk(DELTA).wait(&gate).chunk(REST).last_chunk();
        let upstream = Upstream::start([stalled, chat.clone(), chat]).await;
        let proxy = Proxy::before(upstream.addr(), &["--drain=1m", "--drain-streams=1"]).await;
        let mut alice = Client::get(wire, &proxy, CHAT).await;
        alice.read_until(DELTA).await;
        alice.leave().await;
        proxy.stream(|stream| stream["draining"] == true).await;

        let mut stays = Client::get(wire, &proxy, CHAT).await;
        let mut leaves = Client::get(wire, &proxy, CHAT).await;
        leaves.read_until(DELTA).await;
        let id = leaves.id.clone();
        leaves.leave().await;
        let ending = proxy.ending_of(&id).await;
        says(&ending, [("outcome", json!("disconnected"))]);
        says(&ending["drained"], [("end", json!("limit")), ("bytes", json!(0))]);
        gate.open();
        assert_eq!(stays.rest().await, ([DELTA, REST].concat(), End::Clean), "{wire:?}");
        assert_eq!(proxy.ending_of(&stays.id).await["usage"]["output_tokens"], 7);
    }
}

/// Gives 2 MiB over HTTP/2, or a few bytes.
async fn streams() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = service_fn(|request: Request<Incoming>| {
                let frames = if request.uri().path() == "/large" { 128 } else { 1 };
                let body = (0..frames).fold(Script::new(), |body, _| body.data(event(16 * KIB)));
                let response = Response::builder().header("content-type", "text/event-stream");
                ready(Ok::<_, Infallible>(response.body(body).unwrap()))
            });
            tokio::spawn(async move {
                let server = auto::Builder::new(TokioExecutor::new());
                let _ = server.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    addr
}

#[tokio::test]
async fn who_does_not_read_holds_up_nobody_on_the_same_connection_to_the_upstream() {
    let upstream = format!("--upstream=h2c://{}", streams().await);
    let proxy = Proxy::start(&[&upstream]).await;
    let mut asleep = Vec::new();
    for _ in 0..8 {
        let mut client = H1::connect_with_small_buffers(proxy.addr).await.unwrap();
        client.get("/large").await.unwrap();
        asleep.push(client);
    }
    let held = |stream: &serde_json::Value| stream["bytes"].as_u64() >= Some(64 * KIB as u64);
    proxy.stream(held).await;
    for wire in WIRES {
        let mut bob = Client::get(wire, &proxy, "/").await;
        assert_eq!(bob.rest().await, (event(16 * KIB), End::Clean), "{wire:?}");
    }
    assert_eq!(proxy.see("/streams").await.as_array().unwrap().len(), 8, "they are still held");
}
