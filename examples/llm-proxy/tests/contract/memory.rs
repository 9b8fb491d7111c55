//! What a stream takes while it runs and when it is over.

use std::time::Duration;

use tokio::{task::JoinSet, time::sleep};

use crate::common::{
    LIMIT, Proxy,
    memory::{EVENT, Trickle, resident, settled},
};

const STREAMS: usize = 20;
const EVENTS: usize = 500;
const MIB: usize = 1024 * 1024;
/// Of the connections on either side, and of an allocator. What was pinned were 80 MiB.
const FIXED: usize = 30 * MIB;

/// What the recordings hold, as `/metrics` tells it.
async fn captured(proxy: &Proxy) -> usize {
    let mut client = testkit::H1::connect(proxy.admin).await.unwrap();
    client
        .send("GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    let end = client.read_to_end(LIMIT).await;
    let text = String::from_utf8_lossy(&end.bytes).into_owned();
    let line = text.lines().find_map(|line| line.strip_prefix("llm_proxy_captured_bytes "));
    line.unwrap().trim().parse::<f64>().unwrap() as usize
}

/// Issue 9 F: each frame of 256 bytes pinned a read buffer of 8 KiB and more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_of_small_events_take_at_most_twice_what_is_captured_and_give_it_back() {
    // With `--replay` each answer is recorded twice: for the accounts, and for the store and those who join.
    for (options, copies) in [(&[][..], 1), (&["--replay=60s"], 2)] {
        let upstream = Trickle::start(STREAMS, EVENTS).await.unwrap();
        let proxy = Proxy::before(upstream.addr, options).await;
        let process = proxy.child.id().unwrap();
        let before = resident(process).unwrap();
        let mut clients = JoinSet::new();
        (0..STREAMS).for_each(|n| drop(clients.spawn(upstream.client(proxy.addr, n))));
        upstream.all_sent(STREAMS).await;

        let bytes = STREAMS * EVENTS * EVENT;
        // The last events are on their way.
        let mut held = 0;
        for _ in 0..100 {
            held = captured(&proxy).await;
            if held >= copies * bytes {
                break;
            }
            sleep(Duration::from_millis(100)).await;
        }
        assert!(held >= copies * bytes, "{options:?}: {held} are captured of {bytes}");
        assert!(held <= 2 * copies * bytes, "{options:?}: {held} are counted for {bytes}");
        let most = resident(process).unwrap() - before;
        assert!(most <= 2 * copies * bytes + FIXED, "{options:?}: {most} for {bytes}");

        upstream.end();
        for read in clients.join_all().await {
            assert!(read.unwrap() > EVENTS * EVENT);
        }
        let left = settled(process, Duration::from_secs(3)).await.unwrap().saturating_sub(before);
        let stored = if copies == 2 { bytes } else { 0 };
        assert!(left <= stored + FIXED, "{options:?}: {left} are left");
        assert_eq!(captured(&proxy).await, 0, "{options:?}");
        assert_eq!(proxy.see("/endings").await.as_array().unwrap().len(), STREAMS);
    }
}
