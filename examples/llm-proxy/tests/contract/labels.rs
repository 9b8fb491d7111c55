//! The headers that every response carries.

use std::collections::HashSet;

use serde_json::json;
use testkit::{H1, H2, Head, Play, Upstream};
use tokio::net::TcpListener;

use crate::{
    client::{ask, chat, post},
    common::{LIMIT, Proxy},
};

/// The head of the answer to a request.
async fn head(proxy: &Proxy, request: &str) -> Head {
    let mut client = H1::connect(proxy.addr).await.unwrap();
    client.send(request).await.unwrap();
    client.read_head(LIMIT).await.unwrap()
}

#[tokio::test]
async fn every_response_names_its_exchange_and_no_two_alike() {
    let proxy = Proxy::start(&[]).await;
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nhost: test\r\n\r\n");
    let whole = json!({"model": "sim-words=1", "messages": []});
    let mut ids = HashSet::new();
    for (request, status) in [
        (chat("sim-words=1"), 200),
        (post("/v1/chat/completions", &whole), 200),
        (get("/v1/models"), 200),
        (get("/nowhere"), 404),
        (get("/v1/messages"), 405),
        (post("/api/chat", &json!({})), 400),
        (chat("sim-status=429"), 429),
        (ask("/v1/messages", "sim-status=529"), 529),
        ("HEAD /v1/models HTTP/1.1\r\nhost: test\r\n\r\n".to_owned(), 200),
        ("CONNECT internal:22 HTTP/1.1\r\nhost: internal:22\r\n\r\n".to_owned(), 501),
    ] {
        let head = head(&proxy, &request).await;
        assert_eq!(head.status(), Some(status), "{request}");
        let id = head.header("x-exchange-id").unwrap_or_else(|| panic!("{request}"));
        assert!(ids.insert(id.to_owned()), "{id} twice");
    }
    let mut client = H2::connect(proxy.addr).await.unwrap();
    let (head, _) = client.request("GET", "/v1/models", &[]).await.unwrap();
    ids.insert(head.headers["x-exchange-id"].to_str().unwrap().to_owned());
    let endings = proxy.endings(11).await;
    let ended: HashSet<_> =
        endings.iter().map(|ending| ending["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(ended, ids);
}

#[tokio::test]
async fn an_answer_of_ours_names_its_exchange_too() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let refusing = listener.local_addr().unwrap();
    drop(listener);
    let proxy = Proxy::before(refusing, &[]).await;
    let head = head(&proxy, "GET / HTTP/1.1\r\nhost: test\r\n\r\n").await;
    assert_eq!(head.status(), Some(502));
    assert_eq!(proxy.ending().await["id"], head.header("x-exchange-id").unwrap());
}

#[tokio::test]
async fn the_simulations_streams_are_not_to_be_buffered_or_cached() {
    let proxy = Proxy::start(&[]).await;
    for path in ["/v1/chat/completions", "/v1/messages"] {
        let head = head(&proxy, &ask(path, "sim-words=1")).await;
        assert_eq!(head.header("x-accel-buffering"), Some("no"), "{path}");
        assert_eq!(head.header("cache-control"), Some("no-cache"), "{path}");
    }
    for request in [ask("/api/chat", "sim-words=1"), post("/v1/chat/completions", &json!({}))] {
        let head = head(&proxy, &request).await;
        assert_eq!(head.header("x-accel-buffering"), None);
        assert_eq!(head.header("cache-control"), None);
    }
}

#[tokio::test]
async fn what_an_upstream_says_of_its_stream_is_passed_on_but_for_an_exchange_of_its_own() {
    let play = Play::new().send(
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-store\r\n\
         x-accel-buffering: yes\r\nx-exchange-id: theirs\r\nset-cookie: a=1\r\nset-cookie: b=2\r\n\
         x-request-id: 7\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    );
    let upstream = Upstream::start([play]).await;
    let proxy = Proxy::before(upstream.addr(), &[]).await;
    let head = head(&proxy, "GET / HTTP/1.1\r\nhost: test\r\n\r\n").await;
    let mut lines: Vec<&str> = head.as_str().trim_end().split("\r\n").collect();
    lines.retain(|line| !line.starts_with("date: "));
    lines.sort_unstable();
    let id = format!("x-exchange-id: {}", proxy.ending().await["id"].as_str().unwrap());
    let expected = [
        "HTTP/1.1 200 OK",
        "cache-control: no-store",
        "content-type: text/event-stream",
        "set-cookie: a=1",
        "set-cookie: b=2",
        "transfer-encoding: chunked",
        "x-accel-buffering: yes",
        &id,
        "x-request-id: 7",
    ];
    assert_eq!(lines, expected);
}
