//! Who ended it: the client, the upstream, or nobody yet.

use serde_json::{Value, json};
use testkit::{Gate, H1, H2, Play, Reason, Upstream};

use crate::{
    client::{Client, Side, WIRES, Wire, chat},
    common::{LIMIT, Proxy},
};

/// A client in the middle of an answer.
async fn midway(wire: Wire) -> (Upstream, Proxy, Client) {
    let upstream = Upstream::start([Play::new().head_sse().chunk("data: 1\n\n").stall()]).await;
    let proxy = Proxy::before(upstream.addr(), &[]).await;
    let mut client = Client::get(wire, &proxy, "/").await;
    client.read_until("data: 1\n\n").await;
    (upstream, proxy, client)
}

async fn disconnected(upstream: &Upstream, proxy: &Proxy, id: &str, how: &str) {
    upstream.closed(0, LIMIT).await;
    let ending = proxy.ending().await;
    for (field, expected) in [
        ("id", json!(id)),
        ("outcome", json!("disconnected")),
        ("reason", Value::Null),
        ("status", json!(200)),
        ("bytes", json!(9)),
    ] {
        assert_eq!(ending[field], expected, "{field} after {how}");
    }
    assert_eq!(proxy.see("/streams").await, json!([]));
}

#[tokio::test]
async fn a_client_that_leaves_is_gone_at_once_however_it_leaves() {
    for how in ["close", "reset", "half-close"] {
        let (upstream, proxy, client) = midway(Wire::H1).await;
        let Side::H1(mut connection) = client.side else { unreachable!() };
        match how {
            "close" => connection.close().await,
            "reset" => connection.reset(),
            _ => {
                connection.half_close().await.unwrap();
                disconnected(&upstream, &proxy, &client.id, how).await;
                continue;
            }
        }
        disconnected(&upstream, &proxy, &client.id, how).await;
    }
    for how in ["close", "kill", "RST_STREAM", "RST_STREAM without an error"] {
        let (upstream, proxy, client) = midway(Wire::H2).await;
        let Side::H2(connection, body) = client.side else { unreachable!() };
        let mut kept = None;
        match how {
            "close" => connection.close().await,
            "kill" => connection.kill().await,
            "RST_STREAM" => {
                body.reset(Reason::CANCEL);
                kept = Some(connection);
            }
            _ => {
                body.reset(Reason::NO_ERROR);
                kept = Some(connection);
            }
        }
        disconnected(&upstream, &proxy, &client.id, how).await;
        drop(kept);
    }
}

#[tokio::test]
async fn a_client_that_leaves_before_the_head_was_given_no_status() {
    for wire in WIRES {
        let upstream = Upstream::start([Play::new().stall()]).await;
        let proxy = Proxy::before(upstream.addr(), &[]).await;
        let id = match wire {
            Wire::H1 => {
                let mut client = H1::connect(proxy.addr).await.unwrap();
                client.get("/").await.unwrap();
                let stream = proxy.stream(|_| true).await;
                upstream.request(0, LIMIT).await;
                client.close().await;
                stream["id"].clone()
            }
            Wire::H2 => {
                let mut client = H2::connect(proxy.addr).await.unwrap();
                let call = client.start("GET", "/", &[]).await.unwrap();
                let stream = proxy.stream(|_| true).await;
                upstream.request(0, LIMIT).await;
                call.reset(Reason::CANCEL);
                upstream.closed(0, LIMIT).await;
                stream["id"].clone()
            }
        };
        upstream.closed(0, LIMIT).await;
        let ending = proxy.ending().await;
        for (field, expected) in [
            ("id", id),
            ("outcome", json!("disconnected")),
            ("status", Value::Null),
            ("reason", Value::Null),
            ("head_ms", Value::Null),
        ] {
            assert_eq!(ending[field], expected, "{field} {wire:?}");
        }
    }
}

#[tokio::test]
async fn one_client_that_leaves_takes_nobody_with_it() {
    let proxy = Proxy::start(&[]).await;
    let mut connection = H2::connect(proxy.addr).await.unwrap();
    let mut stays = Client::send(&proxy, chat("sim-words=20-gap=20ms")).await;
    let leaves = Client::send(&proxy, chat("sim-stall=1")).await;
    leaves.leave().await;
    assert_eq!(proxy.ending().await["outcome"], "disconnected");
    let (answer, _) = stays.rest().await;
    assert!(answer.ends_with("data: [DONE]\n\n"), "{answer}");
    assert_eq!(proxy.ending_of(&stays.id).await["outcome"], "completed");
    let (head, _) = connection.request("GET", "/v1/models", &[]).await.unwrap();
    assert_eq!(head.status, 200);
}

#[tokio::test]
async fn an_upstream_that_breaks_off_has_failed() {
    for wire in WIRES {
        let gate = Gate::new();
        let play = Play::new().head_sse().chunk("data: 1\n\n").wait(&gate).reset();
        let upstream = Upstream::start([play]).await;
        let proxy = Proxy::before(upstream.addr(), &[]).await;
        let mut client = Client::get(wire, &proxy, "/").await;
        client.read_until("data: 1\n\n").await;
        gate.open();
        let ending = proxy.ending().await;
        for (field, expected) in [
            ("id", json!(client.id)),
            ("outcome", json!("failed")),
            ("status", json!(200)),
            ("bytes", json!(9)),
        ] {
            assert_eq!(ending[field], expected, "{field} {wire:?}");
        }
    }
}

#[tokio::test]
async fn the_simulations_failures_end_as_they_are_named() {
    let proxy = Proxy::start(&[]).await;
    for (model, outcome, status) in [
        ("sim-words=2-gap=0ms", "completed", 200),
        ("sim-fail=2-gap=0ms", "failed", 200),
        ("sim-status=503", "completed", 503),
    ] {
        let mut client = Client::send(&proxy, chat(model)).await;
        assert_eq!(client.status, status);
        if status == 200 {
            client.rest().await;
        }
        let ending = proxy.ending_of(&client.id).await;
        assert_eq!((&ending["outcome"], &ending["status"]), (&json!(outcome), &json!(status)));
    }
}

#[tokio::test]
async fn a_client_that_leaves_in_its_upload_is_disconnected_and_the_upstream_is_not_to_blame() {
    let upstream = Upstream::start([Play::new().stall()]).await;
    let proxy = Proxy::before(upstream.addr(), &[]).await;
    let mut client = H1::connect(proxy.addr).await.unwrap();
    client.send(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\nabc").await.unwrap();
    client.close().await;
    let ending = proxy.ending().await;
    assert_eq!((&ending["outcome"], &ending["status"]), (&json!("disconnected"), &Value::Null));
}

#[tokio::test]
async fn a_body_that_can_not_be_read_is_the_clients_fault() {
    let upstream = Upstream::start([Play::new().stall()]).await;
    let proxy = Proxy::before(upstream.addr(), &[]).await;
    let mut client = H1::connect(proxy.addr).await.unwrap();
    let head = b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nZZ\r\n";
    client.send(head).await.unwrap();
    assert_eq!(client.read_head(LIMIT).await.unwrap().status(), Some(400));
    let ending = proxy.ending().await;
    assert_eq!((&ending["outcome"], &ending["status"]), (&json!("failed"), &json!(400)));
}
