//! What the client sees when a stream ends badly.

use serde_json::{Value, json};
use testkit::{Gate, H1, Play, Upstream};
use tokio::net::TcpListener;

use crate::{
    client::{Client, End, Side, WIRES, Wire, error_event, error_of, whole},
    common::{LIMIT, Proxy},
};

/// A client that has read `begun` of what an upstream plays.
async fn begun(wire: Wire, play: Play, begun: &str) -> (Upstream, Proxy, Client) {
    let upstream = Upstream::start([play]).await;
    let proxy = Proxy::before(upstream.addr(), &[]).await;
    let mut client = Client::get(wire, &proxy, "/").await;
    assert_eq!(client.read_until(begun).await, begun);
    (upstream, proxy, client)
}

fn head(headers: &str) -> Play {
    Play::new().send(format!("HTTP/1.1 200 OK\r\n{headers}\r\n\r\n"))
}

#[tokio::test]
async fn an_abort_is_the_last_event_of_an_event_stream() {
    for wire in WIRES {
        let play = Play::new().head_sse().chunk("data: 1\n\ndata: tw").stall();
        let (upstream, proxy, mut client) = begun(wire, play, "data: 1\n\n").await;
        assert_eq!(proxy.abort(&client.id, "?reason=stop").await, (200, "aborted".into()));
        let last = error_event("aborted", "stop", "aborted");
        assert_eq!(client.rest().await, (last, End::Clean), "{wire:?}");
        upstream.closed(0, LIMIT).await;
    }
}

#[tokio::test]
async fn a_reason_of_any_text_stays_one_event() {
    let play = Play::new().head_sse().chunk("data: 1\n\n").stall();
    let (_upstream, proxy, mut client) = begun(Wire::H1, play, "data: 1\n\n").await;
    let query = "?reason=say%20%22no%22%0D%0A%0D%0Adata:%20%5BDONE%5D%0A%0A%C3%A4";
    let reason = "say \"no\"\r\n\r\ndata: [DONE]\n\n\u{e4}";
    assert_eq!(proxy.abort(&client.id, query).await.0, 200);
    let (last, end) = client.rest().await;
    assert_eq!(end, End::Clean);
    assert_eq!(last.matches('\n').count(), 3, "{last}");
    assert_eq!(error_of(&last)["error"]["message"], reason);
    assert_eq!(proxy.ending().await["reason"], reason);
}

#[tokio::test]
async fn an_upstream_that_breaks_off_is_told_in_the_stream_and_its_unfinished_event_dropped() {
    let sent = "data: 1\n\ndata: [DONE]\n";
    for wire in WIRES {
        for fault in ["reset", "fin", "malformed chunk"] {
            let gate = Gate::new();
            let play = Play::new().head_sse().chunk(sent).wait(&gate);
            let play = match fault {
                "reset" => play.reset(),
                "fin" => play.fin(),
                _ => play.send("no chunk\r\n").stall(),
            };
            let (_upstream, proxy, mut client) = begun(wire, play, "data: 1\n\n").await;
            proxy.stream(|stream| stream["bytes"] == sent.len()).await;
            gate.open();
            let (last, end) = client.rest().await;
            assert_eq!(end, End::Clean, "{wire:?} {fault}");
            let told = error_event("upstream", "the upstream failed", "failed");
            assert_eq!(last, told, "{wire:?} {fault}");
            assert_eq!(proxy.ending().await["outcome"], "failed");
        }
    }
}

#[tokio::test]
async fn a_clean_end_gets_nothing_added_even_where_it_leaves_an_event_unfinished() {
    for sent in [
        ": hello\r\n\r\nid: 7\ndata: 1\n\ndata: [DONE]\n\n",
        "data: 1\n\ndata: [DONE]\n",
        "data: 1\n\ndata: [DO",
        "",
    ] {
        for wire in WIRES {
            let play = match sent {
                "" => Play::new().head_sse().last_chunk(),
                _ => Play::new().head_sse().chunk(sent).last_chunk(),
            };
            let upstream = Upstream::start([play]).await;
            let proxy = Proxy::before(upstream.addr(), &[]).await;
            let mut client = Client::get(wire, &proxy, "/").await;
            assert_eq!(client.rest().await, (sent.to_owned(), End::Clean), "{wire:?}");
            assert_eq!(proxy.ending().await["outcome"], "completed");
        }
    }
}

#[tokio::test]
async fn whatever_is_no_plain_event_stream_is_cut() {
    for headers in [
        "content-type: application/x-ndjson",
        "content-type: application/json",
        "content-type: text/plain",
        "content-type: text/event-stream\r\ncontent-encoding: gzip",
        "x-type: none",
    ] {
        for (wire, abort) in WIRES.into_iter().flat_map(|wire| [(wire, true), (wire, false)]) {
            let gate = Gate::new();
            let play = head(&format!("{headers}\r\ntransfer-encoding: chunked"));
            let play = play.chunk("{\"a\":1}\n").wait(&gate).reset();
            let (upstream, proxy, mut client) = begun(wire, play, "{\"a\":1}\n").await;
            if abort {
                assert_eq!(proxy.abort(&client.id, "").await.0, 200);
                upstream.closed(0, LIMIT).await;
            } else {
                gate.open();
            }
            let case = format!("{headers} {wire:?} abort: {abort}");
            assert_eq!(client.rest().await, (String::new(), End::Cut), "{case}");
            let expected = if abort { "aborted" } else { "failed" };
            assert_eq!(proxy.ending().await["outcome"], expected, "{case}");
        }
    }
}

#[tokio::test]
async fn an_event_stream_of_a_known_length_is_cut() {
    for wire in WIRES {
        let play = head("content-type: text/event-stream\r\ncontent-length: 100");
        let upstream = Upstream::start([play.send("data: 1\n\n").stall()]).await;
        let proxy = Proxy::before(upstream.addr(), &[]).await;
        let mut client = Client::get(wire, &proxy, "/").await;
        proxy.stream(|stream| stream["bytes"] == 9).await;
        assert_eq!(proxy.abort(&client.id, "").await.0, 200);
        match &mut client.side {
            Side::H1(client) => assert_eq!(client.read_to_end(LIMIT).await.bytes, b"data: 1\n\n"),
            Side::H2(..) => assert_eq!(client.rest().await, ("data: 1\n\n".into(), End::Cut)),
        }
    }
}

#[tokio::test]
async fn an_abort_before_the_head_is_a_503() {
    let upstream = Upstream::start([Play::new().stall()]).await;
    let proxy = Proxy::before(upstream.addr(), &[]).await;
    let mut client = H1::connect(proxy.addr).await.unwrap();
    client.get("/slow").await.unwrap();
    let id = proxy.stream(|_| true).await["id"].as_str().unwrap().to_owned();
    upstream.request(0, LIMIT).await;
    assert_eq!(proxy.abort(&id, "?reason=too%20slow").await, (200, "aborted".into()));
    let (head, body) = whole(&mut client).await;
    assert_eq!((head.status(), head.header("x-exchange-id")), (Some(503), Some(&*id)));
    assert_eq!(head.header("content-type"), Some("application/json"));
    // Clients retry a 5xx by themselves, and somebody has stopped this.
    assert_eq!(head.header("x-should-retry"), Some("false"));
    let error = json!({"type": "aborted", "message": "too slow", "code": "aborted"});
    assert_eq!(body, json!({"type": "error", "error": error}));
    upstream.closed(0, LIMIT).await;
}

#[tokio::test]
async fn an_upstream_that_gives_no_answer_is_a_502() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let refusing = listener.local_addr().unwrap();
    drop(listener);
    let switched = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n";
    let switched = Play::new().send(switched).stall();
    let plays =
        [Play::new(), Play::new().reset(), Play::new().send("what?\r\n\r\n").stall(), switched];
    let mut upstreams = Vec::new();
    for play in plays {
        upstreams.push(Upstream::start([play]).await);
    }
    let addrs = upstreams.iter().map(Upstream::addr);
    for addr in std::iter::once(refusing).chain(addrs) {
        let proxy = Proxy::before(addr, &[]).await;
        let mut client = H1::connect(proxy.addr).await.unwrap();
        client.get("/").await.unwrap();
        let (head, body) = whole(&mut client).await;
        assert_eq!(head.status(), Some(502));
        assert_eq!(head.header("content-type"), Some("application/json"));
        let message = body["error"]["message"].as_str().unwrap();
        let ours = [
            "the upstream can not be reached",
            "the upstream failed before it answered",
            "the upstream switched protocols unasked",
        ];
        assert!(ours.contains(&message), "{message}");
        let error = json!({"type": "upstream", "message": message, "code": "failed"});
        assert_eq!(body, json!({"type": "error", "error": error}));
        let ending = proxy.ending().await;
        assert_eq!(ending["id"], head.header("x-exchange-id").unwrap());
        assert_eq!((&ending["outcome"], &ending["status"]), (&json!("failed"), &json!(502)));
        // The body is ours: nothing was taken from the upstream.
        assert_eq!((&ending["bytes"], &ending["frames"]), (&json!(0), &json!(0)));
        assert_eq!((&ending["head_ms"], &ending["first_frame_ms"]), (&Value::Null, &Value::Null));
    }
}
