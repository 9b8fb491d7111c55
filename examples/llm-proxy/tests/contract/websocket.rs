//! WebSockets: forwarded, and an exchange as any other.

use std::{net::SocketAddr, time::Duration};

use futures_util::SinkExt;
use serde_json::{Value, json};
use testkit::{H1, H2, How, Play, Upstream};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::{Instant, sleep, timeout},
};
use tokio_stream::StreamExt;
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, accept_async, connect_async,
    tungstenite::{self, Message},
};

use crate::{
    client::{says, whole},
    common::{LIMIT, Proxy},
    shutdown::{exit, signal},
};

type Client = WebSocketStream<MaybeTlsStream<TcpStream>>;
type Server = WebSocketStream<TcpStream>;

/// An upstream that accepts WebSockets and does this with each.
async fn upstream<T>(serve: impl Fn(Server) -> T + Send + Sync + Copy + 'static) -> SocketAddr
where
    T: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move { serve(accept_async(stream).await.unwrap()).await });
        }
    });
    addr
}

/// Says again what it hears, until the client has enough.
async fn echo(mut socket: Server) {
    while let Some(Ok(message)) = socket.next().await {
        if message.is_close() {
            // What is left to say is said while it reads on.
            continue;
        }
        if socket.send(message).await.is_err() {
            return;
        }
    }
}

/// Hears, and says nothing.
async fn silent(mut socket: Server) {
    while let Some(Ok(_)) = socket.next().await {}
}

/// Says as much as it can.
async fn flood(mut socket: Server) {
    while socket.send(Message::binary(vec![7; 32 * 1024])).await.is_ok() {}
}

async fn connect(proxy: &Proxy) -> Client {
    let url = format!("ws://{}/v1/realtime?model=sim", proxy.addr);
    timeout(LIMIT, connect_async(url)).await.unwrap().unwrap().0
}

async fn hears(client: &mut Client) -> Option<Result<Message, tungstenite::Error>> {
    timeout(LIMIT, client.next()).await.expect("nothing is heard")
}

/// The live tunnel.
async fn open(proxy: &Proxy) -> Value {
    proxy.stream(|stream| stream["status"] == 101).await
}

async fn ends<const N: usize>(proxy: &Proxy, fields: [(&str, Value); N]) -> Value {
    let ending = proxy.ending().await;
    says(&ending, [("method", json!("GET")), ("status", json!(101)), ("usage", json!(null))]);
    says(&ending, fields);
    assert_eq!(proxy.see("/streams").await, json!([]));
    ending
}

#[tokio::test]
async fn messages_of_any_size_pass_both_ways_and_the_tunnel_is_listed_until_it_is_closed() {
    let proxy = Proxy::before(upstream(echo).await, &[]).await;
    let mut client = connect(&proxy).await;
    let large: Vec<u8> = (0..=255).cycle().take(4_000_000).collect();
    for message in [Message::text("hello"), Message::binary(large), Message::text("")] {
        client.send(message.clone()).await.unwrap();
        assert!(hears(&mut client).await.unwrap().unwrap() == message, "another message");
    }
    let stream = open(&proxy).await;
    says(&stream, [("method", json!("GET")), ("path", json!("/v1/realtime"))]);
    assert!(stream["bytes"].as_u64().unwrap() > 4_000_000, "{stream}");

    client.close(None).await.unwrap();
    while let Some(message) = hears(&mut client).await {
        assert!(message.unwrap().is_close());
    }
    let ending = ends(&proxy, [("outcome", json!("completed")), ("reason", json!(null))]).await;
    assert!(ending["bytes"].as_u64().unwrap() > 4_000_000, "{ending}");
    assert_eq!(
        (&ending["terminator"], &ending["capture_truncated"]),
        (&json!("none"), &json!(false))
    );
}

#[tokio::test]
async fn a_client_that_closes_and_does_not_wait_is_one_that_closed() {
    let proxy = Proxy::before(upstream(echo).await, &[]).await;
    let mut client = connect(&proxy).await;
    client.send(Message::text("bye")).await.unwrap();
    hears(&mut client).await.unwrap().unwrap();
    client.close(None).await.unwrap();
    let mut stream = client.into_inner();
    stream.shutdown().await.unwrap();
    ends(&proxy, [("outcome", json!("completed"))]).await;
}

/// Answers a Close frame, and leaves the connection to the other side.
async fn lingers(mut socket: Server) {
    while socket.next().await.is_some_and(|message| message.is_ok()) {}
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn a_client_that_closes_the_connection_behind_both_close_frames_is_one_that_closed() {
    let proxy = Proxy::before(upstream(lingers).await, &[]).await;
    let mut client = connect(&proxy).await;
    client.close(None).await.unwrap();
    assert!(hears(&mut client).await.unwrap().unwrap().is_close());
    drop(client);
    ends(&proxy, [("outcome", json!("completed"))]).await;
}

const ASKS: &str = "GET /socket HTTP/1.1\r\nhost: x\r\nconnection: keep-alive, Upgrade, HTTP2-Settings\r\n\
    upgrade: h2c, WebSocket\r\nhttp2-settings: AAMAAABkAAQAAP__\r\nsec-websocket-key: a2V5\r\n\
    sec-websocket-version: 13\r\nsec-websocket-protocol: realtime, secret\r\n\r\n";
const SWITCHES: &str = "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: WebSocket\r\n\
    sec-websocket-accept: YQ==\r\nkeep-alive: x\r\n\r\n";

#[tokio::test]
async fn only_the_websocket_of_an_upgrade_goes_on_with_all_that_belongs_to_it() {
    // What comes with the head is not lost.
    let play = Play::new().send(format!("{SWITCHES}first")).stall();
    let upstream = Upstream::start([play]).await;
    let proxy = Proxy::before(upstream.addr(), &[]).await;
    let mut client = H1::connect(proxy.addr).await.unwrap();
    client.send(ASKS).await.unwrap();
    let head = client.read_head(LIMIT).await.unwrap();
    assert_eq!(head.status(), Some(101));
    for (name, value) in [
        ("connection", Some("upgrade")),
        ("upgrade", Some("websocket")),
        ("sec-websocket-accept", Some("YQ==")),
        ("keep-alive", None),
        ("content-length", None),
        ("transfer-encoding", None),
    ] {
        assert_eq!(head.header(name), value, "{name}");
    }
    assert!(head.header("x-exchange-id").is_some());
    client.read_until(|bytes| bytes == b"first", LIMIT).await.unwrap();

    let asked = upstream.request(0, LIMIT).await;
    for (name, value) in [
        ("connection", Some("upgrade")),
        ("upgrade", Some("websocket")),
        ("sec-websocket-key", Some("a2V5")),
        ("sec-websocket-version", Some("13")),
        ("sec-websocket-protocol", Some("realtime, secret")),
        ("http2-settings", None),
        ("transfer-encoding", None),
    ] {
        assert_eq!(asked.header(name), value, "{name}");
    }
}

#[tokio::test]
async fn any_other_upgrade_is_not_passed_on() {
    for (upgrade, connection) in [
        ("h2c", "upgrade"),
        ("tls/1.2", "Upgrade"),
        ("websocket", "keep-alive"),
        ("x", "upgrade, x"),
    ] {
        let answer = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
        let upstream = Upstream::start([Play::new().send(answer)]).await;
        let proxy = Proxy::before(upstream.addr(), &[]).await;
        let mut client = H1::connect(proxy.addr).await.unwrap();
        let headers = [("connection", connection), ("upgrade", upgrade)];
        client.get_with("/", &headers).await.unwrap();
        assert_eq!(client.read_head(LIMIT).await.unwrap().status(), Some(200), "{upgrade}");
        let asked = upstream.request(0, LIMIT).await;
        assert_eq!(
            (asked.header("upgrade"), asked.header("connection")),
            (None, None),
            "{upgrade}"
        );
        assert_eq!(proxy.ending().await["status"], 200);
    }
}

#[tokio::test]
async fn an_upstream_that_refuses_is_an_ordinary_answer_and_the_connection_goes_on() {
    let refuses = "HTTP/1.1 401 Unauthorized\r\ncontent-length: 2\r\nx-why: key\r\n\r\nno";
    let upstream = Upstream::start([Play::new().send(refuses)]).await;
    let proxy = Proxy::before(upstream.addr(), &[]).await;
    let mut client = H1::connect(proxy.addr).await.unwrap();
    for n in 1..=2 {
        client.send(ASKS).await.unwrap();
        let head = client.read_head(LIMIT).await.unwrap();
        assert_eq!((head.status(), head.header("x-why")), (Some(401), Some("key")));
        client.read_until(|bytes| bytes == b"no", LIMIT).await.unwrap();
        client.take();
        says(
            &proxy.endings(n).await[0],
            [("status", json!(401)), ("outcome", json!("completed")), ("bytes", json!(2))],
        );
    }
}

#[tokio::test]
async fn an_h2c_upstream_answers_501_and_one_that_switches_to_something_else_502() {
    let proxy = Proxy::start(&["--upstream=h2c://127.0.0.1:1"]).await;
    let mut client = H1::connect(proxy.addr).await.unwrap();
    client.send(ASKS).await.unwrap();
    let (head, body) = whole(&mut client).await;
    assert_eq!(head.status(), Some(501));
    assert_eq!(body["type"], "error");
    assert_eq!(body["error"]["type"], "refused");
    says(&proxy.ending().await, [("status", json!(501)), ("outcome", json!("completed"))]);

    let switches =
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n";
    let upstream = Upstream::start([Play::new().send(switches).stall()]).await;
    let proxy = Proxy::before(upstream.addr(), &[]).await;
    let mut client = H1::connect(proxy.addr).await.unwrap();
    client.send(ASKS).await.unwrap();
    assert_eq!(whole(&mut client).await.0.status(), Some(502));
    says(&proxy.ending().await, [("status", json!(502)), ("outcome", json!("failed"))]);
    upstream.closed(0, LIMIT).await;
}

#[tokio::test]
async fn over_http2_there_is_no_upgrade() {
    let answer = "HTTP/1.1 426 Upgrade Required\r\ncontent-length: 0\r\n\r\n";
    let upstream = Upstream::start([Play::new().send(answer)]).await;
    let proxy = Proxy::before(upstream.addr(), &[]).await;
    let mut client = H2::connect(proxy.addr).await.unwrap();
    let asked = [("sec-websocket-key", "a2V5"), ("sec-websocket-version", "13")];
    let (head, _) = client.request("GET", "/", &asked).await.unwrap();
    assert_eq!(head.status.as_u16(), 426);
    assert_eq!(upstream.request(0, LIMIT).await.header("upgrade"), None);
}

#[tokio::test]
async fn a_client_that_reads_slowly_holds_the_upstream_back_and_loses_nothing() {
    let proxy = Proxy::before(upstream(flood).await, &[]).await;
    let mut client = connect(&proxy).await;
    let id = proxy.blocked().await;
    let stream = open(&proxy).await;
    assert_eq!(stream["id"], id);
    // What the kernel holds of one connection.
    assert!(stream["bytes"].as_u64().unwrap() < 8 * 1024 * 1024, "{stream}");
    let mut read = 0;
    while read < 16 * 1024 * 1024 {
        let message = hears(&mut client).await.unwrap().unwrap().into_data();
        assert!(message.iter().all(|byte| *byte == 7));
        read += message.len();
    }
}

#[tokio::test]
async fn an_abort_closes_both_sides_at_once_read_or_not() {
    for asleep in [false, true] {
        let mut released = Vec::new();
        for _ in 0..5 {
            let play = Play::new().send(SWITCHES);
            let play = if asleep { play.flood("x".repeat(1000)) } else { play.stall() };
            let upstream = Upstream::start([play]).await;
            let proxy = Proxy::before(upstream.addr(), &[]).await;
            let mut client = H1::connect_with_small_buffers(proxy.addr).await.unwrap();
            client.send(ASKS).await.unwrap();
            let id = if asleep {
                proxy.blocked().await
            } else {
                client.read_head(LIMIT).await.unwrap();
                open(&proxy).await["id"].as_str().unwrap().to_owned()
            };
            let target = format!("/streams/{id}?reason=stop");
            let (asked, status, _) = proxy.ask_admin("DELETE", &target, "").await;
            assert_eq!(status, 200);
            released.push(upstream.closed(0, LIMIT).await.duration_since(asked));
            assert_ne!(client.read_to_end(LIMIT).await.how, How::TimedOut);
            ends(&proxy, [("outcome", json!("aborted")), ("reason", json!("stop"))]).await;
            assert_eq!(proxy.abort(&id, "").await, (409, "finished".into()));
        }
        released.sort_unstable();
        assert!(released[2] < Duration::from_millis(50), "{asleep}: {released:?}");
    }
}

#[tokio::test]
async fn a_shutdown_lets_it_finish_within_the_grace_and_aborts_it_then() {
    let mut proxy = Proxy::before(upstream(echo).await, &["--grace=1m"]).await;
    let mut client = connect(&proxy).await;
    signal(&proxy, "TERM");
    for _ in 0..3 {
        sleep(Duration::from_millis(50)).await;
        client.send(Message::text("still here")).await.unwrap();
        assert_eq!(hears(&mut client).await.unwrap().unwrap(), Message::text("still here"));
    }
    client.close(None).await.unwrap();
    while hears(&mut client).await.is_some() {}
    drop(client);
    assert_eq!(exit(&mut proxy).await, Some(0));

    let file = std::env::temp_dir().join(format!("llm-proxy-websocket-{}.db", std::process::id()));
    let options = ["--grace=300ms", &format!("--ledger={}", file.display())];
    let mut proxy = Proxy::before(upstream(silent).await, &options).await;
    let mut client = connect(&proxy).await;
    open(&proxy).await;
    let asked = Instant::now();
    signal(&proxy, "TERM");
    assert!(!matches!(hears(&mut client).await, Some(Ok(_))), "a message");
    assert!(asked.elapsed() >= Duration::from_millis(290), "{:?}", asked.elapsed());
    assert_eq!(exit(&mut proxy).await, Some(0));
    let rows = rusqlite::Connection::open(&file).unwrap();
    let row = rows.query_row("SELECT outcome, reason, status FROM endings", [], |row| {
        Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get::<_, u16>(2)?))
    });
    assert_eq!(row.unwrap(), ("aborted".to_owned(), "shutdown".to_owned(), 101));
    std::fs::remove_file(&file).unwrap();
}

#[tokio::test]
async fn an_upstream_that_goes_has_completed_or_failed() {
    for (play, outcome) in [
        (Play::new().send(SWITCHES).send("bye").fin(), "completed"),
        (
            Play::new().send(SWITCHES).send("bye").sleep(Duration::from_millis(100)).reset(),
            "failed",
        ),
    ] {
        let upstream = Upstream::start([play]).await;
        let proxy = Proxy::before(upstream.addr(), &[]).await;
        let mut client = H1::connect(proxy.addr).await.unwrap();
        client.send(ASKS).await.unwrap();
        client.read_head(LIMIT).await.unwrap();
        let end = client.read_to_end(LIMIT).await;
        assert_eq!(end.bytes, b"bye", "{outcome}");
        assert_ne!(end.how, How::TimedOut);
        ends(&proxy, [("outcome", json!(outcome)), ("bytes", json!(3))]).await;
    }
}

#[tokio::test]
async fn a_client_that_goes_has_disconnected_whatever_the_upstream_does() {
    for reset in [false, true] {
        for floods in [false, true] {
            let addr = if floods { upstream(flood).await } else { upstream(silent).await };
            let proxy = Proxy::before(addr, &[]).await;
            let mut client = H1::connect(proxy.addr).await.unwrap();
            client.send(ASKS).await.unwrap();
            client.read_head(LIMIT).await.unwrap();
            open(&proxy).await;
            if reset {
                client.reset();
            } else {
                client.close().await;
            }
            ends(&proxy, [("outcome", json!("disconnected")), ("reason", json!(null))]).await;
        }
    }
}

#[tokio::test]
async fn a_side_that_ends_its_writing_gets_what_the_other_still_has_to_say() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = Proxy::before(listener.local_addr().unwrap(), &[]).await;
    let mut client = TcpStream::connect(proxy.addr).await.unwrap();
    // Some of it comes with the head.
    client.write_all(format!("{ASKS}early ").as_bytes()).await.unwrap();
    let (mut server, _) = timeout(LIMIT, listener.accept()).await.unwrap().unwrap();
    let mut head = [0; 4096];
    assert!(server.read(&mut head).await.unwrap() > 0);
    server.write_all(SWITCHES.as_bytes()).await.unwrap();
    assert!(client.read(&mut head).await.unwrap() > 0);

    client.write_all(b"question").await.unwrap();
    client.shutdown().await.unwrap();
    let mut asked = Vec::new();
    timeout(LIMIT, server.read_to_end(&mut asked)).await.unwrap().unwrap();
    assert_eq!(asked, b"early question");
    // It may think about that.
    sleep(Duration::from_millis(2500)).await;
    let long = vec![5; 1_000_000];
    let answers = async {
        server.write_all(&long).await.unwrap();
        server.shutdown().await.unwrap();
    };
    let mut answer = Vec::new();
    let (read, ()) =
        timeout(LIMIT, async { tokio::join!(client.read_to_end(&mut answer), answers) })
            .await
            .unwrap();
    read.unwrap();
    assert!(answer == long, "{} bytes", answer.len());
    ends(&proxy, [("outcome", json!("completed")), ("bytes", json!(1_000_000))]).await;
}

#[tokio::test]
async fn no_limit_but_the_total_one_ends_a_tunnel() {
    let options = [
        "--head-timeout=300ms",
        "--first-frame-timeout=300ms",
        "--idle-timeout=300ms",
        "--unread-timeout=300ms",
        "--keepalive=100ms",
        "--early-head=100ms",
        "--drain=1m",
        "--total-timeout=3s",
    ];
    let proxy = Proxy::before(upstream(echo).await, &options).await;
    let mut client = connect(&proxy).await;
    for _ in 0..2 {
        sleep(Duration::from_millis(900)).await;
        client.send(Message::text("there?")).await.unwrap();
        assert_eq!(hears(&mut client).await.unwrap().unwrap(), Message::text("there?"));
    }
    assert!(!matches!(hears(&mut client).await, Some(Ok(_))), "a message");
    ends(&proxy, [("outcome", json!("timed_out")), ("reason", json!("total"))]).await;
}

#[tokio::test]
async fn equal_requests_for_websockets_share_nothing() {
    let proxy = Proxy::before(upstream(echo).await, &["--replay=1m"]).await;
    let mut clients = [connect(&proxy).await, connect(&proxy).await];
    for (n, client) in clients.iter_mut().enumerate() {
        let own = Message::text(format!("client {n}"));
        client.send(own.clone()).await.unwrap();
        assert_eq!(hears(client).await.unwrap().unwrap(), own);
    }
    assert_eq!(proxy.see("/streams").await.as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn without_the_layers_it_is_forwarded_as_well() {
    let proxy = Proxy::before(upstream(echo).await, &["--layers=none"]).await;
    let mut client = connect(&proxy).await;
    client.send(Message::text("bare")).await.unwrap();
    assert_eq!(hears(&mut client).await.unwrap().unwrap(), Message::text("bare"));
    client.close(None).await.unwrap();
    while let Some(message) = hears(&mut client).await {
        assert!(message.unwrap().is_close());
    }
}

/// Whether the kernel's timer of keep-alive runs on a connection of the process, by its ports.
#[cfg(target_os = "linux")]
fn is_kept_alive(local: u16, remote: u16) -> bool {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let port = |address: &str| u16::from_str_radix(address.split(':').nth(1).unwrap(), 16).unwrap();
    let row = table
        .lines()
        .skip(1)
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .find(|row| port(row[1]) == local && port(row[2]) == remote && row[3] == "01");
    row.unwrap_or_else(|| panic!("no connection {local} {remote}"))[5].starts_with("02:")
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn both_sides_are_kept_alive_by_tcp() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = listener.local_addr().unwrap();
    let proxy = Proxy::before(upstream, &[]).await;
    let mut client = TcpStream::connect(proxy.addr).await.unwrap();
    client.write_all(ASKS.as_bytes()).await.unwrap();
    let (mut server, from) = timeout(LIMIT, listener.accept()).await.unwrap().unwrap();
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        timeout(LIMIT, server.read_buf(&mut request)).await.unwrap().unwrap();
    }
    server.write_all(SWITCHES.as_bytes()).await.unwrap();
    open(&proxy).await;
    let deadline = Instant::now() + LIMIT;
    // While something is not acknowledged, another timer runs.
    while !(is_kept_alive(proxy.addr.port(), client.local_addr().unwrap().port())
        && is_kept_alive(from.port(), upstream.port()))
    {
        assert!(Instant::now() < deadline, "no keep-alive");
        sleep(Duration::from_millis(20)).await;
    }
}
