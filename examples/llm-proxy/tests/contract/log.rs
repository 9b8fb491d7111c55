//! The log: one line for each exchange, that says what its ending says.

use serde_json::{Value, json};
use testkit::{H1, Play, Upstream};
use tokio::{net::TcpListener, time::sleep};

use crate::{
    client::{Client, WIRES, whole},
    common::{LIMIT, Proxy},
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
