//! SIGINT and SIGTERM: live streams are aborted, told so, and accounted for; then the process ends.

use std::process::Command;

use serde_json::{Value, json};
use testkit::{H1, H2, Head, Play, Upstream};
use tokio::{
    net::TcpStream,
    time::{Instant, timeout},
};

use crate::{
    client::{Client, End, WIRES, chat, error_event},
    common::{LIMIT, Proxy},
};

fn signal(proxy: &Proxy, name: &str) {
    let kill = format!("kill -{name} {}", proxy.child.id().unwrap());
    assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
}

/// Waits for its end; tells the exit code.
async fn exit(proxy: &mut Proxy) -> Option<i32> {
    timeout(LIMIT, proxy.child.wait()).await.expect("it does not end").unwrap().code()
}

/// How often the log tells of an ending with this outcome.
fn logged(proxy: &Proxy, outcome: &str) -> usize {
    let log = proxy.stderr.lock().unwrap();
    log.iter().filter(|line| line.contains(&format!("outcome=\"{outcome}\""))).count()
}

#[tokio::test]
async fn a_live_stream_is_told_of_the_shutdown_and_the_process_ends_well() {
    for name in ["INT", "TERM"] {
        for wire in WIRES {
            let play = Play::new().head_sse().chunk("data: 1\n\ndata: tw").stall();
            let upstream = Upstream::start([play]).await;
            let mut proxy = Proxy::before(upstream.addr(), &[]).await;
            let mut client = Client::get(wire, &proxy, "/").await;
            client.read_until("data: 1\n\n").await;
            signal(&proxy, name);
            let last = error_event("aborted", "shutdown", "shutdown");
            assert_eq!(client.rest().await, (last, End::Clean), "{name} {wire:?}");
            upstream.closed(0, LIMIT).await;
            drop(client);
            assert_eq!(exit(&mut proxy).await, Some(0), "{name} {wire:?}");
            TcpStream::connect(proxy.addr).await.unwrap_err();
        }
    }
}

#[tokio::test]
async fn whoever_still_waits_for_a_head_is_answered_503() {
    let upstream = Upstream::start([Play::new().stall()]).await;
    let mut proxy = Proxy::before(upstream.addr(), &[]).await;
    let mut client = H1::connect(proxy.addr).await.unwrap();
    client.get("/").await.unwrap();
    upstream.request(0, LIMIT).await;
    signal(&proxy, "TERM");
    assert_eq!(client.read_head(LIMIT).await.as_ref().ok().and_then(Head::status), Some(503));
    let body = client.read_to_end(LIMIT).await.bytes;
    let error = json!({"type": "aborted", "message": "shutdown", "code": "shutdown"});
    assert_eq!(
        serde_json::from_slice::<Value>(&body).unwrap(),
        json!({"type": "error", "error": error})
    );
    assert_eq!(exit(&mut proxy).await, Some(0));
}

#[tokio::test]
async fn every_stream_is_accounted_for_before_the_process_ends() {
    let mut proxy = Proxy::start(&[]).await;
    let mut clients = Vec::new();
    for _ in 0..20 {
        clients.push(Client::send(&proxy, chat("sim-stall=1")).await);
    }
    let mut whole = Client::send(&proxy, chat("sim-words=1")).await;
    whole.rest().await;
    signal(&proxy, "INT");
    for client in &mut clients {
        let (last, end) = client.rest().await;
        assert!(last.ends_with(&error_event("aborted", "shutdown", "shutdown")), "{last}");
        assert_eq!(end, End::Clean);
    }
    assert_eq!(exit(&mut proxy).await, Some(0));
    // Its log is read by a task of its own.
    for _ in 0..100 {
        if logged(&proxy, "aborted") >= 20 {
            break;
        }
        tokio::time::sleep(LIMIT / 1000).await;
    }
    assert_eq!((logged(&proxy, "aborted"), logged(&proxy, "completed")), (20, 1));
}

#[tokio::test]
async fn idle_connections_and_clients_that_do_not_read_hold_nothing_up_for_long() {
    let event = format!("data: {}\n\n", "x".repeat(992));
    let upstream = Upstream::start([Play::new().head_sse().flood(event)]).await;
    let mut proxy = Proxy::before(upstream.addr(), &[]).await;
    let _idle = [H1::connect(proxy.addr).await.unwrap(), H1::connect(proxy.admin).await.unwrap()];
    let _idle_h2 = H2::connect(proxy.addr).await.unwrap();
    let mut asleep = H1::connect_with_small_buffers(proxy.addr).await.unwrap();
    asleep.get("/").await.unwrap();
    proxy.blocked().await;
    let signalled = Instant::now();
    signal(&proxy, "TERM");
    upstream.closed(0, LIMIT).await;
    assert_eq!(exit(&mut proxy).await, Some(0));
    assert!(signalled.elapsed() < LIMIT, "{:?}", signalled.elapsed());
}

#[tokio::test]
async fn with_nobody_there_it_ends_at_once() {
    let mut proxy = Proxy::start(&[]).await;
    signal(&proxy, "TERM");
    assert_eq!(exit(&mut proxy).await, Some(0));
}
