//! What passes through: every byte, in both directions, as it comes.

use std::{convert::Infallible, net::SocketAddr};

use hyper::{Request, Response, body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use testkit::{H1, H2, How, Play, Upstream, dechunk};
use tokio::net::TcpListener;

use crate::{
    client::{Client, End, WIRES, Wire, chat, error_event},
    common::{LIMIT, Proxy},
};

#[tokio::test]
async fn method_path_and_query_reach_the_upstream_byte_for_byte() {
    for (method, target) in [
        ("GET", "/"),
        ("M-SEARCH", "/a%2Fb/../c//%20;x=1?q=%26&&r=a+b%00&%c3%A4"),
        ("DELETE", "/?"),
        ("patch", "//double/./slash?/v1/messages"),
        ("PURGE", "/streams/~user/$&'()*+,;=:@?a=b?c"),
    ] {
        for wire in WIRES {
            let upstream = Upstream::start([Play::new().head_sse().last_chunk()]).await;
            let proxy = Proxy::before(upstream.addr(), &[]).await;
            match wire {
                Wire::H1 => {
                    let mut client = H1::connect(proxy.addr).await.unwrap();
                    client
                        .send(format!("{method} {target} HTTP/1.1\r\nhost: x\r\n\r\n"))
                        .await
                        .unwrap();
                    assert_eq!(client.read_head(LIMIT).await.unwrap().status(), Some(200));
                }
                Wire::H2 => {
                    let mut client = H2::connect(proxy.addr).await.unwrap();
                    let (head, _) = client.request(method, target, &[]).await.unwrap();
                    assert_eq!(head.status, 200);
                }
            }
            let asked = upstream.request(0, LIMIT).await;
            assert_eq!(asked.start_line(), format!("{method} {target} HTTP/1.1"), "{wire:?}");
            assert_eq!(asked.header("host"), Some(&*upstream.addr().to_string()));
            let ending = proxy.ending().await;
            assert_eq!(ending["method"], method);
            assert_eq!(ending["path"], target.split('?').next().unwrap());
        }
    }
}

#[tokio::test]
async fn a_body_of_any_bytes_passes_unchanged_both_ways() {
    let all: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    let length = all.len();
    let head = format!("HTTP/1.1 203 Fine\r\ncontent-length: {length}\r\n\r\n");
    let play = Play::new().send([head.as_bytes(), &all].concat());
    let upstream = Upstream::start([play]).await;
    let proxy = Proxy::before(upstream.addr(), &[]).await;
    let mut client = H1::connect(proxy.addr).await.unwrap();
    client
        .send(format!("PUT / HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n"))
        .await
        .unwrap();
    client.send(&all).await.unwrap();
    assert_eq!(client.read_head(LIMIT).await.unwrap().status(), Some(203));
    let body = client.read_until(|bytes| bytes.len() >= length, LIMIT).await.unwrap();
    assert!(body == all, "the answer was changed");
    assert!(upstream.conns()[0].body == all, "the request was changed");
}

/// Answers with the version it was asked in and the request body as it comes.
async fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = service_fn(|request: Request<Incoming>| async {
                let version = format!("{:?}", request.version());
                let response = Response::builder().header("x-version", version);
                Ok::<_, Infallible>(response.body(request.into_body()).unwrap())
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
async fn a_request_body_streams_through_while_the_answer_does() {
    let upstream = echo().await;
    for (scheme, version) in [("http", "HTTP/1.1"), ("h2c", "HTTP/2.0")] {
        let proxy = Proxy::start(&[&format!("--upstream={scheme}://{upstream}")]).await;
        let mut client = H1::connect(proxy.addr).await.unwrap();
        client
            .send("POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n")
            .await
            .unwrap();
        let head = client.read_head(LIMIT).await.unwrap();
        assert_eq!(head.header("x-version"), Some(version));
        for piece in ["first", "then"] {
            client.send(format!("{:x}\r\n{piece}\r\n", piece.len())).await.unwrap();
            let echoed = |bytes: &[u8]| dechunk(bytes).chunks.concat() == piece.as_bytes();
            client.read_until(echoed, LIMIT).await.unwrap();
            client.take();
        }
        client.send("0\r\n\r\n").await.unwrap();
        client.read_until(|bytes| dechunk(bytes).complete, LIMIT).await.unwrap();
        let ending = proxy.ending().await;
        assert_eq!((&ending["outcome"], &ending["bytes"]), (&"completed".into(), &9.into()));
    }
}

#[tokio::test]
async fn a_connection_serves_one_request_after_the_other() {
    let proxy = Proxy::start(&[]).await;
    let mut client = H1::connect(proxy.addr).await.unwrap();
    for n in 1..=3 {
        client.send(chat("sim-words=2-gap=0ms")).await.unwrap();
        let head = client.read_head(LIMIT).await.unwrap();
        assert_eq!(head.status(), Some(200));
        client.read_until(|bytes| dechunk(bytes).complete, LIMIT).await.unwrap();
        client.take();
        proxy.endings(n).await;
    }
}

#[tokio::test]
async fn a_proxy_before_a_proxy_speaks_h2c_and_resets_no_stream_but_the_aborted_one() {
    let inner = Proxy::start(&[]).await;
    let outer = Proxy::start(&[&format!("--upstream=h2c://{}", inner.addr)]).await;
    let mut sibling = Client::send(&outer, chat("sim-words=30-gap=20ms")).await;
    let mut aborted = Client::send(&outer, chat("sim-stall=2")).await;
    aborted.read_until("\n\n").await;
    let streams = inner.see("/streams").await;
    assert_eq!(streams.as_array().unwrap().len(), 2);
    assert!(streams.as_array().unwrap().iter().all(|stream| stream["id"] != *aborted.id));

    assert_eq!(outer.abort(&aborted.id, "?reason=stop").await.0, 200);
    let (last, end) = aborted.rest().await;
    assert!(last.ends_with(&error_event("aborted", "stop", "aborted")), "{last}");
    assert_eq!(end, End::Clean);
    assert_eq!(inner.ending().await["outcome"], "disconnected");

    let (answer, end) = sibling.rest().await;
    assert!(answer.ends_with("data: [DONE]\n\n"), "{answer}");
    assert_eq!(end, End::Clean);
    let outcomes: Vec<_> =
        outer.endings(2).await.iter().map(|ending| ending["outcome"].clone()).collect();
    assert_eq!(outcomes, ["completed", "aborted"]);
}

#[tokio::test]
async fn http1_and_http2_clients_get_the_same_bytes() {
    let sent = "data: 1\r\n\r\n: comment\n\ndata: {\"x\":\"\u{e4}\"}\n\ndata: [DONE]\n\n";
    for wire in WIRES {
        let upstream = Upstream::start([Play::new().head_sse().chunk(sent).last_chunk()]).await;
        let proxy = Proxy::before(upstream.addr(), &[]).await;
        let mut client = Client::get(wire, &proxy, "/").await;
        assert_eq!(client.rest().await, (sent.to_owned(), End::Clean), "{wire:?}");
    }
}

#[tokio::test]
async fn a_client_that_asks_to_close_is_closed_after_its_answer() {
    let proxy = Proxy::start(&[]).await;
    let mut client = H1::connect(proxy.addr).await.unwrap();
    let request = chat("sim-words=1").replacen("\r\n", "\r\nconnection: close\r\n", 1);
    client.send(request).await.unwrap();
    client.read_head(LIMIT).await.unwrap();
    let end = client.read_to_end(LIMIT).await;
    assert!(dechunk(&end.bytes).complete);
    assert_eq!(end.how, How::Fin);
}
