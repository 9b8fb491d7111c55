//! A client in the middle of its upload when the answer has begun.

use std::time::Duration;

use serde_json::{Value, json};
use testkit::{H1, dechunk};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};

use crate::{
    client::says,
    common::{LIMIT, Proxy},
};

const BEGUN: &str = "data: 1\n\n";

/// A client that has the first event, and has sent three bytes of its request's body, which the upstream does not read.
async fn begun(upload: &str, options: &[&str]) -> (TcpStream, Proxy, H1) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = Proxy::before(listener.local_addr().unwrap(), options).await;
    let mut client = H1::connect(proxy.addr).await.unwrap();
    client.send(format!("POST / HTTP/1.1\r\nhost: x\r\n{upload}")).await.unwrap();
    let (mut upstream, _) = timeout(LIMIT, listener.accept()).await.unwrap().unwrap();
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked";
    let answer = format!("{head}\r\n\r\n{}", chunk(BEGUN));
    let mut request = Vec::new();
    while !request.windows(4).any(|bytes| bytes == b"\r\n\r\n") {
        assert_ne!(upstream.read_buf(&mut request).await.unwrap(), 0);
    }
    upstream.write_all(answer.as_bytes()).await.unwrap();
    client.read_head(LIMIT).await.unwrap();
    let begun = |bytes: &[u8]| dechunk(bytes).body == BEGUN.as_bytes();
    client.read_until(begun, LIMIT).await.unwrap();
    (upstream, proxy, client)
}

fn chunk(data: &str) -> String {
    format!("{:x}\r\n{data}\r\n", data.len())
}

/// Whether it leaves the upstream alone for so long that a failure would have come to it.
async fn let_alone(upstream: &mut TcpStream) {
    let mut upload = Vec::new();
    timeout(Duration::from_millis(100), upstream.read_to_end(&mut upload)).await.unwrap_err();
}

const UPLOADS: [&str; 2] =
    ["content-length: 1000\r\n\r\nabc", "transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n"];

#[tokio::test]
async fn who_leaves_has_disconnected_and_the_upstream_has_not_failed() {
    for upload in UPLOADS {
        for reset in [false, true] {
            let (mut upstream, proxy, client) = begun(upload, &[]).await;
            if reset {
                client.reset();
            } else {
                client.close().await;
            }
            let _ = timeout(LIMIT, upstream.read_to_end(&mut Vec::new())).await.unwrap();
            let ending = proxy.ending().await;
            let fields = [
                ("outcome", json!("disconnected")),
                ("reason", Value::Null),
                ("status", json!(200)),
                ("bytes", json!(BEGUN.len())),
                ("drained", Value::Null),
            ];
            says(&ending, fields);
            assert!(ending["elapsed_ms"].as_u64().unwrap() < 2000, "{upload} {reset} {ending}");
        }
    }
}

#[tokio::test]
async fn what_was_left_in_the_upload_is_read_to_its_end() {
    for upload in UPLOADS {
        for reset in [false, true] {
            let rest = "data: 2\n\ndata: [DONE]\n\n";
            let (mut upstream, proxy, client) = begun(upload, &["--drain=1m"]).await;
            if reset {
                client.reset();
            } else {
                client.close().await;
            }
            proxy.stream(|stream| stream["draining"] == true).await;
            let_alone(&mut upstream).await;
            upstream.write_all(format!("{}0\r\n\r\n", chunk(rest)).as_bytes()).await.unwrap();
            let fields = [
                ("outcome", json!("disconnected")),
                ("drained", json!({"bytes": rest.len(), "end": "completed"})),
            ];
            says(&proxy.ending().await, fields);
        }
    }
}

#[tokio::test]
async fn an_upload_that_can_not_be_read_does_not_end_the_answer() {
    let (mut upstream, proxy, mut client) = begun(UPLOADS[1], &[]).await;
    client.send("no chunk\r\n").await.unwrap();
    let_alone(&mut upstream).await;
    upstream.write_all(format!("{}0\r\n\r\n", chunk("data: 2\n\n")).as_bytes()).await.unwrap();
    let end = client.read_to_end(LIMIT).await;
    let body = dechunk(&end.bytes);
    assert!(body.complete, "{end:?}");
    assert_eq!(body.body, b"data: 1\n\ndata: 2\n\n");
    says(&proxy.ending().await, [("outcome", json!("completed")), ("reason", Value::Null)]);
}
