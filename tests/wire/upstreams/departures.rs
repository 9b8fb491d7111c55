//! When the client leaves, the upstream's connection is closed at once, through all layers: truths.md 7.

use testkit::{H1, H2, H2Next, Play, Reason, Upstream};
use tokio::time::Instant;
use tower_lifeline::exchange::Outcome::Disconnected;

use super::whole;
use crate::server::{AT_ONCE, Front, LIMIT, MOMENT, median_of_five};

/// An upstream that waits, before its head or in its stream, and one that can not send all that it has.
fn plays() -> [(&'static str, Play); 3] {
    [
        ("silent", Play::new().stall()),
        ("idle", Play::new().head_sse().chunk("data: 1\n\n").stall()),
        ("flooding", Play::new().head_sse().flood("data: 1\n\n".repeat(1000))),
    ]
}

#[tokio::test]
async fn when_an_h1_client_leaves_the_upstream_is_closed_at_once() {
    for (name, play) in plays() {
        for front in Front::H1S {
            let took = median_of_five(async || {
                let upstream = Upstream::start([play.clone()]).await;
                let (server, mut endings) = whole(front, upstream.addr()).await;
                let mut client = H1::connect(server.addr()).await.unwrap();
                client.get("/").await.unwrap();
                if name == "silent" {
                    upstream.request(0, LIMIT).await;
                } else {
                    client.read_until(|bytes| bytes.ends_with(b"\n\n\r\n"), LIMIT).await.unwrap();
                }
                if name == "flooding" {
                    endings.none_within(MOMENT).await;
                }
                let left = Instant::now();
                client.reset();
                let closed = upstream.closed(0, LIMIT).await;
                assert_eq!(endings.only(server).await.outcome, Disconnected);
                closed - left
            });
            let took = took.await;
            assert!(took < AT_ONCE, "{name}, {front:?}: {took:?}");
        }
    }
}

#[tokio::test]
async fn when_an_h2_client_resets_its_stream_the_upstream_is_closed_at_once() {
    for (name, play) in plays() {
        for front in Front::H2S {
            let took = median_of_five(async || {
                let upstream = Upstream::start([play.clone()]).await;
                let (server, mut endings) = whole(front, upstream.addr()).await;
                let mut client = H2::connect(server.addr()).await.unwrap();
                let call = client.start("GET", "/", &[]).await.unwrap();
                upstream.request(0, LIMIT).await;
                let left;
                if name == "silent" {
                    left = Instant::now();
                    call.reset(Reason::CANCEL);
                } else {
                    let (_, mut body) = call.head(LIMIT).await.unwrap();
                    assert!(matches!(body.next(LIMIT).await, H2Next::Data(_)));
                    if name == "flooding" {
                        endings.none_within(MOMENT).await;
                    }
                    left = Instant::now();
                    body.reset(Reason::CANCEL);
                }
                let closed = upstream.closed(0, LIMIT).await;
                assert_eq!(endings.next(LIMIT).await.outcome, Disconnected);
                closed - left
            });
            let took = took.await;
            assert!(took < AT_ONCE, "{name}, {front:?}: {took:?}");
        }
    }
}
