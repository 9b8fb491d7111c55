//! An abort while the client does not read: hyper polls nothing then, and yet the upstream is let go at once.

use std::time::Duration;

use testkit::{H1, H2, H2Next, How, Play, Upstream, dechunk};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpSocket,
    time::{Instant, sleep, sleep_until},
};

use crate::{
    client::{WIRES, Wire, error_event},
    common::{LIMIT, Proxy},
};

/// The upstream is released so soon after an abort.
const RELEASED: Duration = Duration::from_millis(50);
/// The ending is readable so soon after it.
const READABLE: Duration = Duration::from_millis(250);

/// A client that has asked and does not read.
pub(crate) enum Asleep {
    H1(H1),
    H2(H2, testkit::H2Body),
}

pub(crate) async fn asleep(wire: Wire, proxy: &Proxy) -> Asleep {
    match wire {
        Wire::H1 => {
            let mut client = H1::connect_with_small_buffers(proxy.addr).await.unwrap();
            client.get_with("/", &[("connection", "close")]).await.unwrap();
            Asleep::H1(client)
        }
        Wire::H2 => {
            let mut client = H2::connect(proxy.addr).await.unwrap();
            let (_, body) = client.request("GET", "/", &[]).await.unwrap();
            Asleep::H2(client, body)
        }
    }
}

/// All that was kept for a client while it did not read.
pub(crate) async fn wake_up(client: Asleep) -> Vec<u8> {
    match client {
        Asleep::H1(mut client) => {
            client.read_head(LIMIT).await.unwrap();
            let end = client.read_to_end(LIMIT).await;
            let body = dechunk(&end.bytes);
            assert!(body.complete, "no clean end: {:?}", end.how);
            body.body
        }
        Asleep::H2(_connection, mut body) => {
            let (bytes, end) = body.rest(LIMIT).await;
            assert_eq!(end, H2Next::End);
            bytes
        }
    }
}

pub(crate) fn event() -> String {
    format!("data: {}\n\n", "x".repeat(992))
}

#[tokio::test]
async fn the_upstream_is_let_go_at_once_and_the_client_gets_what_was_kept_for_it() {
    for wire in WIRES {
        let (mut released, mut readable) = (Vec::new(), Vec::new());
        for _ in 0..5 {
            let upstream = Upstream::start([Play::new().head_sse().flood(event())]).await;
            let proxy = Proxy::before(upstream.addr(), &[]).await;
            let client = asleep(wire, &proxy).await;
            let id = proxy.blocked().await;
            let target = format!("/streams/{id}?reason=stop");
            let (asked, status, _) = proxy.ask_admin("DELETE", &target, "").await;
            assert_eq!(status, 200);
            released.push(upstream.closed(0, LIMIT).await.duration_since(asked));
            let ending = proxy.ending().await;
            readable.push(asked.elapsed());
            assert_eq!(
                (&ending["outcome"], &ending["reason"]),
                (&"aborted".into(), &"stop".into())
            );
            assert_eq!(proxy.see("/streams").await, serde_json::json!([]));

            let read = String::from_utf8(wake_up(client).await).unwrap();
            let last = error_event("aborted", "stop", "aborted");
            let kept =
                read.strip_suffix(&last).unwrap_or_else(|| panic!("{wire:?}: no last event"));
            assert!(kept.len() > event().len(), "nothing was kept");
            assert_eq!(kept, event().repeat(kept.len() / event().len()), "{wire:?}");
            assert!(kept.len() as u64 <= ending["bytes"].as_u64().unwrap());
        }
        released.sort_unstable();
        readable.sort_unstable();
        assert!(released[2] < RELEASED, "{wire:?}: {released:?}");
        assert!(readable[2] < READABLE, "{wire:?}: {readable:?}");
    }
}

#[tokio::test]
async fn a_client_that_leaves_without_having_read_lets_the_upstream_go() {
    for wire in WIRES {
        let upstream = Upstream::start([Play::new().head_sse().flood(event())]).await;
        let proxy = Proxy::before(upstream.addr(), &[]).await;
        let client = asleep(wire, &proxy).await;
        proxy.blocked().await;
        match client {
            Asleep::H1(client) => client.reset(),
            Asleep::H2(client, _body) => client.kill().await,
        }
        upstream.closed(0, LIMIT).await;
        assert_eq!(proxy.ending().await["outcome"], "disconnected", "{wire:?}");
    }
}

/// So many of its file descriptors are open.
fn descriptors(proxy: &Proxy) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", proxy.child.id().unwrap())).unwrap().count()
}

#[tokio::test]
async fn a_connection_that_takes_nothing_is_closed_after_the_limit() {
    let plays = [(); 10].map(|()| Play::new().head_sse().flood(event()));
    let upstream = Upstream::start(plays).await;
    let proxy = Proxy::before(upstream.addr(), &["--unread-timeout=300ms"]).await;
    proxy.see("/streams").await;
    let before = descriptors(&proxy);
    let mut clients = Vec::new();
    for _ in 0..10 {
        clients.push(asleep(Wire::H1, &proxy).await);
    }
    for ending in proxy.endings(10).await {
        assert_eq!(
            (&ending["outcome"], &ending["reason"]),
            (&"timed_out".into(), &"unread".into())
        );
    }
    let deadline = Instant::now() + LIMIT;
    while descriptors(&proxy) > before {
        assert!(Instant::now() < deadline, "{} were {before}", descriptors(&proxy));
        sleep(Duration::from_millis(50)).await;
    }
    for client in clients {
        let Asleep::H1(mut client) = client else { unreachable!() };
        assert_ne!(client.read_to_end(LIMIT).await.how, How::TimedOut);
    }
}

#[tokio::test]
async fn a_client_that_reads_slowly_but_steadily_is_read_for() {
    let upstream = Upstream::start([Play::new().head_sse().flood(event())]).await;
    // Longer than it takes the client to read what hyper holds at most.
    let proxy = Proxy::before(upstream.addr(), &["--unread-timeout=4s"]).await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(16 * 1024).unwrap();
    let mut client = socket.connect(proxy.addr).await.unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let begin = Instant::now();
    for tick in 1..=60 {
        client.read_exact(&mut [0; 4000]).await.unwrap();
        sleep_until(begin + Duration::from_millis(100) * tick).await;
    }
    assert_eq!(proxy.see("/endings").await, serde_json::json!([]));
}
