//! When a heartbeat is sent, on the paused clock.

use std::{pin::pin, time::Duration};

use bytes::Bytes;
use http_body_util::BodyExt;
use testkit::{Gate, Script, Wakes, poll_body};
use tokio::time::{Instant, advance};

use super::{COMMENT, SECOND, texts, timeline};
use crate::keepalive::{Heartbeat, IdleKeepaliveBody};

fn keepalive(script: Script) -> IdleKeepaliveBody<Script> {
    IdleKeepaliveBody::new(script, 15 * SECOND, Heartbeat::comment())
}

#[tokio::test(start_paused = true)]
async fn one_heartbeat_comes_for_each_interval_in_which_nothing_was_sent() {
    let script = Script::new().data("data: a\n\n").sleep(50 * SECOND).data("data: b\n\n");
    let seen = timeline(keepalive(script)).await;
    let expect = [
        (0.0, "data: a\n\n"),
        (15.0, COMMENT),
        (30.0, COMMENT),
        (45.0, COMMENT),
        (50.0, "data: b\n\n"),
    ];
    assert_eq!(texts(&seen), expect);
}

#[tokio::test(start_paused = true)]
async fn heartbeats_begin_before_the_first_frame() {
    let script = Script::new().sleep(20 * SECOND).data("data: a\n\n");
    let seen = timeline(keepalive(script)).await;
    assert_eq!(texts(&seen), [(15.0, COMMENT), (20.0, "data: a\n\n")]);
}

#[tokio::test(start_paused = true)]
async fn a_frame_that_goes_out_begins_the_interval_anew() {
    let mut script = Script::new();
    for _ in 0..10 {
        script = script.data("data: a\n\n").sleep(14 * SECOND);
    }
    let seen = timeline(keepalive(script.sleep(2 * SECOND))).await;
    assert_eq!(seen.len(), 11);
    assert_eq!(texts(&seen)[10], (141.0, COMMENT), "15 s after the tenth frame");
}

#[tokio::test(start_paused = true)]
async fn what_is_held_back_has_not_gone_out_and_does_not_count() {
    let script = Script::new().data("data: a\n\n").sleep(10 * SECOND).data("data: b");
    let script = script.sleep(10 * SECOND).data("\n\n").sleep(16 * SECOND);
    let seen = timeline(keepalive(script)).await;
    let expect = [
        (0.0, "data: a\n\n"),
        (15.0, COMMENT), // Not 25: the client saw nothing of b.
        (20.0, "data: b"),
        (20.0, "\n\n"),
        (35.0, COMMENT),
    ];
    assert_eq!(texts(&seen), expect);
}

/// faults.md 43.
#[tokio::test(start_paused = true)]
async fn an_empty_frame_is_handed_on_at_once_and_is_silence_to_the_client() {
    let script = Script::new().data("data: a\n\n").sleep(10 * SECOND).data("").sleep(10 * SECOND);
    let seen = timeline(keepalive(script)).await;
    assert_eq!(texts(&seen), [(0.0, "data: a\n\n"), (10.0, ""), (15.0, COMMENT)]);
}

/// faults.md 51.
#[tokio::test(start_paused = true)]
async fn data_wins_when_both_are_due_and_the_heartbeat_waits_a_whole_interval() {
    let script = Script::new().data("data: a\n\n").sleep(15 * SECOND).data("data: b\n\n");
    let seen = timeline(keepalive(script.sleep(20 * SECOND))).await;
    assert_eq!(texts(&seen), [(0.0, "data: a\n\n"), (15.0, "data: b\n\n"), (30.0, COMMENT)]);
}

/// faults.md 6.
#[tokio::test(start_paused = true)]
async fn while_the_client_does_not_read_none_is_made_and_then_there_is_one() {
    let mut body = pin!(keepalive(Script::new().stall()));
    let wakes = Wakes::new();
    assert!(poll_body(body.as_mut(), &wakes.waker()).is_pending());
    for _ in 0..100 {
        advance(15 * SECOND).await;
    }
    assert_eq!(wakes.count(), 1, "the timer does not go on by itself");
    assert!(poll_body(body.as_mut(), &wakes.waker()).is_ready());
    assert!(poll_body(body.as_mut(), &wakes.waker()).is_pending(), "one, not one hundred");
    advance(14 * SECOND).await;
    assert!(poll_body(body.as_mut(), &wakes.waker()).is_pending());
    advance(SECOND).await;
    assert!(poll_body(body.as_mut(), &wakes.waker()).is_ready());
}

/// faults.md 52.
#[tokio::test(start_paused = true)]
async fn when_the_clock_jumps_one_heartbeat_comes_and_not_one_for_each_interval() {
    let gate = Gate::new();
    let mut body = keepalive(Script::new().data("data: a\n\n").wait(&gate).data("data: b\n\n"));
    body.frame().await.unwrap().unwrap();
    let mut body = pin!(body);
    let wakes = Wakes::new();
    assert!(poll_body(body.as_mut(), &wakes.waker()).is_pending());
    advance(3_600 * SECOND).await;
    assert!(poll_body(body.as_mut(), &wakes.waker()).is_ready());
    assert!(poll_body(body.as_mut(), &wakes.waker()).is_pending());
    gate.open();
    let seen = timeline(body).await;
    assert_eq!(texts(&seen), [(0.0, "data: b\n\n")]);
}

#[tokio::test(start_paused = true)]
async fn a_timer_of_an_earlier_pause_brings_no_early_heartbeat() {
    let gate = Gate::new();
    let script = Script::new().sleep(14 * SECOND).data("data: a\n\n").wait(&gate);
    let mut body = pin!(keepalive(script));
    let wakes = Wakes::new();
    assert!(poll_body(body.as_mut(), &wakes.waker()).is_pending()); // Sets the timer to 15 s.
    advance(14 * SECOND).await;
    assert!(poll_body(body.as_mut(), &wakes.waker()).is_ready());
    assert!(poll_body(body.as_mut(), &wakes.waker()).is_pending());
    advance(SECOND).await;
    assert!(poll_body(body.as_mut(), &wakes.waker()).is_pending(), "15 s, but 1 s after the frame");
    advance(14 * SECOND - Duration::from_millis(1)).await;
    let before = wakes.count();
    assert!(poll_body(body.as_mut(), &wakes.waker()).is_pending());
    advance(Duration::from_millis(1)).await;
    assert_eq!(wakes.count(), before + 1, "the timer was set anew, and wakes");
    assert!(poll_body(body.as_mut(), &wakes.waker()).is_ready());
}

#[tokio::test(start_paused = true)]
async fn none_is_sent_while_a_torn_event_is_passing() {
    let large = Bytes::from(format!("data: {}", "x".repeat(64 * 1024)));
    let script = Script::new().data(large.clone()).sleep(40 * SECOND).data("more");
    let script = script.sleep(40 * SECOND).data("\n\n").sleep(20 * SECOND);
    let seen = timeline(keepalive(script)).await;
    let (first, rest) = seen.split_first().unwrap();
    assert_eq!(*first, (0.0, large));
    assert_eq!(texts(rest), [(40.0, "more"), (80.0, "\n\n"), (95.0, COMMENT)]);
}

#[tokio::test(start_paused = true)]
async fn an_interval_of_nought_is_a_millisecond_and_does_not_spin() {
    let script = Script::new().sleep(Duration::from_millis(10)).data("data: a\n\n");
    let body = IdleKeepaliveBody::new(script, Duration::ZERO, Heartbeat::comment());
    let seen = timeline(body).await;
    let expect: Vec<_> = (1..10).map(|ms| (f64::from(ms) / 1_000.0, COMMENT)).collect();
    assert_eq!(texts(&seen)[..9], expect);
    assert_eq!(texts(&seen)[9], (0.01, "data: a\n\n"));
}

#[tokio::test(start_paused = true)]
async fn an_interval_that_no_clock_will_reach_brings_no_heartbeat_and_no_panic() {
    for interval in [Duration::MAX, Duration::from_secs(1 << 62), Duration::from_secs(1 << 40)] {
        let script = Script::new().sleep(1_000_000 * SECOND).data("data: a\n\n");
        let body = IdleKeepaliveBody::new(script, interval, Heartbeat::comment());
        let seen = timeline(body).await;
        assert_eq!(texts(&seen), [(1_000_000.0, "data: a\n\n")], "{interval:?}");
    }
}

/// Making a timer outside of a runtime panics, so none is made where there is none.
#[test]
fn while_frames_come_the_timer_is_not_touched_and_no_runtime_is_needed() {
    let script = Script::new().data("data: a\n\n").data("data: b").data("\n\n").data("half");
    let mut body = pin!(keepalive(script));
    let wakes = Wakes::new();
    for expect in ["data: a\n\n", "data: b", "\n\n", "half"] {
        let polled = poll_body(body.as_mut(), &wakes.waker());
        let std::task::Poll::Ready(Some(Ok(frame))) = polled else { panic!("{polled:?}") };
        assert_eq!(frame.into_data().unwrap(), expect);
    }
    assert!(matches!(poll_body(body.as_mut(), &wakes.waker()), std::task::Poll::Ready(None)));
}

#[test]
fn a_body_with_a_running_timer_may_be_dropped_where_there_is_no_runtime() {
    let script = Script::new().stall();
    let log = script.log();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let body = runtime.block_on(async {
        let mut body = keepalive(script);
        let polled = poll_body(std::pin::Pin::new(&mut body), &Wakes::new().waker());
        assert!(polled.is_pending());
        body
    });
    drop(runtime);
    drop(body);
    assert!(log.dropped_at().is_some());
}

#[tokio::test(start_paused = true)]
async fn the_client_leaves_and_the_inner_body_is_dropped_with_it() {
    let script = Script::new().data("data: a\n\n").data("half").stall();
    let log = script.log();
    let mut body = keepalive(script);
    body.frame().await.unwrap().unwrap();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), COMMENT);
    drop(body);
    assert_eq!(log.dropped_at(), Some(Instant::now()));
}

#[tokio::test(start_paused = true)]
async fn a_record_whose_line_end_comes_before_the_next_is_not_held_back() {
    let script = Script::new().data("{\"a\":1}").sleep(SECOND * 3).data("\n{\"b\":2}");
    let script = script.sleep(SECOND * 3).data("\n").sleep(SECOND * 3 / 2).data("\n{\"c");
    let body =
        IdleKeepaliveBody::new(script.sleep(SECOND).data("\":3}"), SECOND, Heartbeat::space());
    let expected = [
        (0.0, "{\"a\":1}"), // The next says that its line has ended: until then nothing stands behind it.
        (3.0, "\n{\"b\":2}"),
        (6.0, "\n"),
        (7.0, " "),
        (7.5, "\n"),
        (8.5, "{\"c"),
        (8.5, "\":3}"),
    ];
    assert_eq!(texts(&timeline(body).await), expected);
}
