//! `Expect: 100-continue`: when a client is asked for the body that it holds back.

use std::time::Duration;

use serde_json::json;
use testkit::{H1, H2, H2Next, H2Play, H2Upstream, How};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::{Instant, sleep_until, timeout},
};

use crate::{
    client::{WIRES, Wire, says},
    common::{LIMIT, Proxy},
};

const HEAD: &str =
    "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 8\r\nexpect: 100-continue\r\n\r\n";
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
const REFUSAL: &[u8] = b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 2\r\n\r\nno";
/// Shorter than the time after which the client is asked in any case.
const MOMENT: Duration = Duration::from_millis(300);

async fn read_until(upstream: &mut TcpStream, end: &str) -> String {
    let mut read = Vec::new();
    while !read.ends_with(end.as_bytes()) {
        let more = timeout(LIMIT, upstream.read_buf(&mut read)).await.unwrap().unwrap();
        assert_ne!(more, 0, "it is closed: {}", String::from_utf8_lossy(&read));
    }
    String::from_utf8(read).unwrap()
}

/// An upstream of HTTP/1 that has the head of a request.
async fn asked(listener: &TcpListener) -> TcpStream {
    let mut upstream = timeout(LIMIT, listener.accept()).await.unwrap().unwrap().0;
    let head = read_until(&mut upstream, "\r\n\r\n").await;
    assert!(head.contains("\r\nexpect: 100-continue\r\n"), "{head}");
    upstream
}

async fn start() -> (TcpListener, Proxy) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = Proxy::before(listener.local_addr().unwrap(), &[]).await;
    (listener, proxy)
}

#[tokio::test]
async fn an_answer_that_needs_no_body_comes_before_the_client_is_asked_for_it() {
    let (listener, proxy) = start().await;
    let mut client = H1::connect(proxy.addr).await.unwrap();
    client.send(HEAD).await.unwrap();
    let mut upstream = asked(&listener).await;
    upstream.write_all(REFUSAL).await.unwrap();
    let head = client.read_head(LIMIT).await.unwrap();
    assert_eq!((head.status(), head.header("connection")), (Some(401), Some("close")));
    let end = client.read_to_end(LIMIT).await;
    assert_eq!((end.bytes, end.how), (b"no".to_vec(), How::Fin));
    // Nothing hangs on the other side either.
    let read = timeout(LIMIT, upstream.read_to_end(&mut Vec::new())).await.unwrap();
    assert!(read.is_ok_and(|read| read == 0));
    says(&proxy.ending().await, [("outcome", json!("completed")), ("status", json!(401))]);
}

#[tokio::test]
async fn a_client_is_asked_when_the_upstream_asks() {
    let (listener, proxy) = start().await;
    let mut client = H1::connect(proxy.addr).await.unwrap();
    let sent = Instant::now();
    client.send(HEAD).await.unwrap();
    let mut upstream = asked(&listener).await;
    let early = client.read_until(|bytes| !bytes.is_empty(), MOMENT).await.unwrap_err();
    assert_eq!(early.how, How::TimedOut);
    upstream.write_all(b"HTTP/1.1 103 Early Hints\r\n\r\n").await.unwrap();
    upstream.write_all(CONTINUE).await.unwrap();
    client.read_until(|bytes| bytes == CONTINUE, LIMIT).await.unwrap();
    assert!(
        sent.elapsed() < Duration::from_secs(1),
        "it is asked in any case: {:?}",
        sent.elapsed()
    );
    client.take();
    client.send("question").await.unwrap();
    read_until(&mut upstream, "question").await;
    upstream.write_all(OK).await.unwrap();
    assert_eq!(client.read_head(LIMIT).await.unwrap().status(), Some(200));
    client.read_until(|bytes| bytes == b"ok", LIMIT).await.unwrap();
    says(&proxy.ending().await, [("outcome", json!("completed")), ("status", json!(200))]);
}

#[tokio::test]
async fn a_client_is_asked_after_a_second_in_any_case() {
    let (listener, proxy) = start().await;
    let h2 = H2Upstream::start([[H2Play::answer("ok")]]).await;
    let proxy_h2 = Proxy::start(&[&format!("--upstream=h2c://{}", h2.addr())]).await;
    for proxy in [&proxy, &proxy_h2] {
        let mut client = H1::connect(proxy.addr).await.unwrap();
        let sent = Instant::now();
        client.send(HEAD).await.unwrap();
        client.read_until(|bytes| bytes == CONTINUE, LIMIT).await.unwrap();
        assert!(sent.elapsed() >= Duration::from_secs(1), "{:?}", sent.elapsed());
        client.take();
        client.send("question").await.unwrap();
        if proxy.addr == proxy_h2.addr {
            let head = client.read_head(LIMIT).await.unwrap();
            assert_eq!(head.status(), Some(200));
            assert_eq!(h2.conns()[0].requests, [b"question"]);
        } else {
            let mut upstream = timeout(LIMIT, listener.accept()).await.unwrap().unwrap().0;
            let request = read_until(&mut upstream, "question").await;
            assert!(request.contains("\r\nexpect: 100-continue\r\n"), "{request}");
        }
    }
}

#[tokio::test]
async fn an_answer_of_an_h2_upstream_comes_before_the_client_is_asked_too() {
    let upstream = H2Upstream::start([[H2Play::answer("no").after(0)]]).await;
    let proxy = Proxy::start(&[&format!("--upstream=h2c://{}", upstream.addr())]).await;
    let mut client = H1::connect(proxy.addr).await.unwrap();
    client.send(HEAD).await.unwrap();
    let head = client.read_head(LIMIT).await.unwrap();
    assert_eq!((head.status(), head.header("connection")), (Some(200), Some("close")));
    assert_eq!(client.read_to_end(LIMIT).await.how, How::Fin);
    assert_eq!(upstream.conns()[0].requests, [b""]);
    says(&proxy.ending().await, [("outcome", json!("completed")), ("status", json!(200))]);
}

#[tokio::test]
async fn the_body_of_an_h2_client_is_held_back_too() {
    let (listener, proxy) = start().await;
    let mut client = H2::connect(proxy.addr).await.unwrap();
    let expects = [("expect", "100-continue"), ("content-length", "8")];
    let call = client.upload("POST", "/", &expects).await.unwrap();
    let mut upstream = asked(&listener).await;
    upstream.write_all(REFUSAL).await.unwrap();
    let (head, mut body) = call.head(LIMIT).await.unwrap();
    assert_eq!(head.status, 401);
    assert_eq!(body.rest(LIMIT).await, (b"no".to_vec(), H2Next::End));

    let mut call = client.upload("POST", "/", &expects).await.unwrap();
    call.send("question", true).unwrap();
    let mut upstream = asked(&listener).await;
    timeout(MOMENT, upstream.read_u8()).await.unwrap_err();
    upstream.write_all(CONTINUE).await.unwrap();
    read_until(&mut upstream, "question").await;
    upstream.write_all(OK).await.unwrap();
    assert_eq!(call.head(LIMIT).await.unwrap().0.status, 200);
    proxy.endings(2).await;
}

#[tokio::test]
async fn a_client_that_leaves_before_it_was_asked_is_noticed_and_ends_once() {
    let (listener, proxy) = start().await;
    let mut client = H1::connect(proxy.addr).await.unwrap();
    client.send(HEAD).await.unwrap();
    let mut upstream = asked(&listener).await;
    client.close().await;
    let _ = timeout(LIMIT, upstream.read_to_end(&mut Vec::new())).await.unwrap();
    says(&proxy.ending().await, [("outcome", json!("disconnected"))]);
}

#[tokio::test]
async fn before_a_client_is_asked_no_limit_counts_and_then_the_one_on_its_upload_does() {
    let (ask, limit) = (Duration::from_secs(1), Duration::from_millis(800));
    for sends in [true, false] {
        for wire in WIRES {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let options = ["--upload-timeout=800ms", "--head-timeout=300ms"];
            let proxy = Proxy::before(listener.local_addr().unwrap(), &options).await;
            let started = Instant::now();
            let upstream = async {
                let mut upstream = asked(&listener).await;
                if sends {
                    read_until(&mut upstream, "question").await;
                    upstream.write_all(OK).await.unwrap();
                }
                upstream
            };
            // Half of the limit behind the moment when it is asked, which one of HTTP/2 can not be told.
            let late = started + ask + limit / 2;
            let client = async {
                match wire {
                    Wire::H1 => {
                        let mut client = H1::connect(proxy.addr).await.unwrap();
                        client.send(HEAD).await.unwrap();
                        client.read_until(|bytes| bytes == CONTINUE, LIMIT).await.unwrap();
                        client.take();
                        if sends {
                            sleep_until(late).await;
                            client.send("question").await.unwrap();
                        }
                        client.read_head(LIMIT).await.unwrap().status().unwrap()
                    }
                    Wire::H2 => {
                        let mut client = H2::connect(proxy.addr).await.unwrap();
                        let expects = [("expect", "100-continue"), ("content-length", "8")];
                        let mut call = client.upload("POST", "/", &expects).await.unwrap();
                        if sends {
                            sleep_until(late).await;
                            call.send("question", true).unwrap();
                        }
                        call.head(LIMIT).await.unwrap().0.status.as_u16()
                    }
                }
            };
            let (_upstream, status) = tokio::join!(upstream, client);
            assert_eq!(status, if sends { 200 } else { 408 }, "{wire:?}");
            if !sends {
                assert!(started.elapsed() >= ask + limit, "{wire:?} {:?}", started.elapsed());
                let ending = proxy.ending().await;
                says(&ending, [("outcome", json!("timed_out")), ("reason", json!("upload"))]);
            }
        }
    }
}
