//! `--cors`: pages of other origins, on answers of the upstream's, on early heads, and on our own errors.

use std::process::Command;

use serde_json::json;
use testkit::{H1, H2, Head, Play, Upstream};
use tokio::net::TcpListener;

use crate::{
    client::{says, whole},
    common::{LIMIT, Proxy},
};

const PAGE: (&str, &str) = ("origin", "https://chat.example");

/// The head of an answer to this request over HTTP/1.
async fn head_of(proxy: &Proxy, request: &str) -> Head {
    let mut client = H1::connect(proxy.addr).await.unwrap();
    client.send(request).await.unwrap();
    client.read_head(LIMIT).await.unwrap()
}

const PREFLIGHT: &str = "OPTIONS /v1/messages HTTP/1.1\r\nhost: x\r\norigin: https://chat.example\r\n\
    access-control-request-method: POST\r\naccess-control-request-headers: authorization\r\n\r\n";

#[tokio::test]
async fn a_preflight_is_answered_without_the_upstream_and_is_no_exchange() {
    let upstream = Upstream::start([Play::new().stall()]).await;
    for (options, origin) in [
        (&["--cors=*"][..], "*"),
        (&["--cors=https://other.example", "--cors=https://chat.example"], PAGE.1),
        (&["--cors=https://chat.example", "--layers=none"], PAGE.1),
    ] {
        let proxy = Proxy::before(upstream.addr(), options).await;
        let head = head_of(&proxy, PREFLIGHT).await;
        assert_eq!(head.status(), Some(200), "{options:?}");
        assert_eq!(head.header("access-control-allow-origin"), Some(origin), "{options:?}");
        assert_eq!(head.header("access-control-allow-methods"), Some("POST"));
        assert_eq!(head.header("access-control-allow-headers"), Some("authorization"));
        assert_eq!(head.header("content-length"), Some("0"));

        let mut client = H2::connect(proxy.addr).await.unwrap();
        let asked = [PAGE, ("access-control-request-method", "POST")];
        let (head, _) = client.request("OPTIONS", "/v1/messages", &asked).await.unwrap();
        assert_eq!(head.headers["access-control-allow-origin"], origin);
        assert_eq!(proxy.see("/endings").await, json!([]));
    }
    assert!(upstream.conns().is_empty(), "a preflight went on");
}

#[tokio::test]
async fn every_response_says_it_once_and_exposes_the_exchange() {
    let theirs = "HTTP/1.1 200 OK\r\naccess-control-allow-origin: https://theirs.example\r\n\
        access-control-allow-origin: *\r\naccess-control-expose-headers: x-theirs\r\n\
        access-control-allow-credentials: true\r\ncontent-length: 2\r\n\r\nok";
    let upstream = Upstream::start([Play::new().send(theirs)]).await;
    let proxy = Proxy::before(upstream.addr(), &["--cors=https://chat.example"]).await;
    let request = "GET / HTTP/1.1\r\nhost: x\r\norigin: https://chat.example\r\n\r\n";
    let head = head_of(&proxy, request).await;
    assert_eq!(head.header("access-control-allow-origin"), Some(PAGE.1));
    assert_eq!(head.as_str().matches("access-control-allow-origin").count(), 1, "{head:?}");
    assert_eq!(head.as_str().matches("access-control-expose-headers").count(), 1, "{head:?}");
    assert_eq!(head.header("access-control-expose-headers"), Some("x-exchange-id,*"));
    assert_eq!(head.header("access-control-allow-credentials"), None);
    assert!(head.header("x-exchange-id").is_some());
    proxy.ending().await;

    // Whom we do not let in, the upstream does not either.
    let request = "GET / HTTP/1.1\r\nhost: x\r\norigin: https://else.example\r\n\r\n";
    assert_eq!(head_of(&proxy, request).await.header("access-control-allow-origin"), None);
}

#[tokio::test]
async fn our_own_errors_and_early_heads_say_it_too() {
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let proxy = Proxy::before(nobody, &["--cors=*"]).await;
    let mut client = H1::connect(proxy.addr).await.unwrap();
    client.get_with("/", &[PAGE]).await.unwrap();
    let (head, _) = whole(&mut client).await;
    assert_eq!(head.status(), Some(502));
    assert_eq!(head.header("access-control-allow-origin"), Some("*"));
    let mut client = H2::connect(proxy.addr).await.unwrap();
    let (head, _) = client.request("GET", "/", &[PAGE]).await.unwrap();
    assert_eq!(head.status.as_u16(), 502);
    assert_eq!(head.headers["access-control-allow-origin"], "*");

    let upstream = Upstream::start([Play::new().stall()]).await;
    let options = ["--cors=*", "--early-head=50ms"];
    let proxy = Proxy::before(upstream.addr(), &options).await;
    let mut client = H1::connect(proxy.addr).await.unwrap();
    client.get_with("/", &[PAGE, ("accept", "text/event-stream")]).await.unwrap();
    let head = client.read_head(LIMIT).await.unwrap();
    assert_eq!(head.status(), Some(200));
    assert_eq!(head.header("access-control-allow-origin"), Some("*"));
}

#[tokio::test]
async fn without_the_option_all_of_it_is_the_upstreams_affair() {
    let theirs =
        "HTTP/1.1 204 No Content\r\naccess-control-allow-origin: https://theirs.example\r\n\r\n";
    let upstream = Upstream::start([Play::new().send(theirs)]).await;
    let proxy = Proxy::before(upstream.addr(), &[]).await;
    let head = head_of(&proxy, PREFLIGHT).await;
    assert_eq!(head.status(), Some(204));
    assert_eq!(head.header("access-control-allow-origin"), Some("https://theirs.example"));
    assert!(upstream.request(0, LIMIT).await.start_line().starts_with("OPTIONS /v1/messages "));
    says(&proxy.ending().await, [("method", json!("OPTIONS")), ("status", json!(204))]);
}

#[test]
fn an_origin_that_is_none_is_refused_by_name() {
    for origin in ["", "chat.example", "https://chat.example/", "https://a@chat.example", "null"] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_llm-proxy"));
        let output = command.arg(format!("--cors={origin}")).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{origin}");
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(told.contains("--cors"), "{origin}: {told}");
    }
}
