//! When a limit is due together with something else. On paused time.

use std::{convert::Infallible, time::Duration};

use axum::body::Body;
use bytes::Bytes;
use http::Request;
use http_body::Body as HttpBody;
use http_body_util::BodyExt;
use testkit::{Script, Wakes, drain, poll_body};
use tokio::time::{Instant, advance};
use tower::{ServiceBuilder, ServiceExt};
use tower_lifeline::{
    error::BoxError,
    final_frame::FinalFrameLayer,
    keepalive::IdleKeepaliveLayer,
    timeouts::{Limit, Limits, TimedOut, TimeoutsLayer},
};

use crate::stage::{answering, sse, timed_out_event};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

/// The body of an event stream behind all that has a timer: a heartbeat after 15 s, the idle limit after a minute.
async fn behind(
    limits: Limits,
    script: fn() -> Script,
) -> impl HttpBody<Data = Bytes, Error = BoxError> {
    let stack = ServiceBuilder::new()
        .layer(IdleKeepaliveLayer::new(15 * SECOND))
        .layer(FinalFrameLayer::by_media())
        .layer(TimeoutsLayer::new(limits))
        .service(answering(move || sse(script())));
    let response = stack.oneshot(Request::new(Body::empty())).await;
    let Ok::<_, Infallible>(response) = response;
    response.into_body().map_err(Into::into)
}

// faults.md 50.
#[tokio::test(start_paused = true)]
async fn when_data_and_all_limits_are_due_together_the_data_wins() {
    let limits = || Limits::new().first_frame(MINUTE).idle(MINUTE);
    let script = || {
        let first = Script::new().sleep(MINUTE).data("data: 1\n\n");
        first.sleep(MINUTE).data("data: 2\n\n").sleep(MINUTE)
    };
    let start = Instant::now();
    let read = drain(behind(limits(), script).await).await;
    let text = String::from_utf8(read.data.to_vec()).unwrap();
    assert_eq!(text.replace(": keep-alive\n", ""), "data: 1\n\ndata: 2\n\n");
    assert_eq!((read.error.is_none(), start.elapsed()), (true, 3 * MINUTE));

    // A jump to the very moment, with nobody to poll in between.
    let wakes = Wakes::new();
    let mut body = Box::pin(behind(limits(), script).await);
    assert!(poll_body(body.as_mut(), &wakes.waker()).is_pending());
    advance(MINUTE).await;
    let read = drain(body).await;
    assert!(read.data.starts_with(b"data: 1\n\n") && read.error.is_none(), "{read:?}");
}

// faults.md 52.
#[tokio::test(start_paused = true)]
async fn after_an_hour_in_which_the_machine_slept_one_limit_is_hit_and_there_are_no_heartbeats() {
    let limits = Limits::new().first_frame(10 * MINUTE).idle(MINUTE).unread(MINUTE);
    let wakes = Wakes::new();
    let mut body = Box::pin(behind(limits, || Script::new().data("data: 1\n\n").stall()).await);
    assert!(poll_body(body.as_mut(), &wakes.waker()).is_ready());
    assert!(poll_body(body.as_mut(), &wakes.waker()).is_pending());
    advance(60 * MINUTE).await;
    let read = drain(body).await;
    let event = timed_out_event(&TimedOut::new(Limit::Idle, MINUTE));
    assert_eq!((&*read.data, read.error.is_none()), (event.as_bytes(), true));
}

// faults.md 52.
#[tokio::test(start_paused = true)]
async fn after_an_hour_within_the_limits_there_is_one_heartbeat_and_not_many() {
    let limits = Limits::new().first_frame(120 * MINUTE).idle(120 * MINUTE).total(120 * MINUTE);
    let wakes = Wakes::new();
    let mut body = Box::pin(behind(limits, || Script::new().data("data: 1\n\n").stall()).await);
    assert!(poll_body(body.as_mut(), &wakes.waker()).is_ready());
    assert!(poll_body(body.as_mut(), &wakes.waker()).is_pending());
    advance(60 * MINUTE).await;
    assert!(poll_body(body.as_mut(), &wakes.waker()).is_ready());
    assert!(poll_body(body.as_mut(), &wakes.waker()).is_pending());
    assert!(wakes.count() <= 2, "{} times", wakes.count());
}
