//! SIGINT and SIGTERM: streams may finish, those that do not are aborted, told so, and accounted for; then the process ends.

use std::{process::Command, time::Duration};

use serde_json::{Value, json};
use testkit::{Gate, H1, H2, Head, How, Play, Upstream, dechunk};
use tokio::{
    net::TcpStream,
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use crate::{
    client::{Client, End, WIRES, Wire, chat, error_event},
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

/// Waits until the log, which a task of its own reads, tells of so many endings with this outcome.
async fn logged(proxy: &Proxy, outcome: &str, count: usize) {
    let told = || {
        let log = proxy.stderr.lock().unwrap();
        log.iter().filter(|line| line.contains(&format!("outcome=\"{outcome}\""))).count()
    };
    for _ in 0..500 {
        if told() >= count {
            break;
        }
        sleep(LIMIT / 1000).await;
    }
    assert_eq!(told(), count, "{outcome}");
}

/// Waits until the proxy has heard the signal: it lets nobody in any more.
async fn heard(proxy: &Proxy) {
    let refusing = async {
        while TcpStream::connect(proxy.addr).await.is_ok() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(LIMIT, refusing).await.expect("it still accepts");
}

/// The last event of a stream that does not finish in time.
fn told() -> String {
    error_event("aborted", "shutdown", "shutdown")
}

#[tokio::test]
async fn a_stream_that_finishes_within_the_grace_is_complete() {
    for name in ["INT", "TERM"] {
        for wire in WIRES {
            let gate = Gate::new();
            let play = Play::new().head_sse().chunk("data: 1\n\n").wait(&gate);
            let upstream = Upstream::start([play.chunk("data: 2\n\n").last_chunk()]).await;
            let mut proxy = Proxy::before(upstream.addr(), &["--grace=1m"]).await;
            let mut client = Client::get(wire, &proxy, "/").await;
            client.read_until("data: 1\n\n").await;
            signal(&proxy, name);
            heard(&proxy).await;
            gate.open();
            assert_eq!(client.rest().await, ("data: 2\n\n".into(), End::Clean), "{name} {wire:?}");
            assert_eq!(exit(&mut proxy).await, Some(0), "{name} {wire:?}");
            logged(&proxy, "completed", 1).await;
        }
    }
}

#[tokio::test]
async fn a_stream_that_does_not_is_told_after_the_grace() {
    for (name, grace) in [("INT", 0), ("TERM", 300)] {
        for wire in WIRES {
            let play = Play::new().head_sse().chunk("data: 1\n\ndata: tw").stall();
            let upstream = Upstream::start([play]).await;
            let mut proxy = Proxy::before(upstream.addr(), &[&format!("--grace={grace}ms")]).await;
            let mut client = Client::get(wire, &proxy, "/").await;
            client.read_until("data: 1\n\n").await;
            let signalled = Instant::now();
            signal(&proxy, name);
            assert_eq!(client.rest().await, (told(), End::Clean), "{name} {wire:?}");
            assert!(signalled.elapsed() >= Duration::from_millis(grace));
            upstream.closed(0, LIMIT).await;
            // It waits for no client that has what it was told, though it stays connected.
            assert_eq!(exit(&mut proxy).await, Some(0), "{name} {wire:?}");
            assert!(signalled.elapsed() < Duration::from_millis(grace + 2000));
            logged(&proxy, "aborted", 1).await;
        }
    }
}

#[tokio::test]
async fn a_second_signal_ends_the_grace() {
    for (first, second) in [("INT", "INT"), ("TERM", "INT")] {
        let mut proxy = Proxy::start(&["--grace=off"]).await;
        let mut client = Client::send(&proxy, chat("sim-stall=1")).await;
        signal(&proxy, first);
        heard(&proxy).await;
        signal(&proxy, second);
        let (last, end) = client.rest().await;
        assert!(last.ends_with(&told()), "{last}");
        assert_eq!(end, End::Clean);
        assert_eq!(exit(&mut proxy).await, Some(0), "{first} {second}");
    }
}

#[tokio::test]
async fn in_the_grace_a_connection_closes_after_its_answer_and_the_admin_listener_stays() {
    let gate = Gate::new();
    let play = Play::new().head_sse().chunk("data: 1\n\n").wait(&gate).last_chunk();
    let upstream = Upstream::start([play]).await;
    let mut proxy = Proxy::before(upstream.addr(), &["--grace=1m"]).await;
    let idle = H1::connect(proxy.addr).await;
    let mut busy = H1::connect(proxy.addr).await.unwrap();
    busy.get("/").await.unwrap();
    busy.read_head(LIMIT).await.unwrap();
    signal(&proxy, "TERM");
    heard(&proxy).await;
    assert_ne!(idle.unwrap().read_to_end(LIMIT).await.how, How::TimedOut);
    assert_eq!(proxy.see("/streams").await.as_array().unwrap().len(), 1);
    gate.open();
    let end = busy.read_to_end(LIMIT).await;
    assert!(dechunk(&end.bytes).complete);
    assert_eq!(end.how, How::Fin);
    assert_eq!(exit(&mut proxy).await, Some(0));
}

#[tokio::test]
async fn whoever_still_waits_for_a_head_is_answered_503() {
    for wire in WIRES {
        let upstream = Upstream::start([Play::new().stall()]).await;
        let mut proxy = Proxy::before(upstream.addr(), &["--grace=100ms"]).await;
        let (status, body) = match wire {
            Wire::H1 => {
                let mut client = H1::connect(proxy.addr).await.unwrap();
                client.get("/").await.unwrap();
                upstream.request(0, LIMIT).await;
                signal(&proxy, "TERM");
                let head = client.read_head(LIMIT).await;
                // Another replica may well answer: nobody stopped this request.
                assert_eq!(head.as_ref().unwrap().header("x-should-retry"), None);
                (head.as_ref().ok().and_then(Head::status), client.read_to_end(LIMIT).await.bytes)
            }
            Wire::H2 => {
                let mut client = H2::connect(proxy.addr).await.unwrap();
                let call = client.start("GET", "/", &[]).await.unwrap();
                upstream.request(0, LIMIT).await;
                signal(&proxy, "TERM");
                let (head, mut body) = call.head(LIMIT).await.unwrap();
                (Some(head.status.as_u16()), body.rest(LIMIT).await.0)
            }
        };
        assert_eq!(status, Some(503), "{wire:?}");
        let error = json!({"type": "aborted", "message": "shutdown", "code": "shutdown"});
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body, json!({"type": "error", "error": error}));
        assert_eq!(exit(&mut proxy).await, Some(0));
        logged(&proxy, "aborted", 1).await;
    }
}

#[tokio::test]
async fn whoever_asks_when_the_grace_is_over_is_answered_503_and_accounted_for() {
    let mut proxy = Proxy::start(&["--grace=0ms"]).await;
    let mut client = H1::connect(proxy.addr).await.unwrap();
    // Who is in the middle of a request is not shut out.
    client.send("GET /v1/models HTTP/1.1\r\nhost: x\r\n").await.unwrap();
    sleep(Duration::from_millis(100)).await;
    signal(&proxy, "TERM");
    heard(&proxy).await;
    sleep(Duration::from_millis(100)).await;
    client.send("\r\n").await.unwrap();
    let head = client.read_head(LIMIT).await.unwrap();
    assert_eq!(head.status(), Some(503));
    assert_eq!(exit(&mut proxy).await, Some(0));
    logged(&proxy, "aborted", 1).await;
    let log = proxy.stderr.lock().unwrap().join("\n");
    let id = head.header("x-exchange-id").unwrap();
    let said = format!(
        "exchange ended exchange={id} method=GET path=/v1/models outcome=\"aborted\" \
         reason=\"shutdown\" status=503 bytes=0 frames=0 elapsed_ms="
    );
    assert!(log.contains(&said), "{said}: {log}");
}

#[tokio::test]
async fn every_stream_is_accounted_for_before_the_process_ends() {
    let mut proxy = Proxy::start(&["--grace=500ms"]).await;
    let mut clients = JoinSet::new();
    for n in 0..200 {
        let model = if n % 4 == 0 { "sim-words=1-first=100ms" } else { "sim-stall=1" };
        let mut client = Client::send(&proxy, chat(model)).await;
        clients.spawn(async move { (n, client.rest().await) });
    }
    signal(&proxy, "INT");
    for (n, (answer, end)) in clients.join_all().await {
        let last = if n % 4 == 0 { "data: [DONE]\n\n".to_owned() } else { told() };
        assert!(answer.ends_with(&last), "{n}: {answer}");
        assert_eq!(end, End::Clean);
    }
    assert_eq!(exit(&mut proxy).await, Some(0));
    logged(&proxy, "completed", 50).await;
    logged(&proxy, "aborted", 150).await;
}

#[tokio::test]
async fn a_drain_is_a_stream_as_any_other() {
    for (grace, end) in [("1m", "completed"), ("200ms", "aborted")] {
        let gate = Gate::new();
        let play = Play::new().head_sse().chunk("data: 1\n\n").wait(&gate).last_chunk();
        let upstream = Upstream::start([play]).await;
        let options = ["--drain=1h", &format!("--grace={grace}")];
        let mut proxy = Proxy::before(upstream.addr(), &options).await;
        let mut client = Client::get(Wire::H1, &proxy, "/").await;
        client.read_until("data: 1\n\n").await;
        client.leave().await;
        proxy.stream(|stream| stream["draining"] == true).await;
        signal(&proxy, "TERM");
        if end == "completed" {
            heard(&proxy).await;
            sleep(Duration::from_millis(100)).await;
            assert_eq!(proxy.see("/streams").await.as_array().unwrap().len(), 1);
            gate.open();
        } else {
            upstream.closed(0, LIMIT).await;
        }
        assert_eq!(exit(&mut proxy).await, Some(0));
        logged(&proxy, "disconnected", 1).await;
        let log = proxy.stderr.lock().unwrap().join("\n");
        assert!(log.contains(&format!("drain_end=\"{end}\"")), "{log}");
    }
}

#[tokio::test]
async fn without_layers_a_stream_is_cut_after_the_grace() {
    let mut proxy = Proxy::start(&["--layers=none", "--grace=200ms"]).await;
    let mut client = H1::connect(proxy.addr).await.unwrap();
    client.send(chat("sim-stall=1")).await.unwrap();
    client.read_head(LIMIT).await.unwrap();
    signal(&proxy, "TERM");
    assert!(!dechunk(&client.read_to_end(LIMIT).await.bytes).complete);
    assert_eq!(exit(&mut proxy).await, Some(0));
}

#[tokio::test]
async fn idle_connections_and_clients_that_do_not_read_hold_nothing_up_for_long() {
    let event = format!("data: {}\n\n", "x".repeat(992));
    for wire in WIRES {
        let upstream = Upstream::start([Play::new().head_sse().flood(&event)]).await;
        let mut proxy = Proxy::before(upstream.addr(), &["--grace=200ms"]).await;
        let _idle =
            [H1::connect(proxy.addr).await.unwrap(), H1::connect(proxy.admin).await.unwrap()];
        let mut asleep = H1::connect_with_small_buffers(proxy.addr).await.unwrap();
        let mut idle_h2 = H2::connect(proxy.addr).await.unwrap();
        let mut unread = None;
        match wire {
            Wire::H1 => asleep.get("/").await.unwrap(),
            Wire::H2 => unread = Some(idle_h2.request("GET", "/", &[]).await.unwrap()),
        }
        proxy.blocked().await;
        let signalled = Instant::now();
        signal(&proxy, "TERM");
        upstream.closed(0, LIMIT).await;
        assert_eq!(exit(&mut proxy).await, Some(0), "{wire:?}");
        assert!(signalled.elapsed() < Duration::from_secs(4), "{:?}", signalled.elapsed());
        logged(&proxy, "aborted", 1).await;
        drop(unread);
    }
}

#[tokio::test]
async fn when_nothing_is_under_way_connections_hold_nothing_up() {
    for grace in ["20s", "off"] {
        let upstream = Upstream::start([Play::new().head_sse().flood("x".repeat(1000))]).await;
        let options = [&*format!("--grace={grace}"), "--unread-timeout=300ms"];
        let mut proxy = Proxy::before(upstream.addr(), &options).await;
        let _idle = H1::connect(proxy.addr).await.unwrap();
        let mut half_sent = H1::connect(proxy.addr).await.unwrap();
        half_sent.send("GET / HTT").await.unwrap();
        let mut asleep = H1::connect_with_small_buffers(proxy.addr).await.unwrap();
        asleep.get("/").await.unwrap();
        assert_eq!(proxy.ending().await["reason"], "unread");
        let signalled = Instant::now();
        signal(&proxy, "TERM");
        assert_eq!(exit(&mut proxy).await, Some(0), "{grace}");
        assert!(signalled.elapsed() < Duration::from_secs(4), "{:?}", signalled.elapsed());
    }
}

#[tokio::test]
async fn with_nobody_there_it_ends_at_once() {
    let mut proxy = Proxy::start(&["--grace=1m"]).await;
    signal(&proxy, "TERM");
    assert_eq!(exit(&mut proxy).await, Some(0));
}
