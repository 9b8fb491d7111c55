//! A client in the middle of its upload: who is waited for, and what happens when the answer has begun.

use std::{net::SocketAddr, time::Duration};

use http::Response;
use serde_json::{Value, json};
use testkit::{H1, H2, H2Call, How, Play, Upstream, dechunk};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use crate::{
    client::{WIRES, Wire, says, whole},
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

/// A client that sends a request piece by piece.
#[derive(Debug)]
enum Uploader {
    H1(H1),
    H2(H2, Option<H2Call>),
}

impl Uploader {
    /// Sends the head of a request, whose body is to be of this length.
    async fn begin(
        wire: Wire,
        proxy: &Proxy,
        target: &str,
        length: usize,
        headers: &[(&str, &str)],
    ) -> Self {
        let length = length.to_string();
        let headers = [&[("content-length", &*length)], headers].concat();
        match wire {
            Wire::H1 => {
                let mut client = H1::connect(proxy.addr).await.unwrap();
                let fields: String =
                    headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
                let head = format!("POST {target} HTTP/1.1\r\nhost: x\r\n{fields}\r\n");
                client.send(head).await.unwrap();
                Self::H1(client)
            }
            Wire::H2 => {
                let mut client = H2::connect(proxy.addr).await.unwrap();
                let call = client.upload("POST", target, &headers).await.unwrap();
                Self::H2(client, Some(call))
            }
        }
    }

    async fn send(&mut self, data: &str, last: bool) {
        match self {
            Self::H1(client) => client.send(data).await.unwrap(),
            Self::H2(_, call) => call.as_mut().unwrap().send(data.to_owned(), last).unwrap(),
        }
    }

    /// Sends a body in five pieces over this time, the last one at its end.
    async fn slowly(&mut self, body: &str, time: Duration) {
        let size = body.len().div_ceil(5);
        for (n, piece) in body.as_bytes().chunks(size).enumerate() {
            sleep(time / 5).await;
            self.send(std::str::from_utf8(piece).unwrap(), n == 4).await;
        }
    }

    /// The status and the body of the answer, which has a length.
    async fn answer(&mut self) -> (u16, Vec<u8>) {
        match self {
            Self::H1(client) => {
                let head = client.read_head(LIMIT).await.unwrap();
                let length = head.header("content-length").unwrap().parse().unwrap();
                let body = client.read_until(|bytes| bytes.len() >= length, LIMIT).await.unwrap();
                (head.status().unwrap(), body)
            }
            Self::H2(_, call) => {
                let (head, mut body) = call.take().unwrap().head(LIMIT).await.unwrap();
                (head.status.as_u16(), body.rest(LIMIT).await.0)
            }
        }
    }
}

const BODY: &str = r#"{"model":"m","messages":[{"role":"user","content":"hi"}]}"#;

/// Answers when it has the whole request.
fn answering(answer: &str) -> Play {
    let length = answer.len();
    Play::new().send(format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{answer}"))
}

fn refusing() -> Play {
    Play::new().send("HTTP/1.1 401 Unauthorized\r\ncontent-length: 2\r\n\r\nno")
}

/// The error object of an answer of ours.
fn error(body: &[u8]) -> Value {
    serde_json::from_slice::<Value>(body).unwrap()["error"].clone()
}

#[tokio::test]
async fn a_slow_upload_is_not_the_upstreams_silence() {
    for wire in WIRES {
        for replay in [&[][..], &["--replay=1m"]] {
            let upstream = Upstream::start([answering("ok")]).await;
            let options = [&["--head-timeout=800ms"], replay].concat();
            let proxy = Proxy::before(upstream.addr(), &options).await;
            let target = "/v1/chat/completions";
            let mut client = Uploader::begin(wire, &proxy, target, BODY.len(), &[]).await;
            client.slowly(BODY, Duration::from_secs(2)).await;
            assert_eq!(client.answer().await, (200, b"ok".to_vec()), "{wire:?} {replay:?}");
            // Over HTTP/2 there is a second request, which may come first.
            assert!(upstream.conns().iter().any(|conn| conn.body == BODY), "{wire:?} {replay:?}");
        }
    }
}

#[tokio::test]
async fn the_same_before_an_upstream_that_speaks_http2() {
    let behind = Proxy::start(&[]).await;
    for wire in WIRES {
        let upstream = format!("--upstream=h2c://{}", behind.addr);
        let proxy = Proxy::start(&[&*upstream, "--head-timeout=800ms"]).await;
        let body = json!({"model": "sim-words=1", "messages": []}).to_string();
        let target = "/v1/chat/completions";
        let mut client = Uploader::begin(wire, &proxy, target, body.len(), &[]).await;
        client.slowly(&body, Duration::from_secs(2)).await;
        assert_eq!(client.answer().await.0, 200, "{wire:?}");
        // And one that does not answer.
        let body = json!({"model": "sim-head=1m", "messages": []}).to_string();
        let mut client = Uploader::begin(wire, &proxy, target, body.len(), &[]).await;
        client.slowly(&body, Duration::from_secs(1)).await;
        let given = Instant::now();
        let (status, answer) = client.answer().await;
        assert_eq!((status, &error(&answer)["code"]), (504, &json!("head")), "{wire:?}");
        assert!(given.elapsed() >= Duration::from_millis(750), "{wire:?} {:?}", given.elapsed());
    }
}

#[tokio::test]
async fn many_slow_uploads_are_none_of_them_the_upstreams_silence() {
    let upstream = Upstream::start([answering("ok")]).await;
    let proxy = Proxy::before(upstream.addr(), &["--head-timeout=1s"]).await;
    let proxy = std::sync::Arc::new(proxy);
    let mut clients = JoinSet::new();
    for n in 0..100 {
        let proxy = proxy.clone();
        clients.spawn(async move {
            let wire = WIRES[n % 2];
            let mut client = Uploader::begin(wire, &proxy, "/", BODY.len(), &[]).await;
            client.slowly(BODY, Duration::from_secs(3)).await;
            client.answer().await
        });
    }
    for answer in clients.join_all().await {
        assert_eq!(answer, (200, b"ok".to_vec()));
    }
}

#[tokio::test]
async fn a_client_that_stops_in_the_middle_of_its_request_is_answered_408() {
    for wire in WIRES {
        for (replay, sent) in [
            (&[][..], "abc"),
            (&[], ""),
            (&["--replay=1m"], "abc"),
            (&["--early-head=50ms"], "abc"),
        ] {
            let upstream = Upstream::start([Play::new().stall()]).await;
            let options = ["--upload-timeout=300ms", "--head-timeout=200ms"];
            let options = [&options, replay].concat();
            let proxy = Proxy::before(upstream.addr(), &options).await;
            let sse = ("accept", "text/event-stream");
            let mut client = Uploader::begin(wire, &proxy, "/v1/messages", 1000, &[sse]).await;
            sleep(Duration::from_millis(200)).await;
            if !sent.is_empty() {
                client.send(sent, false).await;
            }
            let asked = Instant::now();
            let (status, body) = match &mut client {
                Uploader::H1(client) => {
                    let (head, body) = whole(client).await;
                    assert_eq!(head.header("connection"), Some("close"));
                    assert_eq!(head.header("content-type"), Some("application/json"));
                    let end = client.read_to_end(LIMIT).await;
                    assert_ne!(end.how, How::TimedOut, "the connection is not of use any more");
                    (head.status().unwrap(), body)
                }
                Uploader::H2(..) => {
                    let (status, body) = client.answer().await;
                    (status, serde_json::from_slice(&body).unwrap())
                }
            };
            assert!(asked.elapsed() < LIMIT / 2, "{wire:?} {:?}", asked.elapsed());
            let message = "upload timeout: nothing of the request for 300ms";
            let error = json!({"type": "timeout", "message": message, "code": "upload"});
            let body_expected = json!({"type": "error", "error": error});
            assert_eq!((status, body), (408, body_expected), "{wire:?} {replay:?} {sent}");
            if wire == Wire::H1 {
                let fields = [
                    ("outcome", json!("timed_out")),
                    ("reason", json!("upload")),
                    ("status", json!(408)),
                    ("bytes", json!(0)),
                    ("head_ms", Value::Null),
                ];
                says(&proxy.ending().await, fields);
            }
        }
    }
}

#[tokio::test]
async fn a_client_that_sends_a_little_now_and_then_is_waited_for() {
    for wire in WIRES {
        let upstream = Upstream::start([answering("ok")]).await;
        let options = ["--upload-timeout=1s", "--head-timeout=500ms"];
        let proxy = Proxy::before(upstream.addr(), &options).await;
        let mut client = Uploader::begin(wire, &proxy, "/", BODY.len(), &[]).await;
        client.slowly(BODY, Duration::from_secs(3)).await;
        assert_eq!(client.answer().await, (200, b"ok".to_vec()), "{wire:?}");
    }
}

#[tokio::test]
async fn an_upstream_that_does_not_take_the_request_is_not_the_client() {
    for wire in WIRES {
        // It accepts, and reads nothing.
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let options = ["--head-timeout=1s", "--upload-timeout=500ms"];
        let proxy = Proxy::before(listener.local_addr().unwrap(), &options).await;
        let length = 64 * 1024 * 1024;
        let mut client = Uploader::begin(wire, &proxy, "/", length, &[]).await;
        let (_upstream, _) = timeout(LIMIT, listener.accept()).await.unwrap().unwrap();
        let (status, body) = match &mut client {
            Uploader::H1(client) => {
                // As much as it takes.
                let flood = vec![b'x'; length - 1];
                let _ = timeout(Duration::from_millis(900), client.send(flood)).await;
                let (head, body) = whole(client).await;
                (head.status().unwrap(), body)
            }
            Uploader::H2(_, call) => {
                call.as_mut().unwrap().send("x".repeat(length - 1), false).unwrap();
                let (status, body) = client.answer().await;
                (status, serde_json::from_slice(&body).unwrap())
            }
        };
        assert_eq!((status, &body["error"]["code"]), (504, &json!("head")), "{wire:?}");
    }
}

#[tokio::test]
async fn behind_the_head_of_the_answer_the_upload_has_no_limit() {
    let upload = UPLOADS[0];
    let (mut upstream, proxy, mut client) = begun(upload, &["--upload-timeout=200ms"]).await;
    sleep(Duration::from_millis(600)).await;
    let rest = format!("{}0\r\n\r\n", chunk("data: 2\n\ndata: [DONE]\n\n"));
    upstream.write_all(rest.as_bytes()).await.unwrap();
    client.read_until(|bytes| dechunk(bytes).complete, LIMIT).await.unwrap();
    says(&proxy.ending().await, [("outcome", json!("completed")), ("status", json!(200))]);
}

#[tokio::test]
async fn a_client_that_expects_a_continue_is_waited_for_and_given_up_as_any_other() {
    let expect = ("expect", "100-continue");
    for sends in [true, false] {
        let upstream = Upstream::start([answering("ok")]).await;
        let options = ["--head-timeout=500ms", "--upload-timeout=2s"];
        let proxy = Proxy::before(upstream.addr(), &options).await;
        let mut client = Uploader::begin(Wire::H1, &proxy, "/", BODY.len(), &[expect]).await;
        let Uploader::H1(h1) = &mut client else { unreachable!() };
        let interim = h1.read_head(LIMIT).await.unwrap();
        assert_eq!(interim.status(), Some(100));
        if sends {
            client.slowly(BODY, Duration::from_secs(2)).await;
            assert_eq!(client.answer().await, (200, b"ok".to_vec()));
        } else {
            assert_eq!(client.answer().await.0, 408);
        }
    }
}

#[tokio::test]
async fn a_refusal_that_follows_a_slow_upload_is_not_hidden_by_an_early_head() {
    for wire in WIRES {
        let upstream = Upstream::start([refusing()]).await;
        let proxy = Proxy::before(upstream.addr(), &["--early-head=300ms"]).await;
        let sse = ("accept", "text/event-stream");
        let mut client = Uploader::begin(wire, &proxy, "/", BODY.len(), &[sse]).await;
        client.slowly(BODY, Duration::from_secs(2)).await;
        assert_eq!(client.answer().await, (401, b"no".to_vec()), "{wire:?}");
    }
}

/// An upstream of HTTP/2 that gives a request the usual window, makes no more room for so long, and then refuses it.
async fn slow_to_read(time: Duration) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut connection = h2::server::handshake(stream).await.unwrap();
        while let Some(Ok((request, mut respond))) = connection.accept().await {
            tokio::spawn(async move {
                let mut body = request.into_body();
                sleep(time).await;
                while let Some(Ok(data)) = body.data().await {
                    body.flow_control().release_capacity(data.len()).unwrap();
                }
                let head = Response::builder().status(401).header("content-length", 2);
                let mut answer = respond.send_response(head.body(()).unwrap(), false).unwrap();
                answer.send_data("no".into(), true).unwrap();
            });
        }
    });
    addr
}

#[tokio::test]
async fn what_an_h2_upstream_has_no_room_for_it_does_not_have() {
    for wire in WIRES {
        let upstream = slow_to_read(Duration::from_millis(1500)).await;
        let options = [&*format!("--upstream=h2c://{upstream}"), "--early-head=300ms"];
        let proxy = Proxy::start(&options).await;
        let (body, sse) = ("x".repeat(100_000), ("accept", "text/event-stream"));
        let mut client = Uploader::begin(wire, &proxy, "/", body.len(), &[sse]).await;
        client.send(&body, true).await;
        assert_eq!(client.answer().await, (401, b"no".to_vec()), "{wire:?}");
    }
}

#[tokio::test]
async fn a_head_is_early_when_the_upstream_has_the_whole_request_for_so_long() {
    let upstream = Upstream::start([Play::new().stall()]).await;
    let proxy = Proxy::before(upstream.addr(), &["--early-head=500ms"]).await;
    for wire in WIRES {
        let sse = ("accept", "text/event-stream");
        let mut client = Uploader::begin(wire, &proxy, "/", BODY.len(), &[sse]).await;
        client.slowly(BODY, Duration::from_secs(1)).await;
        let given = Instant::now();
        let status = match client {
            Uploader::H1(mut client) => client.read_head(LIMIT).await.unwrap().status().unwrap(),
            Uploader::H2(_client, call) => {
                call.unwrap().head(LIMIT).await.unwrap().0.status.as_u16()
            }
        };
        assert_eq!(status, 200, "{wire:?}");
        assert!(given.elapsed() >= Duration::from_millis(450), "{wire:?} {:?}", given.elapsed());
    }
}
