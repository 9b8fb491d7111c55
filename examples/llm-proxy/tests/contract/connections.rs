//! How long a connection is kept that has nothing to do, on both sides.

use std::time::Duration;

use testkit::{H1, H2, H2Next, How, Play, Reason, Upstream};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::{Instant, sleep, timeout},
};

use crate::{
    client::{Client, End, WIRES, Wire},
    common::{LIMIT, Proxy},
};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

async fn answering() -> Upstream {
    Upstream::start([Play::new().send(OK)]).await
}

/// Asks over a connection, and reads the answer.
async fn ask(client: &mut H1) {
    client.get("/").await.unwrap();
    client.read_until(|bytes| bytes.ends_with(b"\r\n\r\nok"), LIMIT).await.unwrap();
    client.take();
}

#[tokio::test]
async fn an_idle_h1_connection_is_closed() {
    let upstream = answering().await;
    let proxy = Proxy::before(upstream.addr(), &["--connection-idle=500ms"]).await;
    let mut client = H1::connect(proxy.addr).await.unwrap();
    for _ in 0..2 {
        ask(&mut client).await;
        sleep(Duration::from_millis(100)).await;
    }
    let idle = Instant::now();
    let end = client.read_to_end(LIMIT).await;
    assert_eq!((end.bytes, end.how), (Vec::new(), How::Fin));
    assert!(idle.elapsed() >= Duration::from_millis(300), "{:?}", idle.elapsed());
}

#[tokio::test]
async fn an_h2_connection_without_streams_is_closed() {
    let upstream = answering().await;
    let proxy = Proxy::before(upstream.addr(), &["--connection-idle=500ms"]).await;
    for asks in [true, false] {
        let mut client = H2::connect(proxy.addr).await.unwrap();
        if asks {
            let (_, mut body) = client.request("GET", "/", &[]).await.unwrap();
            assert_eq!(body.rest(LIMIT).await, (b"ok".to_vec(), H2Next::End));
        }
        sleep(Duration::from_millis(2000)).await;
        let gone = client.request("GET", "/", &[]).await.unwrap_err();
        assert!(matches!(gone, H2Next::Gone(_)), "{gone:?}");
    }
    proxy.ending().await;
}

#[tokio::test]
async fn a_live_stream_is_not_idle() {
    for wire in WIRES {
        let play = Play::new().head_sse().chunk("data: 1\n\n");
        let play = play.sleep(Duration::from_millis(1500)).chunk("data: [DONE]\n\n").last_chunk();
        let upstream = Upstream::start([play]).await;
        let proxy = Proxy::before(upstream.addr(), &["--connection-idle=300ms"]).await;
        let mut client = Client::get(wire, &proxy, "/").await;
        let whole = "data: 1\n\ndata: [DONE]\n\n".to_owned();
        assert_eq!(client.rest().await, (whole, End::Clean), "{wire:?}");
    }
}

#[tokio::test]
async fn a_request_that_waits_for_its_head_is_not_idle() {
    for wire in WIRES {
        let play = Play::new().sleep(Duration::from_millis(1500)).head_sse().last_chunk();
        let upstream = Upstream::start([play]).await;
        let proxy = Proxy::before(upstream.addr(), &["--connection-idle=300ms"]).await;
        assert_eq!(Client::get(wire, &proxy, "/").await.status, 200);
    }
}

#[tokio::test]
async fn off_keeps_idle_connections() {
    let upstream = answering().await;
    let proxy = Proxy::before(upstream.addr(), &["--connection-idle=off"]).await;
    let mut h1 = H1::connect(proxy.addr).await.unwrap();
    let mut h2 = H2::connect(proxy.addr).await.unwrap();
    for pause in [1000, 0] {
        ask(&mut h1).await;
        assert_eq!(h2.request("GET", "/", &[]).await.unwrap().0.status, 200);
        sleep(Duration::from_millis(pause)).await;
    }
}

/// Answers the next request on a connection of the proxy's.
async fn serve_one(connection: &mut TcpStream) {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        let read = timeout(LIMIT, connection.read_buf(&mut request)).await.unwrap().unwrap();
        assert_ne!(read, 0, "the proxy has closed it");
    }
    connection.write_all(OK.as_bytes()).await.unwrap();
}

/// A proxy that has a connection to its upstream, which is idle.
async fn pooled(option: &str) -> (Proxy, TcpListener, TcpStream, H1) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = Proxy::before(listener.local_addr().unwrap(), &[option]).await;
    let mut client = H1::connect(proxy.addr).await.unwrap();
    let upstream = async {
        let mut connection = timeout(LIMIT, listener.accept()).await.unwrap().unwrap().0;
        serve_one(&mut connection).await;
        connection
    };
    let (connection, ()) = tokio::join!(upstream, ask(&mut client));
    (proxy, listener, connection, client)
}

#[tokio::test]
async fn a_connection_to_the_upstream_that_was_idle_for_too_long_is_closed_and_not_used_again() {
    let (_proxy, listener, mut first, mut client) = pooled("--upstream-idle=500ms").await;
    let idle = Instant::now();
    assert_eq!(timeout(LIMIT, first.read_buf(&mut Vec::new())).await.unwrap().unwrap(), 0);
    assert!(idle.elapsed() >= Duration::from_millis(450), "{:?}", idle.elapsed());
    let upstream = async {
        let mut second = timeout(LIMIT, listener.accept()).await.unwrap().unwrap().0;
        serve_one(&mut second).await;
    };
    tokio::join!(upstream, ask(&mut client));
}

#[tokio::test]
async fn within_its_time_and_with_off_a_connection_to_the_upstream_is_used_again() {
    for (option, pause) in [("--upstream-idle=off", 2000), ("--upstream-idle=60s", 200)] {
        let (_proxy, _listener, mut connection, mut client) = pooled(option).await;
        sleep(Duration::from_millis(pause)).await;
        tokio::join!(serve_one(&mut connection), ask(&mut client));
    }
}

#[tokio::test]
async fn a_connection_that_the_upstream_closed_while_it_was_idle_is_replaced_for_a_post_too() {
    let (_proxy, listener, first, mut client) = pooled("--upstream-idle=60s").await;
    drop(first);
    sleep(Duration::from_millis(200)).await;
    let upstream = async {
        let mut second = timeout(LIMIT, listener.accept()).await.unwrap().unwrap().0;
        serve_one(&mut second).await;
    };
    let asking = async {
        client.send("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        client.read_until(|bytes| bytes.ends_with(b"\r\n\r\nok"), LIMIT).await.unwrap();
    };
    tokio::join!(upstream, asking);
}

#[tokio::test]
async fn a_request_without_a_body_says_so_where_one_is_usual() {
    for (method, length) in [
        ("POST", Some("0")),
        ("PUT", Some("0")),
        ("PATCH", Some("0")),
        ("GET", None),
        ("DELETE", None),
        ("OPTIONS", None),
    ] {
        for wire in WIRES {
            let upstream = answering().await;
            let proxy = Proxy::before(upstream.addr(), &[]).await;
            match wire {
                Wire::H1 => {
                    let mut client = H1::connect(proxy.addr).await.unwrap();
                    let request = format!("{method} / HTTP/1.1\r\nhost: x\r\n\r\n");
                    client.send(request).await.unwrap();
                    client.read_head(LIMIT).await.unwrap();
                }
                Wire::H2 => {
                    let mut client = H2::connect(proxy.addr).await.unwrap();
                    client.request(method, "/", &[]).await.unwrap();
                }
            }
            let head = upstream.request(0, LIMIT).await;
            assert_eq!(head.header("content-length"), length, "{method} {wire:?}");
            assert_eq!(head.header("transfer-encoding"), None, "{method} {wire:?}");
        }
    }
}

/// Issue 10 D7: 300 silent connections to the admin listener took all descriptors.
#[tokio::test]
async fn silent_connections_to_the_admin_listener_take_neither_it_nor_the_proxy_down() {
    let upstream = answering().await;
    let to = format!("--upstream=http://{}", upstream.addr());
    let proxy = Proxy::with_descriptors(256, &[&to]).await;
    let mut scraper = H1::connect(proxy.admin).await.unwrap();
    let scrape = "GET /streams HTTP/1.1\r\nhost: localhost\r\n\r\n";
    scraper.send(scrape).await.unwrap();
    scraper.read_until(|bytes| bytes.ends_with(b"[]"), LIMIT).await.unwrap();
    let mut silent = Vec::new();
    for n in 0..300 {
        let mut client = TcpStream::connect(proxy.admin).await.unwrap();
        let _ = client.write_all(&b"GET /streams"[..n % 4]).await;
        silent.push(client);
    }
    for _ in 0..5 {
        assert_eq!(proxy.see("/streams").await, serde_json::json!([]));
        let mut client = H1::connect(proxy.addr).await.unwrap();
        ask(&mut client).await;
    }
    // One that has asked for something is the last to go.
    scraper.take();
    scraper.send(scrape).await.unwrap();
    scraper.read_until(|bytes| bytes.ends_with(b"[]"), LIMIT).await.unwrap();
    let open = std::fs::read_dir(format!("/proc/{}/fd", proxy.child.id().unwrap())).unwrap();
    assert!(open.count() < 128);
}

/// Issue 10 D9: one connection made 25,200 of them to the upstream in ten seconds.
#[tokio::test]
async fn an_h2_client_that_resets_again_and_again_is_told_to_go() {
    let upstream = Upstream::start([Play::new().head_sse().chunk("data: 1\n\n").stall()]).await;
    let proxy = Proxy::before(upstream.addr(), &[]).await;
    let mut client = H2::connect(proxy.addr).await.unwrap();
    let (_, mut kept) = client.request("GET", "/", &[]).await.unwrap();
    assert!(matches!(kept.next(LIMIT).await, H2Next::Data(_)));
    let mut resets = 0;
    let gone = loop {
        match client.request("GET", "/", &[]).await {
            Ok((_, body)) => body.reset(Reason::CANCEL),
            Err(gone) => break gone,
        }
        resets += 1;
        assert!(resets < 1000, "nothing stops it");
    };
    assert!(resets >= 200, "{resets}");
    assert!(matches!(gone, H2Next::Gone(_)), "{gone:?}");
    // What is under way is not cut for it.
    assert_eq!(proxy.stream(|stream| stream["bytes"] == 9).await["draining"], false);
    drop(kept);
}

#[tokio::test]
async fn an_h2_client_may_say_only_behind_the_head_that_there_is_no_body() {
    for (method, length) in [("POST", Some("0")), ("GET", None)] {
        let upstream = answering().await;
        let proxy = Proxy::before(upstream.addr(), &[]).await;
        let mut client = H2::connect(proxy.addr).await.unwrap();
        let mut call = client.upload(method, "/", &[]).await.unwrap();
        call.send("", true).unwrap();
        assert_eq!(call.head(LIMIT).await.unwrap().0.status, 200);
        let head = upstream.request(0, LIMIT).await;
        assert_eq!(head.header("content-length"), length, "{method}");
        assert_eq!(head.header("transfer-encoding"), None, "{method}");
    }
    // One that takes its time is not waited for.
    let upstream = answering().await;
    let proxy = Proxy::before(upstream.addr(), &[]).await;
    let mut client = H2::connect(proxy.addr).await.unwrap();
    let mut call = client.upload("POST", "/", &[]).await.unwrap();
    sleep(Duration::from_millis(500)).await;
    call.send("late", true).unwrap();
    assert_eq!(call.head(LIMIT).await.unwrap().0.status, 200);
    let head = upstream.request(0, LIMIT).await;
    assert_eq!(head.header("transfer-encoding"), Some("chunked"));
}
