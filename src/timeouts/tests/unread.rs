//! A client that does not read.

use testkit::{Log, Wakes, poll_body};
use tokio::time::sleep;

use super::*;

fn unread(script: Script) -> TimeoutsBody<Script> {
    TimeoutsBody::new(script, &Limits::new().unread(10 * SECOND), Activity::any_byte())
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_ask_for_the_next_frame_is_cut_without_a_poll() {
    let log = Log::new();
    let mut body = unread(Script::new().data("a").data("b").stall().log_into(&log));
    next(&mut body).await;
    let start = Instant::now();
    assert_eq!(log.dropped().await - start, 10 * SECOND);
    let (bytes, ended) = read(body).await;
    assert_eq!((bytes, ended.unwrap().0), (vec![], Limit::Unread));
}

#[tokio::test(start_paused = true)]
async fn a_body_that_nobody_begins_to_read_is_cut_too() {
    let log = Log::new();
    let body = unread(Script::new().data("a").log_into(&log));
    let start = Instant::now();
    assert_eq!(log.dropped().await - start, 10 * SECOND);
    drop(body);
}

#[tokio::test(start_paused = true)]
async fn each_read_begins_the_time_anew() {
    let script = Script::new().data("a").data("b").data("c").stall();
    let log = script.log();
    let mut body = unread(script);
    for _ in 0..3 {
        next(&mut body).await;
        sleep(9 * SECOND).await;
    }
    assert!(log.dropped_at().is_none());
    let start = Instant::now();
    assert_eq!(log.dropped().await - start, SECOND);
}

#[tokio::test(start_paused = true)]
async fn while_it_is_the_upstream_that_is_waited_for_the_client_is_not_to_blame() {
    let script = Script::new().data("a").stall();
    let log = script.log();
    let mut body = std::pin::pin!(unread(script));
    let wakes = Wakes::new();
    assert!(poll_body(body.as_mut(), &wakes.waker()).is_ready());
    assert!(poll_body(body.as_mut(), &wakes.waker()).is_pending());
    sleep(3600 * SECOND).await;
    assert!(log.dropped_at().is_none());
    assert_eq!(wakes.count(), 0, "nothing was due");
}
