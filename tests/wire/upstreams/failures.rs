//! Upstreams that refuse, break off or end: faults.md 11 and 15 to 17.

use std::{convert::Infallible, time::Duration};

use axum::body::Body;
use http::{HeaderMap, Request, Response};
use http_body_util::BodyExt;
use hyper_util::client::legacy;
use testkit::{H1, H2, H2Next, How, Play, ReadEnd, Reason, Script, Upstream, dechunk};
use tokio::net::TcpListener;
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};
use tower_lifeline::{
    exchange::Outcome::{Completed, Failed},
    final_frame::FinalFrameLayer,
    finalize::Ending,
    tee::{Limit, Recording, TeeLayer},
};

use super::{aimed, ask_h1, ask_h2, to_upstream, watched, whole};
use crate::server::{Front, LIMIT, Server, endings};

const PAUSE: Duration = Duration::from_millis(50);
const CHUNKED: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";

fn event() -> Play {
    Play::new().head_sse().chunk("data: 1\n\n").sleep(PAUSE)
}

/// Everything good came through, and the failure is told.
fn assert_failed_after(ending: &Ending, good: &str) {
    assert_eq!((ending.outcome, ending.bytes), (Failed, good.len() as u64));
    assert!(!ending.error().unwrap().messages().is_empty());
    let tape = ending.exchange.fact::<Recording>().unwrap();
    assert_eq!((&*tape.to_bytes(), tape.outcome()), (good.as_bytes(), Some(Failed)));
}

/// Streams that break off: each gave "data: 1\n\n" before.
fn broken() -> [(&'static str, Play); 5] {
    let close_delimited = "HTTP/1.1 200 OK\r\n\r\ndata: 1\n\n";
    let short = "HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\ndata: 1\n\n";
    [
        ("reset", event().reset()),
        ("FIN in a chunk", event().send("5\r\n").fin()),
        ("no chunk", event().send("no chunk\r\n").stall()),
        ("short", Play::new().send(short).sleep(PAUSE).fin()),
        ("reset where only FIN could end", Play::new().send(close_delimited).sleep(PAUSE).reset()),
    ]
}

#[tokio::test]
async fn an_upstream_that_breaks_off_is_told_and_cuts_an_h1_client() {
    for (name, play) in broken() {
        for front in Front::H1S {
            let upstream = Upstream::start([play.clone()]).await;
            let (server, endings) = watched(front, upstream.addr()).await;
            let end = ask_h1(&server).await;
            let body = dechunk(&end.bytes);
            assert_eq!((end.how, body.complete), (How::Fin, false), "{name}, {front:?}");
            let body = if name == "short" { end.bytes } else { body.body };
            assert_eq!(body, b"data: 1\n\n", "{name}, {front:?}");
            assert_failed_after(&endings.only(server).await, "data: 1\n\n");
        }
    }
}

#[tokio::test]
async fn an_upstream_that_breaks_off_is_told_and_resets_the_stream_of_an_h2_client() {
    for (name, play) in broken() {
        for front in Front::H2S {
            let upstream = Upstream::start([play.clone()]).await;
            let (server, endings) = watched(front, upstream.addr()).await;
            let end = ask_h2(&server).await;
            let cut = (b"data: 1\n\n".to_vec(), H2Next::Reset(Reason::INTERNAL_ERROR));
            assert_eq!(end, cut, "{name}, {front:?}");
            assert_failed_after(&endings.only(server).await, "data: 1\n\n");
        }
    }
}

#[tokio::test]
async fn an_event_stream_that_breaks_off_ends_with_an_event_that_says_so() {
    let in_an_event = Play::new().head_sse().chunk("data: 1\n\n").chunk("data: 2").sleep(PAUSE);
    for play in [event().reset(), event().send("5\r\n").fin(), in_an_event.reset()] {
        let upstream = Upstream::start([play]).await;
        for front in Front::H1S {
            let (server, endings) = whole(front, upstream.addr()).await;
            let body = dechunk(&ask_h1(&server).await.bytes);
            assert!(body.complete);
            assert_last_event(&body.body);
            assert_eq!(endings.only(server).await.outcome, Failed);
        }
        for front in Front::H2S {
            let (server, endings) = whole(front, upstream.addr()).await;
            let (body, end) = ask_h2(&server).await;
            assert_eq!(end, H2Next::End);
            assert_last_event(&body);
            assert_eq!(endings.only(server).await.outcome, Failed);
        }
    }
}

fn assert_last_event(body: &[u8]) {
    let text = std::str::from_utf8(body).unwrap();
    let rest = text.strip_prefix("data: 1\n\nevent: error\ndata: ").expect(text);
    let json: serde_json::Value = serde_json::from_str(rest).unwrap();
    assert_eq!(
        (&json["error"]["type"], &json["error"]["code"]),
        (&"upstream".into(), &"failed".into())
    );
}

/// An error directly behind data would take that data with it (truths.md 4), and the head too.
#[tokio::test]
async fn a_final_frame_layer_lets_what_was_sent_go_out_before_an_error() {
    for (lingers, sent) in [(false, ""), (true, "hello")] {
        let failing = service_fn(|_: Request<Body>| async {
            Ok::<_, Infallible>(Response::new(Script::new().data("hello").error("boom")))
        });
        let [h1, h2] = if lingers {
            let stack = FinalFrameLayer::by_media().layer(failing);
            [Server::start(Front::H1, stack.clone()).await, Server::start(Front::H2, stack).await]
        } else {
            [Server::start(Front::H1, failing).await, Server::start(Front::H2, failing).await]
        };
        let mut client = H1::connect(h1.addr()).await.unwrap();
        client.get("/").await.unwrap();
        let headless = client.read_head(LIMIT).await.is_err();
        assert_eq!(headless, sent.is_empty());
        let body = dechunk(&client.read_to_end(LIMIT).await.bytes);
        assert_eq!((&*body.body, body.complete), (sent.as_bytes(), false));

        let mut client = H2::connect(h2.addr()).await.unwrap();
        let reset = H2Next::Reset(Reason::INTERNAL_ERROR);
        let seen = match client.request("GET", "/", &[]).await {
            Ok((_, mut body)) => body.rest(LIMIT).await,
            Err(end) => (Vec::new(), end),
        };
        assert_eq!(seen, (sent.into(), reset));
    }
}

#[tokio::test]
async fn where_a_length_was_announced_a_failure_adds_no_byte() {
    let (_, short) = broken()[3].clone();
    let upstream = Upstream::start([short]).await;
    let (server, endings) = whole(Front::H1, upstream.addr()).await;
    let end = ask_h1(&server).await;
    assert_eq!(end, ReadEnd { bytes: b"data: 1\n\n".into(), how: How::Fin });
    assert_failed_after(&endings.only(server).await, "data: 1\n\n");
}

#[tokio::test]
async fn a_refused_connection_is_the_very_error_of_the_client_and_is_told() {
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    for front in [Front::H1, Front::H2, Front::Axum] {
        let (tell, endings) = endings();
        let stack = ServiceBuilder::new()
            .map_err(|error: legacy::Error| {
                assert!(error.is_connect());
                error
            })
            .map_request(move |request| aimed(request, nobody))
            .layer(tell.layer())
            .layer(TeeLayer::recording(Limit::first(9)))
            .service(to_upstream());
        drop(tell);
        let server = Server::start(front, stack).await;
        match front {
            Front::H2 => {
                let mut client = H2::connect(server.addr()).await.unwrap();
                let end = client.request("GET", "/", &[]).await.map(|(head, _)| head.status);
                assert_eq!(end, Err(H2Next::Reset(Reason::INTERNAL_ERROR)));
            }
            _ => {
                let mut client = H1::connect(server.addr()).await.unwrap();
                client.get("/").await.unwrap();
                let status = client.read_head(LIMIT).await.map(|head| head.status());
                let closed = ReadEnd { bytes: Vec::new(), how: How::Fin };
                let expected = if front == Front::Axum { Ok(Some(500)) } else { Err(closed) };
                assert_eq!(status, expected);
            }
        }
        let ending = endings.only(server).await;
        assert_eq!((ending.outcome, ending.status), (Failed, None));
        assert!(ending.error().unwrap().to_string().contains("refused"), "{ending:?}");
    }
}

/// To the proxy it is complete: the upstream never said how much would come.
#[tokio::test]
async fn a_close_delimited_response_that_was_cut_by_a_fin_is_taken_for_complete() {
    let play = Play::new().send("HTTP/1.1 200 OK\r\n\r\nhalf of what it wan").fin();
    let upstream = Upstream::start([play]).await;
    for front in Front::H1S {
        let (server, endings) = watched(front, upstream.addr()).await;
        assert!(dechunk(&ask_h1(&server).await.bytes).complete);
        assert_eq!(endings.only(server).await.outcome, Completed, "{front:?}");
    }
}

/// hyper's client reads a reset with NO_ERROR as the end.
#[tokio::test]
async fn an_h2_upstream_that_resets_with_no_error_is_taken_for_complete() {
    let upstream = Server::start(
        Front::H2,
        service_fn(|_: Request<Body>| async {
            let body = Script::new().data("half of what it wan").sleep(PAUSE).error("cut");
            Ok::<_, Infallible>(Response::new(body.map_err(|_| h2::Error::from(Reason::NO_ERROR))))
        }),
    )
    .await;
    let client =
        legacy::Client::builder(hyper_util::rt::TokioExecutor::new()).http2_only(true).build_http();
    let (tell, endings) = endings();
    let stack = ServiceBuilder::new().layer(tell.layer()).service(client);
    drop(tell);
    let request = Request::get(format!("http://{}/", upstream.addr())).body(Body::empty()).unwrap();
    let body = stack.oneshot(request).await.unwrap().into_body().collect().await.unwrap();
    assert_eq!(body.to_bytes(), "half of what it wan");
    assert_eq!(endings.only(upstream).await.outcome, Completed);
}

#[tokio::test]
async fn the_trailers_of_an_upstream_pass_and_are_told() {
    let sum = HeaderMap::from_iter([("x-sum".parse().unwrap(), "5".parse().unwrap())]);
    let play = Play::new().send(CHUNKED).chunk("hello").send("0\r\nx-sum: 5\r\n\r\n").fin();
    let upstream = Upstream::start([play]).await;
    for front in Front::H2S {
        let (server, endings) = whole(front, upstream.addr()).await;
        let (body, end) = ask_h2(&server).await;
        assert_eq!((&*body, end), (&b"hello"[..], H2Next::Trailers(sum.clone())));
        let ending = endings.only(server).await;
        assert_eq!((ending.outcome, ending.trailers.as_ref()), (Completed, Some(&sum)));
        assert_eq!(ending.exchange.fact::<Recording>().unwrap().trailers(), Some(sum.clone()));
    }
}
