//! The layers around hyper's client, where a proxy or an SDK would have them.

use std::{net::SocketAddr, time::Duration};

use axum::body::Body;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::Body as HttpBody;
use http_body_util::BodyExt;
use hyper_util::client::legacy;
use testkit::{Play, Upstream};
use tokio::{net::TcpListener, time::Instant};
use tower::{Service, ServiceBuilder};
use tower_lifeline::{
    abort::{AbortHandle, AbortLayer},
    error::BoxError,
    exchange::Outcome::{Aborted, Completed, Disconnected, Failed},
    final_frame::FinalFrameLayer,
    keepalive::IdleKeepaliveLayer,
    tee::{Limit, Recording, TeeLayer},
};

use super::{aimed, to_upstream};
use crate::server::{AT_ONCE, Endings, LIMIT, MOMENT, endings, median_of_five};

/// hyper's client within all layers.
fn client(
    abort: AbortHandle,
) -> (
    impl Service<
        Request<Body>,
        Response = Response<impl HttpBody<Data = Bytes, Error = BoxError>>,
        Error = legacy::Error,
    >,
    Endings,
) {
    let (tell, endings) = endings();
    let stack = ServiceBuilder::new()
        .layer(IdleKeepaliveLayer::new(Duration::from_secs(60)))
        .layer(FinalFrameLayer::by_media())
        .layer(AbortLayer::new(move |_| abort.child()))
        .layer(tell.layer())
        .layer(TeeLayer::recording(Limit::first(1024)))
        .service(to_upstream());
    (stack, endings)
}

fn get(upstream: SocketAddr) -> Request<Body> {
    aimed(Request::new(Body::empty()), upstream)
}

const EVENT: &str = "data: 1\n\n";

fn stalled() -> Play {
    Play::new().head_sse().chunk(EVENT).stall()
}

#[tokio::test]
async fn a_response_read_to_its_end_is_whole_and_leaves_the_connection_open() {
    let upstream =
        Upstream::start([Play::new().head_sse().chunk(EVENT).last_chunk().stall()]).await;
    let (mut stack, mut endings) = client(AbortHandle::new());
    let response = stack.call(get(upstream.addr())).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), EVENT);
    let ending = endings.next(LIMIT).await;
    assert_eq!((ending.outcome, ending.bytes), (Completed, 9));
    assert_eq!(ending.exchange.fact::<Recording>().unwrap().to_bytes(), EVENT);
    endings.none_within(MOMENT).await;
    assert_eq!(upstream.conns()[0].closed_at, None);
}

#[tokio::test]
async fn a_response_dropped_half_read_closes_its_connection_at_once() {
    let took = median_of_five(async || {
        let upstream = Upstream::start([stalled()]).await;
        let (mut stack, mut endings) = client(AbortHandle::new());
        let mut body = Box::pin(stack.call(get(upstream.addr())).await.unwrap().into_body());
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), EVENT);
        let left = Instant::now();
        drop(body);
        let closed = upstream.closed(0, LIMIT).await;
        assert_eq!(endings.next(LIMIT).await.outcome, Disconnected);
        closed - left
    });
    assert!(took.await < AT_ONCE);
}

#[tokio::test]
async fn a_call_given_up_before_its_head_closes_its_connection_at_once() {
    let took = median_of_five(async || {
        let upstream = Upstream::start([Play::new().stall()]).await;
        let (mut stack, mut endings) = client(AbortHandle::new());
        let mut call = Box::pin(stack.call(get(upstream.addr())));
        tokio::select! {
            _ = &mut call => panic!("answered"),
            _ = upstream.request(0, LIMIT) => {}
        }
        let left = Instant::now();
        drop(call);
        let closed = upstream.closed(0, LIMIT).await;
        let ending = endings.next(LIMIT).await;
        assert_eq!((ending.outcome, ending.status), (Disconnected, None));
        closed - left
    });
    assert!(took.await < AT_ONCE);
}

#[tokio::test]
async fn an_abort_closes_the_connection_at_once_though_nobody_reads() {
    let took = median_of_five(async || {
        let upstream = Upstream::start([stalled()]).await;
        let abort = AbortHandle::new();
        let (mut stack, mut endings) = client(abort.clone());
        let mut body = Box::pin(stack.call(get(upstream.addr())).await.unwrap().into_body());
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), EVENT);
        let aborted = Instant::now();
        assert!(abort.abort("enough"));
        let closed = upstream.closed(0, LIMIT).await;
        let ending = endings.next(LIMIT).await;
        assert_eq!((ending.outcome, ending.reason()), (Aborted, Some("enough")));
        // Only now is it asked, and tells in its own way.
        let last = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert!(last.starts_with(b"event: error\n"), "{last:?}");
        assert!(body.frame().await.is_none());
        closed - aborted
    });
    assert!(took.await < AT_ONCE);
}

#[tokio::test]
async fn a_refused_connection_is_the_clients_own_error_through_all_layers() {
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let (mut stack, mut endings) = client(AbortHandle::new());
    let error: legacy::Error = stack.call(get(nobody)).await.err().unwrap();
    assert!(error.is_connect());
    let ending = endings.next(LIMIT).await;
    assert_eq!((ending.outcome, ending.status), (Failed, None));
}
