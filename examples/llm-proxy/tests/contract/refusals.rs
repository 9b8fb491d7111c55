//! Answers of our own, byte for byte, and what HEAD gets of them.

use std::net::SocketAddr;

use serde_json::{Value, json};
use testkit::{H1, H2, H2Next, How, Play, Upstream};
use tokio::net::TcpListener;

use crate::{
    client::{says, whole},
    common::{LIMIT, Proxy},
};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok";

/// Where nobody listens.
async fn refusing() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap()
}

/// Asks with HEAD over both protocols, with GET for comparison.
async fn head_is_get_without_a_body(proxy: &Proxy, status: u16) {
    let mut client = H1::connect(proxy.addr).await.unwrap();
    client.get_with("/", &[("connection", "close")]).await.unwrap();
    let head = client.read_head(LIMIT).await.unwrap();
    let length = head.header("content-length").unwrap().to_owned();
    assert_eq!(client.read_to_end(LIMIT).await.bytes.len().to_string(), length);

    let mut client = H1::connect(proxy.addr).await.unwrap();
    client.send("HEAD / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    let head = client.read_head(LIMIT).await.unwrap();
    assert_eq!((head.status(), head.header("content-length")), (Some(status), Some(&*length)));
    let end = client.read_to_end(LIMIT).await;
    assert_eq!((end.bytes, end.how), (Vec::new(), How::Fin));

    let mut client = H2::connect(proxy.addr).await.unwrap();
    let (head, mut body) = client.request("HEAD", "/", &[]).await.unwrap();
    assert_eq!(head.status.as_u16(), status);
    assert_eq!(head.headers["content-length"], *length);
    assert_eq!(head.headers["content-type"], "application/json");
    assert_eq!(body.rest(LIMIT).await, (Vec::new(), H2Next::End));
}

#[tokio::test]
async fn head_of_an_upstream_that_gives_no_answer_has_no_body() {
    let proxy = Proxy::before(refusing().await, &[]).await;
    head_is_get_without_a_body(&proxy, 502).await;
    for ending in proxy.endings(3).await {
        says(&ending, [("outcome", json!("failed")), ("status", json!(502)), ("bytes", json!(0))]);
    }
}

#[tokio::test]
async fn head_that_hits_a_limit_has_no_body() {
    let upstream = Upstream::start([(); 3].map(|()| Play::new().stall())).await;
    let proxy = Proxy::before(upstream.addr(), &["--head-timeout=300ms"]).await;
    head_is_get_without_a_body(&proxy, 504).await;
    for ending in proxy.endings(3).await {
        says(&ending, [("outcome", json!("timed_out")), ("status", json!(504))]);
    }
}

#[tokio::test]
async fn head_that_is_aborted_has_no_body() {
    let upstream = Upstream::start([(); 3].map(|()| Play::new().stall())).await;
    let proxy = Proxy::before(upstream.addr(), &[]).await;
    let aborting = async {
        let mut aborted = Vec::new();
        for _ in 0..3 {
            let other = |stream: &Value| !aborted.contains(&stream["id"]);
            let id = proxy.stream(other).await["id"].clone();
            assert_eq!(proxy.abort(id.as_str().unwrap(), "?reason=stop").await.0, 200);
            aborted.push(id);
        }
        // The assertions of the other side end the test.
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = head_is_get_without_a_body(&proxy, 503) => {}
        () = aborting => {}
    }
    for ending in proxy.endings(3).await {
        says(&ending, [("outcome", json!("aborted")), ("status", json!(503))]);
    }
}

#[tokio::test]
async fn the_members_of_an_error_come_in_the_order_of_the_event_in_a_stream() {
    let proxy = Proxy::before(refusing().await, &[]).await;
    let mut client = H1::connect(proxy.addr).await.unwrap();
    client.get_with("/", &[("connection", "close")]).await.unwrap();
    client.read_head(LIMIT).await.unwrap();
    let body = String::from_utf8(client.read_to_end(LIMIT).await.bytes).unwrap();
    let begin = r#"{"type":"error","error":{"type":"upstream","message":"the upstream "#;
    assert!(body.starts_with(begin), "{body}");
    assert!(body.ends_with(r#"","code":"failed"}}"#), "{body}");
}

#[tokio::test]
async fn a_request_that_others_may_read_otherwise_is_refused() {
    let upstream = Upstream::start([Play::new().send(OK)]).await;
    let proxy = Proxy::before(upstream.addr(), &[]).await;
    let post = "POST / HTTP/1.1\r\nhost: x\r\n";
    let cases = [
        ("GET / HTTP/1.1\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/1.1\r\nhost: x\r\nhost: x\r\n\r\n".to_owned(), 400),
        ("GET http://x/ HTTP/1.1\r\n\r\n".to_owned(), 400),
        (format!("{post}transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n"), 501),
        (
            format!("{post}transfer-encoding: gzip\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
            501,
        ),
    ];
    for (request, status) in &cases {
        let mut client = H1::connect(proxy.addr).await.unwrap();
        client.send(request).await.unwrap();
        let (head, body) = whole(&mut client).await;
        assert_eq!(head.status(), Some(*status), "{request}");
        assert_eq!(body["error"]["type"], "refused", "{request}");
    }
    for ending in proxy.endings(cases.len()).await {
        says(&ending, [("outcome", json!("completed")), ("bytes", json!(0))]);
    }
    assert!(upstream.conns().is_empty());
    for request in [
        "GET / HTTP/1.0\r\n\r\n".to_owned(),
        format!("{post}transfer-encoding: Chunked\r\n\r\n0\r\n\r\n"),
    ] {
        let mut client = H1::connect(proxy.addr).await.unwrap();
        client.send(&request).await.unwrap();
        assert_eq!(client.read_head(LIMIT).await.unwrap().status(), Some(200), "{request}");
    }
}

#[tokio::test]
async fn an_answer_that_others_may_read_otherwise_is_a_502() {
    for codings in [
        "transfer-encoding: gzip, chunked",
        "transfer-encoding: gzip\r\ntransfer-encoding: chunked",
    ] {
        let head = format!("HTTP/1.1 200 OK\r\n{codings}\r\n\r\n");
        let upstream = Upstream::start([Play::new().send(head).chunk("x").last_chunk()]).await;
        let proxy = Proxy::before(upstream.addr(), &[]).await;
        let mut client = H1::connect(proxy.addr).await.unwrap();
        client.get("/").await.unwrap();
        let (head, body) = whole(&mut client).await;
        assert_eq!((head.status(), &body["error"]["type"]), (Some(502), &json!("upstream")));
        says(&proxy.ending().await, [("outcome", json!("failed")), ("status", json!(502))]);
    }
}

/// Issue 10 D8: one request took all descriptors within a third of a second.
#[tokio::test]
async fn a_proxy_that_is_its_own_upstream_says_508_and_takes_no_more_than_a_few_connections() {
    for scheme in ["http", "h2c"] {
        let at = refusing().await;
        let options = [
            &*format!("--listen={at}"),
            "--admin=127.0.0.1:0",
            &format!("--upstream={scheme}://{at}"),
        ];
        let proxy = Proxy::start_with(&options).await;
        let mut client = H1::connect(proxy.addr).await.unwrap();
        client.get_with("/", &[("via", "1.1 lifeline-another, 2 b (c)")]).await.unwrap();
        let (head, body) = whole(&mut client).await;
        assert_eq!(head.status(), Some(508), "{scheme}");
        assert_eq!(body["error"]["type"], "refused");
        assert_eq!(proxy.endings(2).await.iter().filter(|it| it["status"] == 508).count(), 2);
    }
}

#[tokio::test]
async fn a_proxy_behind_a_proxy_is_no_loop_and_both_are_named() {
    let upstream = Upstream::start([Play::new().send(OK)]).await;
    let behind = Proxy::before(upstream.addr(), &[]).await;
    let front = Proxy::before(behind.addr, &[]).await;
    let mut client = H1::connect(front.addr).await.unwrap();
    client.get("/").await.unwrap();
    assert_eq!(client.read_head(LIMIT).await.unwrap().status(), Some(200));
    let request = upstream.request(0, LIMIT).await;
    let via = request.as_str().lines().filter_map(|line| line.strip_prefix("via: "));
    let names: Vec<_> = via.flat_map(|via| via.split(", ")).collect();
    let [one, other] = names[..] else { panic!("{names:?}") };
    assert!(
        one != other && names.iter().all(|name| name.starts_with("1.1 lifeline-")),
        "{names:?}"
    );
}
