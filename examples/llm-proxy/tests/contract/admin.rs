//! The admin listener: live streams, and the token.

use std::{collections::BTreeSet, time::Duration};

use serde_json::{Value, json};
use testkit::{Gate, H1, Play, Upstream};
use tokio::time::sleep;

use crate::{
    client::{Client, WIRES, chat},
    common::{LIMIT, Proxy},
};

const FIELDS: [&str; 9] =
    ["age_ms", "bytes", "draining", "frames", "id", "idle_ms", "method", "path", "status"];

#[tokio::test]
async fn a_live_stream_is_seen_from_its_request_to_its_end() {
    let (head, more) = (Gate::new(), Gate::new());
    let play = Play::new().wait(&head).head_sse().chunk("data: 1\n\ndata").wait(&more);
    let upstream = Upstream::start([play.chunk(": 2\n\n").last_chunk()]).await;
    let proxy = Proxy::before(upstream.addr(), &[]).await;
    assert_eq!(proxy.see("/streams").await, json!([]));

    let mut client = H1::connect(proxy.addr).await.unwrap();
    client.send("PUT /a%20b?key=secret HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let waiting = proxy.stream(|_| true).await;
    let keys: BTreeSet<&str> = waiting.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(keys, FIELDS.into());
    for (field, expected) in [
        ("method", json!("PUT")),
        ("path", json!("/a%20b")),
        ("status", Value::Null),
        ("bytes", json!(0)),
        ("frames", json!(0)),
        ("draining", json!(false)),
    ] {
        assert_eq!(waiting[field], expected, "{field}");
    }

    head.open();
    let known = client.read_head(LIMIT).await.unwrap();
    assert_eq!(known.header("x-exchange-id"), waiting["id"].as_str());
    let live = proxy.stream(|stream| stream["frames"] == 1).await;
    assert_eq!((&live["status"], &live["bytes"]), (&json!(200), &json!(13)));

    sleep(Duration::from_millis(100)).await;
    let later = proxy.see("/streams").await[0].clone();
    let ms = |stream: &Value, field: &str| stream[field].as_u64().unwrap();
    assert!(ms(&later, "age_ms") >= ms(&live, "age_ms") + 100, "{later}");
    assert!(ms(&later, "idle_ms") >= 100 && ms(&later, "idle_ms") <= ms(&later, "age_ms"));
    assert_eq!((&later["frames"], &later["id"]), (&json!(1), &waiting["id"]));

    more.open();
    let ending = proxy.ending().await;
    assert_eq!((&ending["id"], &ending["bytes"]), (&waiting["id"], &json!(18)));
    assert_eq!(proxy.see("/streams").await, json!([]));
}

#[tokio::test]
async fn every_client_of_either_protocol_is_listed() {
    let upstream = Upstream::start([Play::new().head_sse().chunk("data: 1\n\n").stall()]).await;
    let proxy = Proxy::before(upstream.addr(), &[]).await;
    let mut clients = Vec::new();
    for (n, wire) in WIRES.into_iter().cycle().take(4).enumerate() {
        clients.push(Client::get(wire, &proxy, &format!("/{n}")).await);
    }
    let streams = proxy.see("/streams").await;
    let listed: BTreeSet<(&str, &str)> = streams
        .as_array()
        .unwrap()
        .iter()
        .map(|stream| (stream["path"].as_str().unwrap(), stream["id"].as_str().unwrap()))
        .collect();
    let paths = ["/0", "/1", "/2", "/3"];
    let expected = paths.into_iter().zip(clients.iter().map(|client| &*client.id)).collect();
    assert_eq!(listed, expected);
}

#[tokio::test]
async fn with_a_token_nothing_is_told_and_nobody_aborted_without_it() {
    let proxy = Proxy::start(&["--admin-token=s3cret"]).await;
    let mut client = Client::send(&proxy, chat("sim-stall=1")).await;
    let stream = format!("/streams/{}", client.id);
    for (method, target) in [
        ("GET", "/streams"),
        ("GET", "/endings"),
        ("DELETE", "/streams"),
        ("DELETE", &*stream),
        ("GET", "/"),
    ] {
        for headers in [
            "",
            "authorization: Bearer wrong!\r\n",
            "authorization: Bearer s3cret2\r\n",
            "authorization: s3cret\r\n",
        ] {
            let (_, status, answer) = proxy.ask_admin(method, target, headers).await;
            assert_eq!(status, 401, "{method} {target} {headers}");
            assert_eq!(answer["type"], "error");
        }
    }
    let token = "authorization: Bearer s3cret\r\n";
    let (_, status, streams) = proxy.ask_admin("GET", "/streams", token).await;
    assert_eq!((status, &streams[0]["id"]), (200, &json!(client.id)));
    let (_, status, answer) = proxy.ask_admin("DELETE", &stream, token).await;
    assert_eq!((status, answer), (200, json!({"result": "aborted"})));
    assert!(client.rest().await.0.contains("event: error\n"));
}
