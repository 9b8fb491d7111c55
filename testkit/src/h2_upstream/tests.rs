use std::time::Duration;

use super::{H2Play, H2Upstream};
use crate::{H2, H2Next, Reason};

const LIMIT: Duration = Duration::from_secs(5);

#[tokio::test]
async fn each_request_gets_its_play() {
    let plays = [H2Play::answer("one"), H2Play::reset(Reason::REFUSED_STREAM)];
    let upstream = H2Upstream::start([plays]).await;
    let mut client = H2::connect(upstream.addr()).await.unwrap();
    let (head, mut body) = client.request("GET", "/", &[]).await.unwrap();
    assert_eq!(head.status, 200);
    assert_eq!(body.rest(LIMIT).await, (b"one".to_vec(), H2Next::End));
    for _ in 0..2 {
        let refused = client.request("GET", "/", &[]).await.unwrap_err();
        assert_eq!(refused, H2Next::Reset(Reason::REFUSED_STREAM));
    }
    assert_eq!(upstream.conns()[0].requests.len(), 3);
    client.close().await;
    upstream.until(|conns| conns[0].closed, LIMIT).await;
}

#[tokio::test]
async fn going_away_fails_the_streams_above_the_last_one_alone() {
    let upstream = H2Upstream::start([[H2Play::stall(), H2Play::go_away(1)]]).await;
    let mut client = H2::connect(upstream.addr()).await.unwrap();
    let first = client.start("GET", "/", &[]).await.unwrap();
    let gone = client.request("GET", "/", &[]).await.unwrap_err();
    assert!(matches!(gone, H2Next::Gone(_)), "{gone:?}");
    let waits = first.head(Duration::from_millis(100)).await.unwrap_err();
    assert_eq!(waits, H2Next::TimedOut);
}
