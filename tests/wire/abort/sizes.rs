//! Where a final frame can not go, or can not be told from a clean end (faults.md 31, 32).

use std::time::Duration;

use http::{Response, StatusCode, header};
use testkit::{H1, H2, H2Next, How, ReadEnd, Reason, Script};
use tokio::time::sleep;
use tower::ServiceBuilder;
use tower_lifeline::{
    abort::{AbortHandle, AbortLayer},
    exchange::Outcome,
};

use crate::{
    reader::Wire,
    server::{Front, LIMIT, MOMENT, Server},
    stage::{Stage, aborted_event, answering, sse},
};

fn one_and_stall() -> Response<Script> {
    sse(Script::new().data("data: one\n\n").stall())
}

async fn http_1_0(server: &Server) -> H1 {
    let mut client = H1::connect(server.addr()).await.unwrap();
    client.send("GET / HTTP/1.0\r\n\r\n").await.unwrap();
    assert_eq!(client.read_head(LIMIT).await.unwrap().header("transfer-encoding"), None);
    client.read_until(|bytes| bytes.ends_with(b"data: one\n\n"), LIMIT).await.unwrap();
    client
}

#[tokio::test]
async fn a_client_of_http_1_0_is_told_in_the_stream() {
    for front in Front::H1S {
        let stage = Stage::start(Wire::H1(front), |_| one_and_stall()).await;
        let mut client = http_1_0(&stage.server).await;
        assert!(stage.handle.abort("stop"));
        let bytes = format!("data: one\n\n{}", aborted_event("stop")).into_bytes();
        assert_eq!(client.read_to_end(LIMIT).await, ReadEnd { bytes, how: How::Fin }, "{front:?}");
        assert_eq!(stage.endings.only(stage.server).await.outcome, Outcome::Aborted);
    }
}

// The honest limit: where the end of the connection is the end of the body, a cut looks complete.
#[tokio::test]
async fn a_client_of_http_1_0_can_not_tell_a_cut_without_a_final_frame_from_the_end() {
    for front in Front::H1S {
        let handle = AbortHandle::new();
        let given = handle.clone();
        let stack = ServiceBuilder::new()
            .layer(AbortLayer::new(move |_| given.clone()))
            .service(answering(one_and_stall));
        let server = Server::start(front, stack).await;
        let mut client = http_1_0(&server).await;
        assert!(handle.abort("stop"));
        let expected = ReadEnd { bytes: b"data: one\n\n".into(), how: How::Fin };
        assert_eq!(client.read_to_end(LIMIT).await, expected, "{front:?}");
    }
}

/// Has an event stream where no body may be, and one that says how long it is.
fn bodiless(status: StatusCode) -> Response<Script> {
    let mut response = one_and_stall();
    *response.status_mut() = status;
    response
}

const BODILESS: [(&str, StatusCode); 3] =
    [("HEAD", StatusCode::OK), ("GET", StatusCode::NO_CONTENT), ("GET", StatusCode::NOT_MODIFIED)];

#[tokio::test]
async fn head_204_and_304_get_nothing_but_the_head_over_http_1() {
    for front in Front::H1S {
        for (method, status) in BODILESS {
            let stage = Stage::start(Wire::H1(front), move |_| bodiless(status)).await;
            let mut client = H1::connect(stage.server.addr()).await.unwrap();
            client.send(format!("{method} / HTTP/1.1\r\nhost: test\r\n\r\n")).await.unwrap();
            assert_eq!(client.read_head(LIMIT).await.unwrap().status(), Some(status.as_u16()));
            sleep(Duration::from_millis(20)).await;
            // hyper drops such a body without a poll, so the exchange is over (truths.md 1).
            assert!(!stage.handle.abort("stop"), "{front:?} {method} {status}");
            let expected = ReadEnd { bytes: Vec::new(), how: How::TimedOut };
            assert_eq!(
                client.read_to_end(MOMENT / 4).await,
                expected,
                "{front:?} {method} {status}"
            );
            drop(client);
            assert_eq!(stage.endings.only(stage.server).await.outcome, Outcome::Completed);
        }
    }
}

// hyper reads their bodies in HTTP/2 and would send what they say (truths.md 1).
#[tokio::test]
async fn head_204_and_304_get_no_final_event_over_http_2() {
    for (method, status) in BODILESS {
        let stage = Stage::start(Wire::H2(Front::H2), move |_| {
            bodiless(status).map(|_| Script::new().stall())
        });
        let stage = stage.await;
        let mut client = H2::connect(stage.server.addr()).await.unwrap();
        let (head, mut body) = client.request(method, "/", &[]).await.unwrap();
        assert_eq!(head.status, status);
        sleep(Duration::from_millis(20)).await;
        assert!(stage.handle.abort("stop"), "{method} {status}");
        let expected = (Vec::new(), H2Next::Reset(Reason::INTERNAL_ERROR));
        assert_eq!(body.rest(LIMIT).await, expected, "{method} {status}");
    }
}

fn five_of_a_hundred() -> Response<Script> {
    let mut response = sse(Script::new().data("data:").stall());
    response.headers_mut().insert(header::CONTENT_LENGTH, 100.into());
    response
}

#[tokio::test]
async fn under_a_content_length_the_body_is_short_and_the_connection_closed() {
    for front in Front::H1S {
        let stage = Stage::start(Wire::H1(front), |_| five_of_a_hundred()).await;
        let mut client = H1::connect(stage.server.addr()).await.unwrap();
        client.get("/").await.unwrap();
        assert_eq!(client.read_head(LIMIT).await.unwrap().header("content-length"), Some("100"));
        client.read_until(|bytes| bytes == b"data:", LIMIT).await.unwrap();
        assert!(stage.handle.abort("stop"));
        let expected = ReadEnd { bytes: b"data:".into(), how: How::Fin };
        assert_eq!(client.read_to_end(LIMIT).await, expected, "{front:?}");
        assert_eq!(stage.endings.only(stage.server).await.outcome, Outcome::Aborted);
    }
}

#[tokio::test]
async fn under_a_content_length_the_stream_is_reset() {
    for front in Front::H2S {
        let stage = Stage::start(Wire::H2(front), |_| five_of_a_hundred()).await;
        let mut client = H2::connect(stage.server.addr()).await.unwrap();
        let (_, mut body) = client.request("GET", "/", &[]).await.unwrap();
        assert_eq!(body.next(LIMIT).await, H2Next::Data("data:".into()));
        assert!(stage.handle.abort("stop"));
        let expected = (Vec::new(), H2Next::Reset(Reason::INTERNAL_ERROR));
        assert_eq!(body.rest(LIMIT).await, expected, "{front:?}");
    }
}
