use std::time::Duration;

use tokio::time::sleep;

use super::{Play, Upstream};
use crate::{Gate, H1, How, dechunk};

const LIMIT: Duration = Duration::from_secs(5);
const MOMENT: Duration = Duration::from_millis(50);

async fn get(upstream: &Upstream) -> H1 {
    let mut client = H1::connect(upstream.addr()).await.unwrap();
    client.get("/").await.unwrap();
    client
}

#[tokio::test]
async fn a_play_is_performed_byte_for_byte() {
    let play = Play::new()
        .head_sse()
        .chunk("data: 1\n\n")
        .sleep(MOMENT)
        .chunk("x")
        .last_chunk()
        .send("?")
        .fin();
    let upstream = Upstream::start([play]).await;
    let mut client = get(&upstream).await;
    let head = client.read_head(LIMIT).await.unwrap();
    assert_eq!(
        (head.status(), head.header("content-type")),
        (Some(200), Some("text/event-stream"))
    );
    let end = client.read_to_end(LIMIT).await;
    assert_eq!(
        (end.bytes.as_slice(), end.how),
        (&b"9\r\ndata: 1\n\n\r\n1\r\nx\r\n0\r\n\r\n?"[..], How::Fin)
    );
}

#[tokio::test]
async fn each_connection_has_its_play_and_the_last_play_serves_the_rest() {
    let upstream = Upstream::start([Play::new().send("a"), Play::new().send("b")]).await;
    for expected in ["a", "b", "b"] {
        assert_eq!(get(&upstream).await.read_to_end(LIMIT).await.bytes, expected.as_bytes());
    }
    assert_eq!(upstream.conns().len(), 3);
}

#[tokio::test]
async fn the_request_is_recorded_and_its_body_awaited() {
    let upstream = Upstream::start([Play::new().send("ok")]).await;
    let mut client = H1::connect(upstream.addr()).await.unwrap();
    client.send("POST /x HTTP/1.1\r\nContent-Length: 4\r\n\r\nab").await.unwrap();
    assert_eq!(
        client.read_until(|bytes| !bytes.is_empty(), MOMENT).await.unwrap_err().how,
        How::TimedOut
    );
    client.send("cd").await.unwrap();
    assert_eq!(client.read_to_end(LIMIT).await.bytes, b"ok");
    assert_eq!(upstream.request(0, LIMIT).await.start_line(), "POST /x HTTP/1.1");
    assert_eq!(upstream.conns()[0].body, "abcd");
}

#[tokio::test]
async fn a_gate_holds_a_play_up() {
    let gate = Gate::new();
    let upstream = Upstream::start([Play::new().wait(&gate).send("late")]).await;
    let mut client = get(&upstream).await;
    assert_eq!(
        client.read_until(|bytes| !bytes.is_empty(), MOMENT).await.unwrap_err().how,
        How::TimedOut
    );
    gate.open();
    assert_eq!(client.read_to_end(LIMIT).await.bytes, b"late");
}

#[tokio::test]
async fn a_reset_cuts_the_body_after_what_was_received() {
    let upstream = Upstream::start([Play::new().head_sse().chunk("a").sleep(MOMENT).reset()]).await;
    let mut client = get(&upstream).await;
    client.read_head(LIMIT).await.unwrap();
    let end = client.read_to_end(LIMIT).await;
    assert_eq!(end.how, How::Reset);
    let cut = dechunk(&end.bytes);
    assert_eq!((cut.body.as_slice(), cut.complete), (&b"a"[..], false));
    assert_eq!(upstream.conns()[0].closed_at, None);
}

#[tokio::test]
async fn a_peer_that_leaves_is_noticed_at_once_whatever_the_play_does() {
    let gate = Gate::new();
    let plays = [
        Play::new().stall(),
        Play::new().fin(),
        Play::new().sleep(LIMIT),
        Play::new().wait(&gate),
        Play::new().head_sse().flood([0; 1000]),
    ];
    for play in plays {
        let upstream = Upstream::start([play]).await;
        for (n, reset) in [true, false].into_iter().enumerate() {
            let client = get(&upstream).await;
            upstream.request(n, LIMIT).await;
            sleep(MOMENT).await;
            assert_eq!(upstream.conns()[n].closed_at, None);
            let left = tokio::time::Instant::now();
            if reset {
                client.reset()
            } else {
                client.close().await
            }
            let took = upstream.closed(n, LIMIT).await - left;
            assert!(took < Duration::from_secs(1), "noticed after {took:?}");
        }
    }
}

#[tokio::test]
async fn a_peer_that_leaves_before_its_request_is_noticed() {
    let upstream = Upstream::start([Play::new()]).await;
    H1::connect(upstream.addr()).await.unwrap().reset();
    upstream.closed(0, LIMIT).await;
    assert_eq!(upstream.conns()[0].head, None);
}

#[tokio::test]
async fn dropping_the_upstream_ends_its_connections() {
    let upstream = Upstream::start([Play::new().stall()]).await;
    let mut client = get(&upstream).await;
    upstream.request(0, LIMIT).await;
    drop(upstream);
    assert_ne!(client.read_to_end(LIMIT).await.how, How::TimedOut);
}

#[tokio::test]
#[should_panic(expected = "connection 0: not closed within")]
async fn a_close_that_does_not_come_in_time_fails_the_test() {
    Upstream::start([Play::new()]).await.closed(0, MOMENT).await;
}
