//! The log: one line for each exchange, that says what its ending says.

use serde_json::{Value, json};
use testkit::{Gate, H1, Play, Upstream};
use tokio::{io::AsyncReadExt, net::TcpListener, task::JoinSet, time::sleep};

use crate::{
    client::{Client, WIRES, Wire, whole},
    common::{LIMIT, Proxy},
    metrics,
    shutdown::{exit, signal},
};

/// The only line that tells of this exchange's end.
async fn line(proxy: &Proxy, id: &str) -> String {
    let lines = || {
        let log = proxy.stderr.lock().unwrap();
        let own = |line: &&String| line.contains("exchange ended") && line.contains(id);
        log.iter().filter(own).cloned().collect::<Vec<_>>()
    };
    for _ in 0..500 {
        if !lines().is_empty() {
            break;
        }
        sleep(LIMIT / 1000).await;
    }
    let [line] = &lines()[..] else { panic!("{id}: {:?}", lines()) };
    line.clone()
}

/// Checks that the line says what the ending says.
async fn agrees(proxy: &Proxy, ending: &Value) -> String {
    let line = line(proxy, ending["id"].as_str().unwrap()).await;
    let names = [
        "method",
        "path",
        "outcome",
        "reason",
        "status",
        "bytes",
        "frames",
        "head_ms",
        "first_frame_ms",
        "elapsed_ms",
    ];
    for name in names {
        let quoted = ["outcome", "reason"].contains(&name);
        match &ending[name] {
            Value::Null => assert!(!line.contains(&format!(" {name}=")), "{name}: {line}"),
            Value::String(text) if !quoted => {
                assert!(line.contains(&format!(" {name}={text} ")), "{name}: {line}");
            }
            value => {
                let said = format!("{line} ").contains(&format!(" {name}={value} "));
                assert!(said, "{name}={value}: {line}");
            }
        }
    }
    line
}

#[tokio::test]
async fn an_answer_of_the_upstreams_is_logged_with_its_ids() {
    for wire in WIRES {
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\
                    server: cloudflare\r\nset-cookie: secret=1\r\ncf-ray: 8f1-FRA\r\nx-request-id: req_7\r\n\r\n";
        let play = Play::new().send(head).chunk("data: 1\n\n").last_chunk();
        let upstream = Upstream::start([play]).await;
        let proxy = Proxy::before(upstream.addr(), &[]).await;
        let mut client = Client::get(wire, &proxy, "/v1?key=secret").await;
        client.rest().await;
        let line = agrees(&proxy, &proxy.ending().await).await;
        let headers = "headers=\"cf-ray=8f1-FRA; x-request-id=req_7; server=cloudflare\"";
        assert!(line.contains(headers), "{line}");
        assert!(!line.contains("secret"), "{line}");
    }
}

#[tokio::test]
async fn answers_of_ours_are_logged_as_what_the_client_got() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let refusing = listener.local_addr().unwrap();
    drop(listener);
    let upstream = Upstream::start([Play::new().stall()]).await;
    for (addr, options, status) in
        [(refusing, [].as_slice(), 502), (upstream.addr(), &["--head-timeout=100ms"], 504)]
    {
        let proxy = Proxy::before(addr, options).await;
        let mut client = H1::connect(proxy.addr).await.unwrap();
        client.get("/").await.unwrap();
        assert_eq!(whole(&mut client).await.0.status(), Some(status));
        let ending = proxy.ending().await;
        assert_eq!((&ending["status"], &ending["bytes"]), (&json!(status), &json!(0)));
        agrees(&proxy, &ending).await;
    }
    let proxy = Proxy::before(upstream.addr(), &[]).await;
    let mut client = H1::connect(proxy.addr).await.unwrap();
    client.get("/").await.unwrap();
    let id = proxy.stream(|_| true).await["id"].as_str().unwrap().to_owned();
    proxy.abort(&id, "?reason=stop").await;
    assert_eq!(whole(&mut client).await.0.status(), Some(503));
    agrees(&proxy, &proxy.ending().await).await;
}

/// Issue 10 C6: with a pipe that nobody read, no answer came after 306 requests, and no signal was heard.
#[tokio::test]
async fn a_log_that_nobody_reads_holds_nobody_up() {
    const CLIENTS: usize = 10;
    const REQUESTS: usize = 500;
    let more = Gate::new();
    let stream =
        Play::new().head_sse().chunk("data: 1\n\n").wait(&more).chunk("data: 2\n\n").stall();
    let ok =
        Play::new().send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok");
    let upstream = Upstream::start([stream, ok]).await;
    let address = format!("--upstream=http://{}", upstream.addr());
    let options = ["--listen=127.0.0.1:0", "--admin=127.0.0.1:0", "--grace=100ms", &address];
    let mut proxy = Proxy::with_unread_log(&options).await;
    let mut live = Client::get(Wire::H1, &proxy, "/live").await;
    live.read_until("data: 1\n\n").await;

    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let addr = proxy.addr;
        clients.spawn(async move {
            let mut client = H1::connect(addr).await.unwrap();
            let path = format!("/{}", "x".repeat(500));
            for _ in 0..REQUESTS {
                client.get(&path).await.unwrap();
                client.read_until(|bytes| bytes.ends_with(b"\r\n\r\nok"), LIMIT).await.unwrap();
                client.take();
            }
        });
    }
    clients.join_all().await;
    more.open();
    live.read_until("data: 2\n\n").await;
    let dropped = metrics::value(&proxy, "llm_proxy_log_lines_dropped_total").await;
    assert!(dropped > 0.0 && dropped < (CLIENTS * REQUESTS) as f64, "{dropped}");

    let mut log = proxy.child.stderr.take().unwrap();
    signal(&proxy, "TERM");
    assert_eq!(exit(&mut proxy).await, Some(0));
    let mut text = String::new();
    log.read_to_string(&mut text).await.unwrap();
    assert!(text.contains("exchange ended"));
}

/// Issue 10 C6: a client could end a line, or turn a terminal around.
#[tokio::test]
async fn what_a_client_chose_stays_in_its_line_and_is_what_it_looks_like() {
    let upstream =
        Upstream::start([Play::new().send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")]).await;
    let proxy = Proxy::before(upstream.addr(), &[]).await;
    let path = "/a\u{85}b\u{9b}c\u{2028}d\u{202e}e";
    let client = Client::send(&proxy, format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n")).await;
    let line = line(&proxy, &client.id).await;
    let said = r"path=/a\u{85}b\u{9b}c\u{2028}d\u{202e}e ";
    assert!(line.contains(said), "{line}");
}
