//! `--coalesce`: what waits goes on together, and what does not goes on at once.

use std::{convert::Infallible, future::ready, net::SocketAddr};

use hyper::{Request, Response, body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use serde_json::Value;
use testkit::{Gate, Play, Script, Upstream};
use tokio::{net::TcpListener, time::Instant};

use crate::{
    client::{Client, End, WIRES, Wire},
    common::{LIMIT, Proxy},
};

/// As many as the h2 of a client bears that has not read them yet: it ends a connection over too many small frames.
const EVENTS: usize = 100;

fn event(n: usize) -> String {
    format!("data: {{\"n\":{n},\"text\":\"a word of an answer\"}}\n\n")
}

fn all_events() -> String {
    (0..EVENTS).map(event).collect()
}

/// Gives every event as a frame of its own, as fast as it is read, over HTTP/1 and HTTP/2.
async fn burst() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = service_fn(|_: Request<Incoming>| {
                let body = (0..EVENTS).fold(Script::new(), |script, n| script.data(event(n)));
                let response = Response::builder().header("content-type", "text/event-stream");
                ready(Ok::<_, Infallible>(response.body(body).unwrap()))
            });
            tokio::spawn(async move {
                let server = auto::Builder::new(TokioExecutor::new());
                let _ = server.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    addr
}

/// The ending of an answer that came in a burst, and was read whole.
async fn after_a_burst(wire: Wire, scheme: &str, options: &[&str]) -> Value {
    let upstream = format!("--upstream={scheme}://{}", burst().await);
    let proxy = Proxy::start(&[&[&*upstream], options].concat()).await;
    let mut client = Client::get(wire, &proxy, "/").await;
    let (answer, end) = client.rest().await;
    assert!(answer == all_events(), "{scheme} {options:?}: other bytes");
    assert_eq!(end, End::Clean);
    proxy.ending().await
}

#[tokio::test]
async fn what_an_upstream_sends_at_once_is_far_fewer_frames_and_the_same_bytes() {
    for wire in WIRES {
        for (options, expected) in [
            (&[][..], 1..=EVENTS / 2),
            (&["--coalesce=16KiB"], 1..=EVENTS / 2),
            (&["--coalesce=off"], EVENTS..=EVENTS),
            (&["--coalesce=1B"], EVENTS..=EVENTS),
        ] {
            let ending = after_a_burst(wire, "h2c", options).await;
            let frames = usize::try_from(ending["frames"].as_u64().unwrap()).unwrap();
            assert!(expected.contains(&frames), "{wire:?} {options:?}: {frames}");
            assert_eq!(ending["bytes"], all_events().len(), "{wire:?} {options:?}");
            assert_eq!(ending["outcome"], "completed");
        }
    }
}

// hyper's HTTP/1 client reads a chunk when the one before was taken: how many wait is its own affair.
#[tokio::test]
async fn an_http1_upstream_that_sends_at_once_is_passed_on_unchanged() {
    for options in [&[][..], &["--coalesce=off"]] {
        let ending = after_a_burst(Wire::H1, "http", options).await;
        assert_eq!(ending["bytes"], all_events().len(), "{options:?}");
    }
}

#[tokio::test]
async fn events_that_come_one_by_one_are_passed_on_one_by_one_and_at_once() {
    for wire in WIRES {
        let gates: Vec<_> = (0..5).map(|_| Gate::new()).collect();
        let play = gates
            .iter()
            .enumerate()
            .fold(Play::new().head_sse(), |play, (n, gate)| play.wait(gate).chunk(event(n)));
        let upstream = Upstream::start([play.last_chunk()]).await;
        let proxy = Proxy::before(upstream.addr(), &["--coalesce=1MiB"]).await;
        let mut client = Client::get(wire, &proxy, "/").await;
        for (n, gate) in gates.iter().enumerate() {
            let sent = Instant::now();
            gate.open();
            // Nothing follows before it was read, so what is waited for would never come.
            assert_eq!(client.read_until("\n\n").await, event(n), "{wire:?}");
            assert!(sent.elapsed() < LIMIT / 2, "{wire:?}: {:?}", sent.elapsed());
        }
        assert_eq!(client.rest().await, (String::new(), End::Clean));
        assert_eq!(proxy.ending().await["frames"], 5);
    }
}
