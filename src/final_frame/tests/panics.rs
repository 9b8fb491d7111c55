//! Panics of the body.

use std::panic::{AssertUnwindSafe, catch_unwind};

use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use testkit::{Wakes, poll_body};

use super::*;
use crate::{
    exchange::{Exchange, Outcome},
    final_frame::{BodyPanicked, FinalFrameLayer},
};

#[tokio::test(start_paused = true)]
async fn a_panic_of_the_body_is_caught_and_taken_for_an_error() {
    let script = Script::new().data("half").panic("secret").data("late");
    let log = script.log();
    let (seen, took) = read(FinalFrameBody::new(script, Media::Other, Final::by_media)).await;
    assert_eq!((&seen.data[..], took), (&b"half"[..], LINGER));
    let error = seen.error.unwrap();
    assert_eq!(error.downcast_ref::<BodyPanicked>().unwrap().message(), "secret");
    assert_eq!(error.to_string(), "the body panicked: secret");
    assert!(error.source().is_none());
    assert_eq!(log.count(|event| *event == testkit::Event::Dropped { panicking: false }), 1);
    assert_eq!(log.count(|event| *event == testkit::Event::PollAfterEnd), 0);
}

#[tokio::test(start_paused = true)]
async fn a_panic_between_events_becomes_the_error_event_and_says_nothing_of_its_message() {
    let script = Script::new().data("data: a\n\ndata: b").panic("secret");
    let (seen, _) = read(FinalFrameBody::new(script, Media::EventStream, Final::by_media)).await;
    assert_eq!(seen.frames.len(), 2);
    let last = std::str::from_utf8(&seen.frames[1]).unwrap();
    assert!(last.contains("internal error") && !last.contains("secret"), "{last}");
}

#[tokio::test(start_paused = true)]
async fn a_panic_under_an_exact_size_is_an_error_too() {
    let script = Script::new().data("half").panic("secret").exact_size(99);
    let (seen, _) = read(FinalFrameBody::new(script, Media::EventStream, never)).await;
    assert!(seen.error.unwrap().is::<BodyPanicked>());
}

#[tokio::test(start_paused = true)]
async fn the_function_is_told_of_a_panic() {
    let choose = |failure: &Failure<'_>| {
        assert_eq!(failure.cause.outcome(), Outcome::Panicked);
        assert_eq!(failure.cause.reason(), Some("secret"));
        assert_eq!(failure.message(), "internal error");
        Final::End
    };
    let (seen, _) =
        read(FinalFrameBody::new(Script::new().panic("secret"), Media::Other, choose)).await;
    assert!(seen.error.is_none());
}

#[test]
fn a_panic_may_go_on_after_everything_inside_was_dropped_and_told() {
    let exchange = Exchange::new();
    let script = Script::new().panic("boom");
    let log = script.log();
    let layer = FinalFrameLayer::new(never).propagate_panics();
    let mut body = FinalFrameBody::with(script, Some(Media::EventStream), exchange.clone(), layer);
    let wakes = Wakes::new();
    let panic = catch_unwind(AssertUnwindSafe(|| {
        poll_body(std::pin::Pin::new(&mut body), &wakes.waker()).is_ready()
    }));
    assert_eq!(panic.unwrap_err().downcast_ref::<String>().unwrap(), "boom");
    assert_eq!(log.count(|event| *event == testkit::Event::Dropped { panicking: false }), 1);
    assert_eq!(exchange.cause().unwrap().outcome(), Outcome::Panicked);
    assert!(http_body::Body::is_end_stream(&body));
    let polled = poll_body(std::pin::Pin::new(&mut body), &wakes.waker());
    assert!(matches!(polled, std::task::Poll::Ready(None)));
}

/// Panics in its poll, and once more when it is dropped for that; and so does what it panicked with.
struct Twice;

struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("in the drop of the payload");
    }
}

impl http_body::Body for Twice {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        std::panic::panic_any(Bomb)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::new()
    }
}

impl Drop for Twice {
    fn drop(&mut self) {
        panic!("in the drop");
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_or_a_payload_that_panics_again_when_it_is_dropped_harms_nothing() {
    let mut body = FinalFrameBody::new(Twice, Media::EventStream, Final::by_media);
    let last = body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert!(last.starts_with(b"event: error\n"));
    assert!(body.frame().await.is_none());
    let error = FinalFrameBody::new(Twice, Media::Other, Final::by_media)
        .frame()
        .await
        .unwrap()
        .unwrap_err();
    assert_eq!(error.to_string(), "the body panicked: panic with a payload that is no text");
}
