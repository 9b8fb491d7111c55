//! How long a head is held back at most.

use std::{future::poll_fn, pin::pin, task::Context};

use testkit::{Event, Wakes};
use tokio::time::{Instant, sleep};

use super::*;

#[tokio::test(start_paused = true)]
async fn after_ten_seconds_the_head_goes_out_as_it_is_and_a_failure_is_told_in_the_stream() {
    let start = Instant::now();
    let trickle = Script::new().data(PING).sleep(Duration::from_secs(6)).data(PING);
    let response = sse(trickle.sleep(Duration::from_secs(6)).data(ERROR).error("late")).await;
    assert_eq!((response.status().as_u16(), start.elapsed().as_secs()), (200, 10));
    let body = read(response).await;
    assert_eq!(body.frames, [PING, PING, ERROR]);
    assert_eq!(body.error.unwrap().to_string(), "late");
}

#[tokio::test(start_paused = true)]
async fn the_time_counts_from_the_head_and_not_from_the_call() {
    let service = service_fn(|_: Request<()>| async {
        sleep(Duration::from_secs(60)).await;
        Ok::<_, ScriptError>(Response::new(Script::new().stall()))
    });
    let start = Instant::now();
    let layer = FirstFrameLayer::by_media().limits(1000, Duration::from_secs(3));
    let response = layer.layer(service).oneshot(Request::new(())).await.unwrap();
    assert_eq!((response.status().as_u16(), start.elapsed().as_secs()), (200, 63));
}

#[tokio::test(start_paused = true)]
async fn data_that_is_due_with_the_limit_wins() {
    let layer = FirstFrameLayer::by_media().limits(1000, Duration::from_secs(1));
    let body = Script::new().sleep(Duration::from_secs(1)).error("in time");
    assert_eq!(call(&layer, body, "text/event-stream").await.status(), 502);
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_no_clock_reaches_is_none() {
    let layer = FirstFrameLayer::by_media().limits(1000, Duration::MAX);
    let body = Script::new().sleep(Duration::from_secs(1_000_000)).data(ERROR);
    assert_eq!(call(&layer, body, "text/event-stream").await.status(), 502);
}

#[tokio::test]
async fn at_the_byte_limit_the_head_goes_out_and_nothing_is_lost() {
    let layer = FirstFrameLayer::by_media().limits(1000, Duration::from_secs(10));
    let comment = format!(":{}\n", "x".repeat(400));
    let body = (0..10).fold(Script::new(), |body, _| body.data(comment.clone()));
    let log = body.log();
    let response = call(&layer, body.data(ERROR), "text/event-stream").await;
    assert_eq!(response.status(), 200);
    assert!(log.polls() <= 3);
    assert_eq!(read(response).await.data, comment.repeat(10) + ERROR);
}

/// 20 streams of 1,900 bytes, each of which came by itself, took 135 MB.
#[tokio::test(start_paused = true)]
async fn what_is_held_back_pins_no_read_buffer() {
    let buffers: Vec<_> = (0..1_900).map(|_| Bytes::from(vec![b':'; 8_192])).collect();
    let body = buffers.iter().fold(Script::new(), |body, buffer| body.data(buffer.slice(..1)));
    let response = sse(body.stall()).await;
    assert_eq!(response.status(), 200);
    assert!(buffers.iter().all(Bytes::is_unique));
    let mut body = pin!(response.into_body());
    for _ in &buffers {
        let frame = poll_fn(|cx| body.as_mut().poll_frame(cx)).await;
        assert_eq!(frame.unwrap().unwrap().into_data().unwrap(), ":");
    }
}

#[tokio::test]
async fn frames_without_a_byte_are_no_way_around_the_limit() {
    let body = Script::new().endless("");
    let log = body.log();
    let response = sse(body).await;
    assert_eq!(response.status(), 200);
    // Each takes a byte to be remembered.
    assert!(log.polls() <= 65_536, "{}", log.polls());
}

#[tokio::test]
async fn a_body_that_is_always_ready_starves_nobody() {
    let layer = FirstFrameLayer::by_media().limits(1 << 20, Duration::from_secs(10));
    let body = Script::new().endless(":\n");
    let log = body.log();
    let service = layer.layer(upstream([body], "text/event-stream"));
    let mut future = pin!(service.oneshot(Request::new(())));
    let wakes = Wakes::new();
    // Within a task of tokio, for which alone there is a budget.
    poll_fn(|_| {
        let polled = future.as_mut().poll(&mut Context::from_waker(&wakes.waker()));
        assert!(polled.is_pending());
        Poll::Ready(())
    })
    .await;
    assert!(log.polls() <= 128, "{}", log.polls());
    tokio::task::yield_now().await;
    assert!(wakes.count() > 0);
    assert_eq!(log.count(|event| matches!(event, Event::Dropped { .. })), 0);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_polled_while_nothing_happens() {
    let body = Script::new().data(PING).sleep(Duration::from_secs(5)).data(PING).stall();
    let log = body.log();
    assert_eq!(sse(body).await.status(), 200);
    assert!(log.polls() <= 6, "{}", log.polls());
}
