//! The layers around a client of tonic's: the status that its caller reads.

use testkit::Script;
use tonic::Code;
use tower::{Layer, ServiceBuilder};
use tower_lifeline::{
    abort::{AbortHandle, AbortKind, AbortLayer},
    final_frame::FinalFrameLayer,
    timeouts::{Limits, TimeoutsLayer},
};

use super::{
    message,
    service::{Answer, Tonic, call_through, channel},
};
use crate::server::MOMENT;

fn one_and_stall() -> Answer {
    Answer::bytes(Script::new().data(message("one")).stall())
}

fn limits() -> TimeoutsLayer {
    TimeoutsLayer::new(Limits::new().head(MOMENT).idle(MOMENT))
}

/// A server without any layer.
async fn plain(answer: fn() -> Answer) -> Tonic {
    Tonic::start(tower::layer::util::Identity::new(), answer).await
}

#[tokio::test]
async fn a_limit_in_a_client_is_deadline_exceeded_in_the_stream_and_before_its_head() {
    let layers = ServiceBuilder::new().layer(FinalFrameLayer::by_media()).layer(limits());
    let tonic = plain(one_and_stall).await;
    let service = layers.clone().service(channel(tonic.addr()).await);
    let mut call = call_through(service, None).await.unwrap();
    assert_eq!(call.next().await.unwrap(), "one");
    assert_eq!(call.next().await.unwrap_err().code(), Code::DeadlineExceeded);

    let tonic = plain(|| Answer::Never).await;
    let service = layers.service(channel(tonic.addr()).await);
    let status = call_through(service, None).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
}

#[tokio::test]
async fn an_abort_in_a_client_is_told_by_its_kind_and_text() {
    for (kind, code) in
        [(AbortKind::Requested, Code::Cancelled), (AbortKind::Shutdown, Code::Unavailable)]
    {
        let tonic = plain(one_and_stall).await;
        let handle = AbortHandle::new();
        let given = handle.clone();
        let abort = AbortLayer::new(move |_: &http::request::Parts| given.clone());
        let layers = ServiceBuilder::new().layer(FinalFrameLayer::by_media()).layer(abort);
        let service = layers.service(channel(tonic.addr()).await);
        let mut call = call_through(service, None).await.unwrap();
        assert_eq!(call.next().await.unwrap(), "one");
        handle.abort(kind);
        assert_eq!(call.next().await.unwrap_err().code(), code);
    }
}

/// What the documentation says of a stack without a final frame; should tonic learn to read more, it can say less.
#[tokio::test]
async fn without_a_final_frame_tonic_does_not_know_what_a_limit_is() {
    let tonic = plain(one_and_stall).await;
    let service = limits().layer(channel(tonic.addr()).await);
    let mut call = call_through(service, None).await.unwrap();
    assert_eq!(call.next().await.unwrap(), "one");
    assert_eq!(call.next().await.unwrap_err().code(), Code::Unknown);
}
