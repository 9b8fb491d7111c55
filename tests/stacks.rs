use std::time::Duration;

use axum::{Router, routing::get};
use bytes::Bytes;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use tower::{ServiceBuilder, ServiceExt, service_fn};
use tower_lifeline::{
    abort::{AbortHandle, AbortLayer},
    early_head::AsksForStream,
    error::BoxError,
    final_frame::FinalFrameLayer,
    finalize::FinalizeLayer,
    keepalive::IdleKeepaliveLayer,
    tee::{Limit, TeeLayer, TeeRequestLayer},
    upload::UploadLayer,
};

#[tokio::test]
async fn every_layer_goes_under_axums_router_layer() {
    let root = AbortHandle::new();
    let app: Router = Router::new()
        .route("/", get(|| async { "hi" }))
        .layer(UploadLayer::new())
        .layer(TeeRequestLayer::new(AsksForStream::sink))
        .layer(TeeRequestLayer::recording(Limit::first(10)))
        .layer(TeeLayer::recording(Limit::first(10)))
        .layer(FinalizeLayer::new(|_| |ending| println!("{ending:?}")))
        .layer(FinalizeLayer::traced())
        .layer(FinalizeLayer::spawned(|_| |_| async {}, |_| {}))
        .layer(AbortLayer::new(move |_| root.child()))
        .layer(FinalFrameLayer::by_media())
        .layer(IdleKeepaliveLayer::new(Duration::from_secs(1)));
    let response = app.oneshot(Request::new(axum::body::Body::empty())).await.unwrap();
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "hi");
}

#[tokio::test]
async fn a_stack_takes_bodies_whose_error_is_boxed() {
    let root = AbortHandle::new();
    let service = ServiceBuilder::new()
        .layer(FinalizeLayer::new(|req| {
            let p = req.uri.path().to_owned();
            move |ending| println!("{p} {}", ending.outcome)
        }))
        .layer(IdleKeepaliveLayer::new(Duration::from_secs(1)))
        .layer(FinalFrameLayer::by_media())
        .layer(AbortLayer::new(move |_| root.child()))
        .layer(FinalizeLayer::new(|_| |ending| println!("{ending:?}")))
        .layer(TeeLayer::recording(Limit::first(10)))
        .service(service_fn(|_: Request<()>| async {
            let body = Full::<Bytes>::from("hi").map_err(BoxError::from);
            Ok::<_, BoxError>(Response::new(UnsyncBoxBody::new(body)))
        }));
    let response = service.oneshot(Request::new(())).await.unwrap();
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "hi");
}

#[tokio::test]
async fn a_million_frames_of_one_byte_pass_unchanged() {
    const FRAMES: usize = 1_000_000;
    let root = AbortHandle::new();
    let service = ServiceBuilder::new()
        .layer(IdleKeepaliveLayer::new(Duration::from_secs(1)))
        .layer(FinalFrameLayer::by_media())
        .layer(AbortLayer::new(move |_| root.child()))
        .layer(FinalizeLayer::new(|_| |ending| assert_eq!(ending.frames, FRAMES as u64)))
        .layer(TeeLayer::recording(Limit::first(10)))
        .service(service_fn(|_: Request<()>| async {
            let frame = |n: usize| Ok::<_, BoxError>(Frame::data(BYTES.slice(n % 7..n % 7 + 1)));
            Ok::<_, BoxError>(Response::new(StreamBody::new(tokio_stream::iter(
                (0..FRAMES).map(frame),
            ))))
        }));
    let mut body = service.oneshot(Request::new(())).await.unwrap().into_body();
    let mut seen = 0;
    while let Some(frame) = body.frame().await {
        assert_eq!(frame.unwrap().into_data().unwrap(), BYTES.slice(seen % 7..seen % 7 + 1));
        seen += 1;
    }
    assert_eq!(seen, FRAMES);
}

/// Of a prime number of bytes, so that a frame lost, doubled or moved does not fit.
static BYTES: Bytes = Bytes::from_static(b"abcdefg");
