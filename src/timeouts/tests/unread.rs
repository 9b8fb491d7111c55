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
    let script = Script::new().data("a").sleep(3600 * SECOND).data("b").end();
    let log = script.log();
    assert_eq!(read(unread(script)).await, (b"ab".to_vec(), None));
    // It is asked whether it is there, once each time the limit has passed.
    assert!(log.polls() < 3 + 360 + 2, "{}", log.polls());
}

// Whoever stands between, such as a keepalive layer, asked for more and was told to wait; then hyper stopped to ask it.
#[tokio::test(start_paused = true)]
async fn a_reader_that_waits_but_does_not_ask_when_it_is_woken_is_gone() {
    for (limit, answer) in [(10 * SECOND, 5 * SECOND), (SECOND, SECOND)] {
        let script = Script::new().data("a").stall();
        let log = script.log();
        let limits = Limits::new().unread(limit);
        let mut body = std::pin::pin!(TimeoutsBody::new(script, &limits, Activity::any_byte()));
        let (wakes, start) = (Wakes::new(), Instant::now());
        assert!(poll_body(body.as_mut(), &wakes.waker()).is_ready());
        assert!(poll_body(body.as_mut(), &wakes.waker()).is_pending());
        assert_eq!(log.dropped().await - start, limit + answer);
        // Once to see whether it is there, once for the error.
        assert_eq!(wakes.count(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_limit_of_nothing_is_one_of_a_millisecond() {
    let log = Log::new();
    let script = Script::new().data("a").data("b").log_into(&log);
    let limits = Limits::new().unread(Duration::ZERO);
    let mut body = TimeoutsBody::new(script, &limits, Activity::any_byte());
    next(&mut body).await;
    let start = Instant::now();
    assert_eq!(log.dropped().await - start, Duration::from_millis(1));
}
