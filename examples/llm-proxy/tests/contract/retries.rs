//! What is sent to the upstream once more, and what is not.

use std::net::SocketAddr;

use serde_json::{Value, json};
use testkit::{H1, H2, H2Play, H2Upstream, Head, How, Play, Reason, Upstream};
use tokio::time::sleep;

use crate::{
    client::{WIRES, Wire, says},
    common::{LIMIT, Proxy},
};

async fn before_h2(upstream: &H2Upstream, options: &[&str]) -> Proxy {
    let upstream = format!("--upstream=h2c://{}", upstream.addr());
    Proxy::start(&[&[&*upstream], options].concat()).await
}

/// Sends a POST and reads its answer.
async fn post(wire: Wire, proxy: SocketAddr, body: &[u8]) -> (u16, Vec<u8>) {
    match wire {
        Wire::H1 => send(proxy, "POST", "", body).await,
        Wire::H2 => {
            let mut client = H2::connect(proxy).await.unwrap();
            let mut call = client.upload("POST", "/", &[]).await.unwrap();
            call.send(body.to_vec(), true).unwrap();
            let (head, mut answer) = call.head(LIMIT).await.unwrap();
            (head.status.as_u16(), answer.rest(LIMIT).await.0)
        }
    }
}

/// Sends a request over HTTP/1 and reads its answer.
async fn send(proxy: SocketAddr, method: &str, headers: &str, body: &[u8]) -> (u16, Vec<u8>) {
    let mut client = H1::connect(proxy).await.unwrap();
    let length = body.len();
    let head = format!(
        "{method} / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}content-length: {length}\r\n\r\n"
    );
    client.send([head.as_bytes(), body].concat()).await.unwrap();
    let head = client.read_head(LIMIT).await.unwrap();
    let end = client.read_to_end(LIMIT).await;
    assert_ne!(end.how, How::TimedOut);
    let chunked = head.header("transfer-encoding") == Some("chunked");
    let body = if chunked { testkit::dechunk(&end.bytes).body } else { end.bytes };
    (head.status().unwrap(), body)
}

/// The bodies of the requests of each connection.
fn seen(upstream: &H2Upstream) -> Vec<Vec<Vec<u8>>> {
    upstream.conns().into_iter().map(|conn| conn.requests).collect()
}

fn completed(ending: &Value) {
    says(ending, [("outcome", json!("completed")), ("status", json!(200)), ("bytes", json!(2))]);
}

fn failed(ending: &Value) {
    says(ending, [("outcome", json!("failed")), ("status", json!(502)), ("bytes", json!(0))]);
}

#[tokio::test]
async fn what_an_h2_upstream_did_not_process_is_sent_once_more_on_a_new_connection() {
    for wire in WIRES {
        for refusal in [
            H2Play::reset(Reason::REFUSED_STREAM),
            H2Play::go_away(0),
            H2Play::go_away(0).and_close(),
            H2Play::reset(Reason::REFUSED_STREAM).after(0),
            H2Play::go_away(0).after(0),
        ] {
            let name = format!("{wire:?} {refusal:?}");
            let upstream = H2Upstream::start([[refusal], [H2Play::answer("ok")]]).await;
            let proxy = before_h2(&upstream, &[]).await;
            let answer = post(wire, proxy.addr, b"question").await;
            assert_eq!(answer, (200, b"ok".to_vec()), "{name}");
            let seen = seen(&upstream);
            assert_eq!((seen.len(), seen[0].len()), (2, 1), "{name}");
            assert_eq!(seen[1], [b"question"], "{name}");
            completed(&proxy.ending().await);
        }
    }
}

#[tokio::test]
async fn a_stream_above_the_last_one_of_a_goaway_is_sent_once_more_and_one_below_goes_on() {
    let first = [H2Play::answer("ok"), H2Play::go_away(1)];
    let upstream =
        H2Upstream::start([&first[..], &[H2Play::answer("ok")]].map(<[_]>::to_vec)).await;
    let proxy = before_h2(&upstream, &[]).await;
    for question in [b"one", b"two"] {
        assert_eq!(post(Wire::H1, proxy.addr, question).await, (200, b"ok".to_vec()));
    }
    assert_eq!(seen(&upstream), [vec![b"one".to_vec(), b"two".to_vec()], vec![b"two".to_vec()]]);
    proxy.endings(2).await.iter().for_each(completed);
}

#[tokio::test]
async fn it_is_sent_once_more_and_not_twice() {
    for refusal in [H2Play::reset(Reason::REFUSED_STREAM), H2Play::go_away(0)] {
        let upstream = H2Upstream::start([[refusal]]).await;
        let proxy = before_h2(&upstream, &[]).await;
        assert_eq!(post(Wire::H1, proxy.addr, b"question").await.0, 502);
        assert_eq!(seen(&upstream), [[b"question"], [b"question"]]);
        failed(&proxy.ending().await);
    }
    let upstream = Upstream::start([Play::new().fin()]).await;
    let proxy = Proxy::before(upstream.addr(), &[]).await;
    assert_eq!(send(proxy.addr, "GET", "", b"").await.0, 502);
    assert_eq!(upstream.conns().len(), 2);
    failed(&proxy.ending().await);
}

#[tokio::test]
async fn what_an_h2_upstream_may_have_processed_is_not_sent_again() {
    for end in [
        H2Play::reset(Reason::INTERNAL_ERROR),
        H2Play::reset(Reason::CANCEL),
        H2Play::go_away(1).and_close(),
        H2Play::stall().and_close(),
    ] {
        let name = format!("{end:?}");
        let upstream = H2Upstream::start([[end], [H2Play::answer("ok")]]).await;
        let proxy = before_h2(&upstream, &[]).await;
        assert_eq!(post(Wire::H1, proxy.addr, b"question").await.0, 502, "{name}");
        assert_eq!(seen(&upstream), [[b"question"]], "{name}");
        failed(&proxy.ending().await);
    }
}

#[tokio::test]
async fn over_h2_a_connection_that_breaks_proves_nothing_for_what_may_be_repeated_either() {
    for (method, headers) in [("GET", ""), ("PUT", ""), ("POST", KEY)] {
        let plays = [[H2Play::stall().and_close()], [H2Play::answer("ok")]];
        let upstream = H2Upstream::start(plays).await;
        let proxy = before_h2(&upstream, &[]).await;
        assert_eq!(send(proxy.addr, method, headers, b"question").await.0, 502, "{method}");
        assert_eq!(seen(&upstream), [[b"question"]], "{method}");
        failed(&proxy.ending().await);
    }
}

#[tokio::test]
async fn a_body_in_many_small_pieces_is_sent_once_more() {
    let refusal = H2Play::reset(Reason::REFUSED_STREAM);
    for wire in WIRES {
        let upstream = H2Upstream::start([[refusal.clone()], [H2Play::answer("ok")]]).await;
        let proxy = before_h2(&upstream, &[]).await;
        let body: Vec<u8> = (0..=255).cycle().take(3000).collect();
        let status = match wire {
            Wire::H1 => {
                let mut client = H1::connect(proxy.addr).await.unwrap();
                let head = "POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n";
                client.send(head).await.unwrap();
                for byte in &body {
                    client.send([&b"1\r\n"[..], &[*byte], b"\r\n"].concat()).await.unwrap();
                }
                client.send("0\r\n\r\n").await.unwrap();
                client.read_head(LIMIT).await.unwrap().status().unwrap()
            }
            Wire::H2 => {
                let mut client = H2::connect(proxy.addr).await.unwrap();
                let mut call = client.upload("POST", "/", &[]).await.unwrap();
                for (n, byte) in body.iter().enumerate() {
                    call.send(vec![*byte], n + 1 == body.len()).unwrap();
                }
                call.head(LIMIT).await.unwrap().0.status.as_u16()
            }
        };
        assert_eq!(status, 200, "{wire:?}");
        let seen = seen(&upstream);
        assert!(seen == [[body.clone()], [body]], "{wire:?}");
    }
}

#[tokio::test]
async fn what_has_an_answer_is_not_sent_again() {
    let upstream = H2Upstream::start([[H2Play::begin("half").and_close()]]).await;
    let proxy = before_h2(&upstream, &[]).await;
    assert_eq!(send(proxy.addr, "GET", "", b"").await.0, 200);
    says(&proxy.ending().await, [("outcome", json!("failed")), ("status", json!(200))]);
    let upstream_h1 = Upstream::start([Play::new().head_sse().chunk("half").reset()]).await;
    let proxy = Proxy::before(upstream_h1.addr(), &[]).await;
    send(proxy.addr, "GET", "", b"").await;
    assert_ne!(proxy.ending().await["outcome"], "completed");
    assert_eq!((upstream.conns().len(), upstream_h1.conns().len()), (1, 1));
}

#[tokio::test]
async fn a_body_of_up_to_a_mebibyte_is_held_for_it_and_a_larger_one_is_not() {
    for (size, again) in [(1 << 20, true), (3 << 19, false)] {
        let body: Vec<u8> = (0..=255).cycle().take(size).collect();
        let refusal = H2Play::reset(Reason::REFUSED_STREAM);
        let upstream = H2Upstream::start([[refusal], [H2Play::answer("ok")]]).await;
        let proxy = before_h2(&upstream, &[]).await;
        let (status, _) = post(Wire::H1, proxy.addr, &body).await;
        let seen = seen(&upstream);
        assert!(seen[0][0] == body, "{size}");
        if again {
            assert_eq!((status, seen.len()), (200, 2));
            assert!(seen[1][0] == body);
        } else {
            assert_eq!((status, seen.len()), (502, 1));
        }
        proxy.ending().await;
    }
}

#[tokio::test]
async fn beyond_the_total_of_uploads_no_body_is_held() {
    let refusal = H2Play::reset(Reason::REFUSED_STREAM);
    let upstream = H2Upstream::start([[refusal], [H2Play::answer("ok")]]).await;
    let proxy = before_h2(&upstream, &["--upload-total=1KiB"]).await;
    assert_eq!(post(Wire::H1, proxy.addr, &[b'x'; 5000]).await.0, 502);
    assert_eq!(seen(&upstream).len(), 1);
    failed(&proxy.ending().await);
}

/// Takes a request, and gives no answer but a closed connection; the next one gets an answer.
async fn closing() -> Upstream {
    let ok = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
    Upstream::start([Play::new().fin(), Play::new().send(ok)]).await
}

const KEY: &str = "idempotency-key: 1\r\n";

#[tokio::test]
async fn over_h1_what_may_be_repeated_is_sent_once_more() {
    for (method, headers, body) in [
        ("GET", "", ""),
        ("OPTIONS", "", ""),
        ("DELETE", "", ""),
        ("PUT", "", "question"),
        ("POST", KEY, "question"),
        ("PATCH", KEY, "question"),
    ] {
        let upstream = closing().await;
        let proxy = Proxy::before(upstream.addr(), &[]).await;
        let answer = send(proxy.addr, method, headers, body.as_bytes()).await;
        assert_eq!(answer, (200, b"ok".to_vec()), "{method}");
        let conns = upstream.conns();
        assert_eq!(conns.len(), 2, "{method}");
        for conn in &conns {
            assert_eq!(
                (conn.head.as_ref(), &*conn.body),
                (conns[0].head.as_ref(), body.as_bytes())
            );
        }
        completed(&proxy.ending().await);
    }
}

#[tokio::test]
async fn over_h1_what_may_not_be_repeated_is_sent_once() {
    for method in ["POST", "PATCH", "MKCOL"] {
        // Nothing would have to be kept of the second.
        for question in ["question", ""] {
            let upstream = closing().await;
            let proxy = Proxy::before(upstream.addr(), &[]).await;
            let answer = send(proxy.addr, method, "", question.as_bytes()).await;
            assert_eq!((answer.0, upstream.conns().len()), (502, 1), "{method} {question}");
            failed(&proxy.ending().await);
        }
    }
}

#[tokio::test]
async fn an_answer_that_is_none_is_not_asked_for_again() {
    let upstream = Upstream::start([Play::new().send("no answer at all\r\n\r\n").stall()]).await;
    let proxy = Proxy::before(upstream.addr(), &[]).await;
    assert_eq!(send(proxy.addr, "GET", "", b"").await.0, 502);
    assert_eq!(upstream.conns().len(), 1);
    failed(&proxy.ending().await);
}

#[tokio::test]
async fn what_is_sent_once_more_can_be_aborted_and_ends_once() {
    let plays = [[H2Play::reset(Reason::REFUSED_STREAM)], [H2Play::stall()]];
    let upstream = H2Upstream::start(plays).await;
    let proxy = before_h2(&upstream, &[]).await;
    let mut client = H1::connect(proxy.addr).await.unwrap();
    client.get("/").await.unwrap();
    upstream
        .until(|conns| conns.iter().map(|conn| conn.requests.len()).sum::<usize>() == 2, LIMIT)
        .await;
    let id = proxy.stream(|_| true).await["id"].as_str().unwrap().to_owned();
    assert_eq!(proxy.abort(&id, "").await, (200, "aborted".to_owned()));
    assert_eq!(client.read_head(LIMIT).await.as_ref().ok().and_then(Head::status), Some(503));
    upstream.until(|conns| conns[1].closed, LIMIT).await;
    says(&proxy.ending().await, [("outcome", json!("aborted"))]);
    sleep(LIMIT / 50).await;
    assert_eq!(upstream.conns().len(), 2);
}

#[tokio::test]
async fn for_a_client_that_has_left_nothing_is_sent_again() {
    let refusal = H2Play::go_away(0).and_close();
    let upstream = H2Upstream::start([[H2Play::stall()], [refusal]]).await;
    let proxy = before_h2(&upstream, &[]).await;
    let mut client = H1::connect(proxy.addr).await.unwrap();
    client.get("/").await.unwrap();
    upstream.until(|conns| conns.iter().any(|conn| !conn.requests.is_empty()), LIMIT).await;
    client.close().await;
    says(&proxy.ending().await, [("outcome", json!("disconnected")), ("status", Value::Null)]);
    assert_eq!(upstream.conns().len(), 1);
}
