//! What the proxy says when it starts, and what it refuses.

use std::process::{Command, Output};

use testkit::{H1, Play, Upstream, dechunk};
use tokio::time::{sleep, timeout};

use crate::{
    client::{Client, End, chat, post},
    common::{LIMIT, Proxy},
};

/// Runs it to its end, which is at once.
fn run(options: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_llm-proxy")).args(options).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[tokio::test]
async fn two_lines_on_stdout_tell_where_it_listens_and_no_more() {
    let mut proxy = Proxy::start(&[]).await;
    assert!(proxy.addr.ip().is_loopback() && proxy.admin.ip().is_loopback());
    assert!(proxy.addr.port() != 0 && proxy.admin.port() != 0 && proxy.addr != proxy.admin);
    assert_eq!(Client::send(&proxy, chat("sim-words=1")).await.rest().await.1, End::Clean);
    proxy.ending().await;
    proxy.child.start_kill().unwrap();
    assert_eq!(timeout(LIMIT, proxy.stdout.next_line()).await.unwrap().unwrap(), None);
}

/// The lines of stderr that are no log.
fn told(proxy: &Proxy) -> Vec<String> {
    let lines = proxy.stderr.lock().unwrap().clone();
    lines.into_iter().filter(|line| line.starts_with("curl ") || line.contains("://")).collect()
}

#[tokio::test]
async fn with_the_built_in_upstream_two_lines_to_paste_are_on_stderr() {
    let proxy = Proxy::start(&[]).await;
    for _ in 0..500 {
        if told(&proxy).len() >= 2 {
            break;
        }
        sleep(LIMIT / 1000).await;
    }
    let [curl, page] = &told(&proxy)[..] else { panic!("{:?}", told(&proxy)) };
    assert!(page.contains(&format!("http://{}/", proxy.admin)), "{page}");

    // What a shell would make of the first line.
    let words: Vec<&str> = curl.split('\'').collect();
    let [command, header, _, body, ""] = words[..] else { panic!("{curl}") };
    let url = command.strip_prefix("curl -N ").unwrap().strip_suffix(" -H ").unwrap();
    let path = url.strip_prefix(&format!("http://{}", proxy.addr)).unwrap();
    assert_eq!(header, "content-type: application/json");
    let mut client = Client::send(&proxy, post(path, &serde_json::from_str(body).unwrap())).await;
    assert_eq!(client.status, 200);
    let (answer, end) = client.rest().await;
    assert!(answer.ends_with("data: [DONE]\n\n"), "{answer}");
    assert_eq!(end, End::Clean);
}

#[tokio::test]
async fn with_an_upstream_of_its_own_there_is_nothing_to_paste() {
    let upstream = Upstream::start([Play::new().head_sse().chunk("x").last_chunk()]).await;
    let proxy = Proxy::before(upstream.addr(), &[]).await;
    let mut client = Client::send(&proxy, "GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
    client.rest().await;
    let id = proxy.ending().await["id"].as_str().unwrap().to_owned();
    // The log of the ending comes later than anything that is said at the start.
    for _ in 0..500 {
        if proxy.stderr.lock().unwrap().iter().any(|line| line.contains(&id)) {
            break;
        }
        sleep(LIMIT / 1000).await;
    }
    assert!(proxy.stderr.lock().unwrap().iter().any(|line| line.contains(&id)));
    assert_eq!(told(&proxy), Vec::<String>::new());
}

#[test]
fn help_explains_every_option_with_its_default() {
    let output = run(&["--help"]);
    assert_eq!(output.status.code(), Some(0));
    let help = text(&output.stdout);
    for (option, default) in [
        ("--listen <ADDR>", "127.0.0.1:8080"),
        ("--admin <ADDR>", "127.0.0.1:8081"),
        ("--admin-token <T>", "none"),
        ("--admin-host <NAME>", "none"),
        ("--upstream <URL>", "a simulated LLM inside this process"),
        ("--keepalive <D>", "15s"),
        ("--head-timeout <D>", "20m"),
        ("--upload-timeout <D>", "60s"),
        ("--first-frame-timeout <D>", "5m"),
        ("--idle-timeout <D>", "10m"),
        ("--total-timeout <D>", "off"),
        ("--unread-timeout <D>", "60s"),
        ("--early-head <D>", "off"),
        ("--drain <D>", "off"),
        ("--drain-bytes <N>", "1MiB"),
        ("--drain-streams <N>", "100"),
        ("--grace <D>", "5s"),
        ("--capture <N>", "1MiB"),
        ("--capture-total <N>", "256MiB"),
        ("--replay <D>", "off"),
        ("--replay-path <PREFIX>", "none"),
        ("--replay-ignore <NAME>", "none"),
        ("--coalesce <N>", "16KiB"),
        ("--connection-idle <D>", "620s"),
        ("--upstream-idle <D>", "4s"),
        ("--upload-total <N>", "256MiB"),
        ("--ledger <PATH>", "in memory"),
        ("--layers <WHICH>", "all"),
    ] {
        let (_, rest) =
            help.split_once(&format!(" {option}\n")).unwrap_or_else(|| panic!("{option}"));
        let explained = rest.split("\n      --").next().unwrap();
        assert!(explained.contains(&format!("[default: {default}")), "{option}: {explained}");
        assert!(explained.trim().len() > default.len() + 30, "{option} is not explained");
    }
    for word in ["words=N", "gap=D", "first=D", "stall=N", "fail=N", "off"] {
        assert!(help.contains(word), "{word}");
    }
}

#[test]
fn a_bad_value_is_refused_with_code_2_by_the_name_of_its_option() {
    for (option, value) in [
        ("--listen", "8080"),
        ("--listen", "127.0.0.1:99999"),
        ("--admin", "localhost"),
        ("--admin-token", ""),
        ("--admin-host", ""),
        ("--admin-host", "http://admin.example"),
        ("--admin-host", "admin.example:443"),
        ("--upstream", "127.0.0.1:8000"),
        ("--upstream", "ftp://127.0.0.1"),
        ("--upstream", "http://"),
        ("--keepalive", "15"),
        ("--head-timeout", "0s"),
        ("--upload-timeout", "0s"),
        ("--first-frame-timeout", "0s"),
        ("--idle-timeout", "0ms"),
        ("--total-timeout", "1"),
        ("--unread-timeout", "0s"),
        ("--early-head", "0s"),
        ("--drain", "0s"),
        ("--drain-bytes", "1MB"),
        ("--drain-streams", "many"),
        ("--connection-idle", "0s"),
        ("--connection-idle", "620"),
        ("--upstream-idle", "-4s"),
        ("--upload-total", "256MB"),
        ("--grace", "5"),
        ("--keepalive", "0s"),
        ("--keepalive", "-1s"),
        ("--keepalive", "soon"),
        ("--capture", "1MB"),
        ("--capture", "-1"),
        ("--capture-total", "much"),
        ("--capture-total", "99999999999999999999GiB"),
        ("--replay", "60"),
        ("--replay-path", ""),
        ("--replay-path", "v1/ask"),
        ("--replay-path", "/v1/ask?x=y"),
        ("--replay-path", "/v1/ask#x"),
        ("--replay-path", "/v1/a sk"),
        ("--replay-path", "http://upstream/v1/ask"),
        ("--replay-ignore", ""),
        ("--replay-ignore", "x-forwarded for"),
        ("--replay-ignore", "x-real-ip:"),
        ("--replay-ignore", "x-real-ip,forwarded"),
        ("--coalesce", "16KB"),
        ("--coalesce", "always"),
        ("--layers", "some"),
    ] {
        let output = run(&[&format!("{option}={value}")]);
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{option} {value}: {message}");
        assert!(message.contains(option), "{option} {value}: {message}");
        assert_eq!(text(&output.stdout), "");
    }
    let output = run(&["--no-such-option"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("--no-such-option"));
}

#[tokio::test]
async fn an_admin_listener_for_others_than_this_machine_needs_a_token() {
    for open in ["--admin=0.0.0.0:0", "--admin=[::]:0", "--admin=192.0.2.1:0"] {
        let output = run(&[open]);
        assert_eq!(output.status.code(), Some(2), "{open}");
        let message = text(&output.stderr);
        assert!(message.contains("--admin ") && message.contains("--admin-token"), "{message}");
    }
    let options = ["--listen=127.0.0.1:0", "--admin=0.0.0.0:0", "--admin-token=s3cret"];
    let mut proxy = Proxy::start_with(&options).await;
    assert!(proxy.admin.ip().is_unspecified());
    proxy.admin.set_ip(proxy.addr.ip());
    assert_eq!(proxy.ask_admin("GET", "/streams", "").await.1, 401);
    let token = "authorization: Bearer s3cret\r\n";
    assert_eq!(proxy.ask_admin("GET", "/streams", token).await.1, 200);
}

#[tokio::test]
async fn an_address_that_is_taken_is_told_by_the_name_of_its_option() {
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    for (option, other) in [("--listen", "--admin"), ("--admin", "--listen")] {
        let output = run(&[&format!("{option}={taken}"), &format!("{other}=127.0.0.1:0")]);
        assert_eq!(output.status.code(), Some(1), "{option}");
        let message = text(&output.stderr);
        assert!(message.contains(&format!("{option} {taken}: ")), "{message}");
        assert!(!message.contains(other), "{message}");
    }
}

#[tokio::test]
async fn without_layers_the_answer_is_the_upstreams_alone() {
    let upstream = Upstream::start([Play::new().head_sse().chunk("data: tw").fin()]).await;
    let proxy = Proxy::before(upstream.addr(), &["--layers=none"]).await;
    let mut client = H1::connect(proxy.addr).await.unwrap();
    client.get("/").await.unwrap();
    let head = client.read_head(LIMIT).await.unwrap();
    assert_eq!(head.status(), Some(200));
    for ours in ["x-exchange-id", "x-accel-buffering", "cache-control"] {
        assert_eq!(head.header(ours), None);
    }
    let end = client.read_to_end(LIMIT).await;
    let body = dechunk(&end.bytes);
    assert!(b"data: tw".starts_with(&body.body), "{end:?}");
    assert!(!body.complete);
    assert_eq!(proxy.see("/endings").await, serde_json::json!([]));
}
