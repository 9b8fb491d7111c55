use std::time::Duration;

use http::{Request, Response, Version};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper_util::{client::legacy, rt::TokioExecutor};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::{oneshot, watch},
    task::JoinHandle,
    time::{Instant, sleep, timeout, timeout_at},
};
use tower::service_fn;

use super::{Activity, Connections, Limits, connection, serve};
use crate::testing::{Endless, Wire, full, listener, server, soon};

const REQUEST: &str = "GET / HTTP/1.1\r\nhost: x\r\n\r\n";

#[tokio::test]
async fn http1_and_http2_are_served_on_the_same_port() {
    let address = server(service_fn(|request: Request<Incoming>| async move {
        Ok(Response::new(full(format!("{:?}", request.version()))))
    }))
    .await;
    for version in [Version::HTTP_11, Version::HTTP_2] {
        let client = legacy::Client::builder(TokioExecutor::new())
            .http2_only(version == Version::HTTP_2)
            .build_http::<Empty<bytes::Bytes>>();
        let uri = format!("http://{address}/").parse().unwrap();
        let response = soon(client.get(uri)).await.unwrap();
        let body = soon(response.into_body().collect()).await.unwrap();
        assert_eq!(body.to_bytes(), format!("{version:?}"));
    }
}

/// A server whose answers never end.
async fn endless() -> (Wire, oneshot::Sender<()>, JoinHandle<Connections>) {
    let (listener, address) = listener().await;
    let (stop, stopped) = oneshot::channel();
    let service = service_fn(|_: Request<Incoming>| async {
        let (body, _) = Endless::new("begun");
        Ok(Response::new(body))
    });
    let stopped = async {
        let _ = stopped.await;
    };
    let serving = tokio::spawn(serve(listener, service, Limits::default(), stopped));
    (Wire::connect(address).await, stop, serving)
}

#[tokio::test]
async fn to_close_waits_for_no_idle_connection() {
    let (_idle, stop, serving) = endless().await;
    sleep(Duration::from_millis(50)).await;
    stop.send(()).unwrap();
    soon(soon(serving).await.unwrap().close()).await;
}

#[tokio::test]
async fn to_close_lets_a_stream_go_on_until_its_client_has_enough() {
    let (mut client, stop, serving) = endless().await;
    client.write(REQUEST).await;
    client.read_until("begun\r\n").await;
    stop.send(()).unwrap();
    let mut closing = Box::pin(soon(serving).await.unwrap().close());
    timeout(Duration::from_millis(100), &mut closing).await.unwrap_err();
    drop(client);
    soon(closing).await;
}

#[tokio::test]
async fn to_drop_the_connections_is_to_cut_them() {
    let (mut client, stop, serving) = endless().await;
    client.write(REQUEST).await;
    client.read_until("begun\r\n").await;
    stop.send(()).unwrap();
    let closing = soon(serving).await.unwrap().close();
    timeout(Duration::from_millis(100), closing).await.unwrap_err();
    assert_eq!(client.read_to_close().await, b"");
}

#[tokio::test]
async fn from_the_stop_on_nobody_is_let_in() {
    let (client, stop, serving) = endless().await;
    let address = client.0.peer_addr().unwrap();
    stop.send(()).unwrap();
    soon(serving).await.unwrap();
    tokio::net::TcpStream::connect(address).await.unwrap_err();
}

/// What a client of a connection in memory reads until it is closed, and after how many seconds that is.
async fn closed(idle: Option<Duration>, sends: &[(u64, &str)]) -> (String, u64) {
    let (mut client, io) = tokio::io::duplex(4096);
    let service = service_fn(|request: Request<Incoming>| async {
        if request.uri() == "/slow" {
            sleep(Duration::from_secs(5)).await;
        }
        let _ = request.into_body().collect().await;
        Ok(Response::new(full("ok")))
    });
    let (_stop, stopped) = watch::channel(());
    tokio::spawn(connection(
        super::server(),
        io,
        Default::default(),
        service,
        Activity::new(),
        idle,
        stopped,
    ));
    let start = Instant::now();
    let mut read = Vec::new();
    for (at, bytes) in sends {
        let until = start + Duration::from_secs(*at);
        timeout_at(until, client.read_to_end(&mut read)).await.unwrap_err();
        client.write_all(bytes.as_bytes()).await.unwrap();
    }
    let limit = Duration::from_secs(10_000);
    let _ = timeout(limit, client.read_to_end(&mut read)).await.unwrap();
    (String::from_utf8_lossy(&read).into_owned(), start.elapsed().as_secs())
}

const IDLE: Option<Duration> = Some(Duration::from_secs(620));
const MAGIC: &str = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

#[tokio::test(start_paused = true)]
async fn a_connection_without_a_first_byte_or_a_whole_head_is_closed_after_30_seconds() {
    for idle in [IDLE, None] {
        for sends in [
            &[][..],
            &[(0, "G")],
            &[(0, "GET / HTTP/1.1\r\nhost: x\r\n")],
            &[(0, "GET / HT"), (10, "TP/1.1\r\n"), (20, "host: x\r\n"), (29, "a: b\r\n")],
            &[(0, &MAGIC[..10])],
            &[(0, &MAGIC[..10]), (20, &MAGIC[10..23])],
            &[(0, MAGIC)],
        ] {
            let (read, seconds) = closed(idle, sends).await;
            assert_eq!(seconds, 30, "{sends:?}");
            assert!(!read.contains("200"), "{sends:?} {read}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_serves_no_more_is_closed_when_it_was_idle_for_too_long() {
    assert_eq!(closed(IDLE, &[(0, REQUEST)]).await.1, 620);
    assert_eq!(closed(IDLE, &[(0, REQUEST), (600, REQUEST)]).await.1, 1220);
}

#[tokio::test(start_paused = true)]
async fn the_head_of_a_later_request_has_30_seconds_from_its_first_byte() {
    let (read, seconds) = closed(IDLE, &[(0, REQUEST), (600, "GET")]).await;
    assert_eq!((read.matches(" 200 ").count(), seconds), (1, 630));
    let (read, seconds) = closed(IDLE, &[(0, REQUEST), (600, "GET"), (629, &REQUEST[3..])]).await;
    assert_eq!((read.matches(" 200 ").count(), seconds), (2, 629 + 620));
}

#[tokio::test(start_paused = true)]
async fn a_half_head_behind_a_request_has_30_seconds_from_the_end_of_the_exchange() {
    const LENGTH: &str = "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 8\r\n\r\nquestion";
    const CHUNKED: &str =
        "POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n1\r\nq\r\n0\r\n\r\n";
    const SLOW: &str = "GET /slow HTTP/1.1\r\nhost: x\r\n\r\n";
    const SHORT: &str = "GET / HTTP/1.1\r\n\r\n";
    for idle in [IDLE, None] {
        for request in [REQUEST, SHORT, LENGTH, CHUNKED] {
            for half in ["G", "GET / HTTP/1.1\r\nhost: x\r\n"] {
                let (read, seconds) = closed(idle, &[(0, &format!("{request}{half}"))]).await;
                assert_eq!((read.matches(" 200 ").count(), seconds), (1, 30), "{request}{half}");
                let twice = format!("{request}{request}{half}");
                let (read, seconds) = closed(idle, &[(0, &twice)]).await;
                assert_eq!((read.matches(" 200 ").count(), seconds), (2, 30), "{twice}");
            }
        }
        let (read, seconds) = closed(idle, &[(0, SLOW), (2, "GET")]).await;
        assert_eq!((read.matches(" 200 ").count(), seconds), (1, 35));
    }
    // What is no half head is idle, however it came.
    for request in [REQUEST, SHORT, LENGTH, CHUNKED] {
        let (first, second) = request.split_at(request.len() - 3);
        for sends in [&[(0, request)][..], &[(0, first), (10, second)]] {
            let last = sends.last().unwrap().0;
            let (read, seconds) = closed(IDLE, sends).await;
            assert_eq!((read.matches(" 200 ").count(), seconds), (1, last + 620), "{sends:?}");
        }
    }
    let (read, seconds) = closed(IDLE, &[(0, SLOW), (2, "GET"), (30, &REQUEST[3..])]).await;
    assert_eq!((read.matches(" 200 ").count(), seconds), (2, 30 + 620));
}

#[tokio::test(start_paused = true)]
async fn an_http2_client_that_asks_for_nothing_is_alive_until_it_was_idle_for_too_long() {
    let (client, io) = tokio::io::duplex(4096);
    let service = service_fn(|_: Request<Incoming>| async { Ok(Response::new(full("ok"))) });
    let (_stop, stopped) = watch::channel(());
    tokio::spawn(connection(
        super::server(),
        io,
        Default::default(),
        service,
        Activity::new(),
        IDLE,
        stopped,
    ));
    let start = Instant::now();
    let (_requests, connection) = h2::client::handshake(client).await.unwrap();
    timeout(Duration::from_secs(10_000), connection).await.unwrap().unwrap();
    assert_eq!(start.elapsed().as_secs(), 620);
}
