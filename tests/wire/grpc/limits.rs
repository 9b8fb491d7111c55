//! How a call ends by a time limit (faults.md 12, 14).

use std::time::Duration;

use testkit::{H2, H2Next, Script};
use tonic::Code;
use tower::ServiceBuilder;
use tower_lifeline::{
    exchange::Outcome,
    final_frame::FinalFrameLayer,
    timeouts::{Limits, TimeoutsLayer},
};

use super::{
    aborts::CUT,
    message,
    service::{Answer, PATH, Tonic, call_within},
};
use crate::server::{Endings, LIMIT, MOMENT, endings};

/// A tonic server with these limits.
async fn limited(
    limits: TimeoutsLayer,
    answer: impl Fn() -> Answer + Clone + Send + Sync + 'static,
) -> (Tonic, Endings) {
    let (tell, endings) = endings();
    let layers =
        ServiceBuilder::new().layer(FinalFrameLayer::by_media()).layer(limits).layer(tell.layer());
    (Tonic::start(layers, answer).await, endings)
}

/// The time that a client gives its call, by its `grpc-timeout`.
fn granted() -> TimeoutsLayer {
    TimeoutsLayer::new(Limits::new().total(4 * LIMIT)).grpc_timeout()
}

fn one_and_stall() -> Answer {
    Answer::bytes(Script::new().data(message("one")).stall())
}

#[tokio::test]
async fn a_grpc_timeout_holds_over_the_whole_stream_for_a_client_of_tonics() {
    let (tonic, mut endings) = limited(granted(), one_and_stall).await;
    let mut stream = call_within(tonic.addr(), Some(MOMENT)).await.unwrap();
    assert_eq!(stream.next().await.unwrap(), "one");
    assert_eq!(stream.next().await.unwrap_err().code(), Code::DeadlineExceeded);
    let ending = endings.next(LIMIT).await;
    assert_eq!((ending.outcome, ending.reason()), (Outcome::TimedOut, Some("total")));
    assert!(ending.elapsed >= MOMENT, "{ending:?}");
}

async fn raw(tonic: &Tonic, headers: &[(&str, &str)]) -> (H2, http::HeaderMap, testkit::H2Body) {
    let mut client = H2::connect(tonic.addr()).await.unwrap();
    let headers = [&[("content-type", "application/grpc"), ("te", "trailers")], headers].concat();
    let (head, body) = client.request("POST", PATH, &headers).await.unwrap();
    (client, head.headers, body)
}

#[tokio::test]
async fn a_grpc_timeout_in_the_stream_is_told_in_trailers() {
    let (tonic, _endings) = limited(granted(), one_and_stall).await;
    let (_client, _, mut body) = raw(&tonic, &[("grpc-timeout", "200m")]).await;
    assert_eq!(body.next(LIMIT).await, H2Next::Data(message("one")));
    let H2Next::Trailers(trailers) = body.next(LIMIT).await else { panic!("no trailers") };
    assert_eq!(trailers["grpc-status"], "4");
}

// faults.md 12.
#[tokio::test]
async fn a_call_without_a_head_in_time_is_answered_with_a_head_alone() {
    let layer = TimeoutsLayer::new(Limits::new().head(MOMENT));
    let (tonic, mut endings) = limited(layer, || Answer::Never).await;
    let (_client, head, mut body) = raw(&tonic, &[]).await;
    assert_eq!(
        (&head["grpc-status"], body.next(LIMIT).await),
        (&"4".parse().unwrap(), H2Next::End)
    );
    let ending = endings.next(LIMIT).await;
    assert_eq!((ending.outcome, ending.reason()), (Outcome::TimedOut, Some("head")));
}

// faults.md 14.
#[tokio::test]
async fn a_stall_in_the_middle_of_a_message_resets_the_stream_and_gives_no_status() {
    let half = message("a whole message").slice(..9);
    let layer = TimeoutsLayer::new(Limits::new().idle(Duration::from_millis(100)));
    let given = half.clone();
    let (tonic, mut endings) =
        limited(layer, move || Answer::bytes(Script::new().data(given.clone()).stall())).await;
    let (_client, _, mut body) = raw(&tonic, &[]).await;
    assert_eq!(body.next(LIMIT).await, H2Next::Data(half));
    assert_eq!(body.next(LIMIT).await, H2Next::Reset(CUT.0));
    assert_eq!(endings.next(LIMIT).await.outcome, Outcome::TimedOut);
}
