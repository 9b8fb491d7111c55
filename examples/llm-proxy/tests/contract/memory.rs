//! What a stream takes while it runs and when it is over.

use std::time::Duration;

use serde_json::json;
use testkit::H1;
use tokio::{net::TcpListener, task::JoinSet, time::sleep};

use crate::common::{
    LIMIT, Proxy,
    memory::{EVENT, Trickle, resident, settled},
};

const STREAMS: usize = 20;
const EVENTS: usize = 500;
const MIB: usize = 1024 * 1024;
/// Of the connections on either side, and of an allocator. What was pinned were 80 MiB.
const FIXED: usize = 12 * MIB;

/// What the recordings hold, as `/metrics` tells it.
async fn captured(proxy: &Proxy) -> usize {
    let mut client = H1::connect(proxy.admin).await.unwrap();
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
    // With `--replay` an answer is recorded for the store and those who join, and not once more for the accounts.
    for options in [&[][..], &["--replay=60s"]] {
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
            if held >= bytes {
                break;
            }
            sleep(Duration::from_millis(100)).await;
        }
        assert!(held >= bytes, "{options:?}: {held} are captured of {bytes}");
        assert!(held <= 2 * bytes, "{options:?}: {held} are counted for {bytes}");
        let most = resident(process).unwrap() - before;
        assert!(most <= 2 * bytes + FIXED, "{options:?}: {most} for {bytes}");

        upstream.end();
        for read in clients.join_all().await {
            assert!(read.unwrap() > EVENTS * EVENT);
        }
        let left = settled(process, Duration::from_secs(3)).await.unwrap().saturating_sub(before);
        let stored = if options.is_empty() { 0 } else { 2 * bytes };
        assert!(left <= stored + FIXED, "{options:?}: {left} are left");
        assert_eq!(captured(&proxy).await, 0, "{options:?}");
        assert_eq!(proxy.see("/endings").await.as_array().unwrap().len(), STREAMS);
    }
}

/// Issue 10 B4: 10,000 of them took 621 MiB, and 575 MiB each of the log, the ledger and `/endings`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_method_of_any_length_takes_little_of_memory_log_and_ledger() {
    const CLIENTS: usize = 4;
    const REQUESTS: usize = 500;
    /// Of one request, in each of them: less than a tenth of what was sent.
    const EACH: usize = 5 * 1024;
    let refusing = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let directory = std::env::temp_dir().join(format!("llm-proxy-methods-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let ledger = directory.join("ledger.sqlite");
    let proxy = Proxy::before(refusing, &[&format!("--ledger={}", ledger.display())]).await;
    let process = proxy.child.id().unwrap();
    let before = resident(process).unwrap();
    let (method, path) = ("M".repeat(60_000), "p".repeat(3_000));
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let request = format!("{method} /{path} HTTP/1.1\r\nhost: x\r\n\r\n");
        let addr = proxy.addr;
        clients.spawn(async move {
            let mut client = H1::connect(addr).await.unwrap();
            for _ in 0..REQUESTS {
                client.send(&request).await.unwrap();
                client.read_until(|bytes| bytes.ends_with(b"}}"), LIMIT).await.unwrap();
                client.take();
            }
        });
    }
    clients.join_all().await;
    let all = CLIENTS * REQUESTS;
    let endings = proxy.endings(all).await;
    let taken = resident(process).unwrap().saturating_sub(before);
    assert!(taken < all * EACH + FIXED, "{taken} of memory");
    assert!(serde_json::to_vec(&endings).unwrap().len() < all * EACH);
    let cut = (&endings[0]["method"], &endings[0]["path"]);
    assert_eq!(cut, (&json!(&method[..1024]), &json!(format!("/{}", &path[..1023]))));
    sleep(Duration::from_secs(1)).await;
    let log = proxy.stderr.lock().unwrap().clone();
    assert!(log.iter().map(String::len).sum::<usize>() < all * EACH);
    let said = format!(" method={} path=/{} ", &method[..1024], &path[..1023]);
    assert!(log.iter().any(|line| line.contains(&said)), "{}", log[0]);
    let files =
        std::fs::read_dir(&directory).unwrap().map(|file| file.unwrap().metadata().unwrap().len());
    let files = files.sum::<u64>();
    // Its pages, and as much again of its journal.
    assert!(files < 2 * (all * EACH + 4 * MIB) as u64, "{files} of the ledger");
    std::fs::remove_dir_all(directory).unwrap();
}
