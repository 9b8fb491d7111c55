//! Over a real server, under axum's router.

use std::time::Duration;

use axum::{Router, body::Body as AxumBody, extract::State, routing::post};
use http_body_util::BodyExt;
use testkit::{H1, dechunk};
use tokio::net::TcpListener;

use super::*;
use crate::{
    exchange::Exchange,
    tee::TeeLayer,
    usage::{Certainty, UsageReport},
};

type Seen = Arc<Mutex<Vec<(Request<Bytes>, Exchange)>>>;

async fn answer(State(seen): State<Seen>, request: Request<AxumBody>) -> Response<AxumBody> {
    let (head, body) = request.into_parts();
    let exchange = Exchange::get(&head.extensions).unwrap();
    let body = body.collect().await.unwrap().to_bytes();
    seen.lock().unwrap().push((Request::from_parts(head, body), exchange));
    let events =
        events().replace("\"prompt_tokens\":12", "\"prompt_tokens\":12,\"completion_tokens\":3");
    let response = Response::builder().header("content-type", "text/event-stream");
    response.header("content-length", events.len()).body(events.into()).unwrap()
}

#[tokio::test]
async fn the_upstream_is_asked_the_meter_sees_it_and_the_client_does_not() {
    let seen = Seen::default();
    let router = Router::new()
        .route(PATH, post(answer))
        .layer(TeeLayer::usage())
        .layer(IncludeUsageLayer::new())
        .with_state(seen.clone());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(axum::serve(listener, router).into_future());

    let length = STREAM.len();
    let chunked = format!("transfer-encoding: chunked\r\n\r\n{length:x}\r\n{STREAM}\r\n0\r\n\r\n");
    for rest in [format!("content-length: {length}\r\n\r\n{STREAM}"), chunked] {
        let mut client = H1::connect(addr).await.unwrap();
        let head = format!(
            "POST {PATH} HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\nconnection: close\r\n"
        );
        client.send(head + &rest).await.unwrap();
        let head = client.read_head(Duration::from_secs(10)).await.unwrap();
        assert_eq!((head.status(), head.header("content-length")), (Some(200), None));
        let answer = dechunk(&client.read_to_end(Duration::from_secs(10)).await.bytes);
        assert!(answer.complete);
        assert_eq!(String::from_utf8(answer.body).unwrap(), [DELTA, DONE].concat());

        let (request, exchange) = seen.lock().unwrap().pop().unwrap();
        assert_eq!(request.body(), ASKED);
        if let Some(length) = request.headers().get("content-length") {
            assert_eq!(length, &ASKED.len().to_string());
        }
        let usage = exchange.fact::<UsageReport>().unwrap().usage();
        assert_eq!((usage.output_tokens, usage.certainty), (Some(3), Certainty::Reported));
    }
}
