use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind, panic_any},
    task::{Context, Poll},
};

use http::{HeaderMap, HeaderValue};
use http_body::Frame;
use testkit::{Eos, Event, drain};

use super::*;

fn trailers() -> HeaderMap {
    HeaderMap::from_iter([("grpc-status".parse().unwrap(), HeaderValue::from_static("0"))])
}

fn is_data(polled: Polled<Script>, expected: &str) -> bool {
    matches!(polled, Poll::Ready(Some(Ok(frame))) if frame.data_ref().is_some_and(|data| data == expected))
}

fn assert_over(body: &mut Body) {
    for _ in 0..3 {
        assert!(matches!(poll(body), Poll::Ready(None)));
    }
}

/// What comes behind data that waits, when there is more that nobody must come to.
fn behind_data(end: impl Fn(Script) -> Script) -> Body {
    let script = end(Script::new().data("a").data("b").eos(Eos::Never)).data("late");
    let log = script.log();
    let mut body = gathers(script);
    assert!(is_data(poll(&mut body), "ab"));
    assert!(log.dropped_at().is_some(), "the inner body has ended, and is still there");
    assert_eq!(log.count(|event| *event == Event::PollAfterEnd), 0);
    body
}

#[test]
fn the_end_follows_the_data_before_it() {
    assert_over(&mut behind_data(Script::end));
}

#[test]
fn trailers_follow_the_data_before_them() {
    let mut body = behind_data(|script| script.trailers(trailers()));
    let Poll::Ready(Some(Ok(frame))) = poll(&mut body) else { panic!("no trailers") };
    assert_eq!(frame.into_trailers().unwrap(), trailers());
    assert_over(&mut body);
}

#[test]
fn an_error_follows_the_data_before_it_and_is_the_very_same() {
    let mut body = behind_data(|script| script.error("boom"));
    let Poll::Ready(Some(Err(error))) = poll(&mut body) else { panic!("no error") };
    assert_eq!(error.to_string(), "boom");
    assert_over(&mut body);
}

#[test]
fn a_panic_follows_the_data_before_it() {
    let mut body = behind_data(|script| script.panic("ouch"));
    let caught = catch_unwind(AssertUnwindSafe(|| poll(&mut body)));
    assert_eq!(caught.unwrap_err().downcast_ref::<String>().unwrap(), "ouch");
    assert_over(&mut body);
}

#[tokio::test]
async fn an_end_without_data_before_it_comes_at_once() {
    let error = drain(gathers(Script::new().error("boom"))).await.error;
    assert_eq!(error.unwrap().to_string(), "boom");
    assert_eq!(drain(gathers(Script::new().trailers(trailers()))).await.trailers, Some(trailers()));
    assert_over(&mut gathers(Script::new()));
}

#[test]
fn what_follows_a_frame_that_did_not_fit_is_in_its_place() {
    let large = "x".repeat(LIMIT);
    let mut body = gathers(Script::new().data("a").data(large.clone()).error("boom"));
    assert!(is_data(poll(&mut body), "a"));
    assert!(is_data(poll(&mut body), &large));
    assert!(matches!(poll(&mut body), Poll::Ready(Some(Err(_)))));
    assert_over(&mut body);
}

/// Panics with a number.
struct Odd;

impl http_body::Body for Odd {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        panic_any(7)
    }
}

#[test]
fn the_payload_of_a_panic_is_its_own() {
    let mut body = CoalesceBody::new(Odd, LIMIT);
    let polled = || poll_body(Pin::new(&mut body), &Wakes::new().waker()).is_ready();
    let payload: Box<dyn Any + Send> = catch_unwind(AssertUnwindSafe(polled)).unwrap_err();
    assert_eq!(payload.downcast_ref(), Some(&7));
}

#[test]
fn the_inner_body_is_dropped_with_this_one_whatever_is_held() {
    let large = "x".repeat(LIMIT);
    for polls in 0..2 {
        let script = Script::new().data("a").data(large.clone()).stall();
        let log = script.log();
        let mut body = gathers(script);
        assert!((0..polls).all(|_| is_data(poll(&mut body), "a")));
        assert_eq!(log.dropped_at(), None);
        drop(body);
        assert!(log.dropped_at().is_some());
    }
}
