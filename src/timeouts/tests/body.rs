//! A body under limits on its upstream.

use http::HeaderMap;
use testkit::{Eos, Log, Wakes, drain, poll_body};
use tokio::time::{advance, sleep};

use super::*;

fn limited(script: Script, limits: &Limits) -> TimeoutsBody<Script> {
    TimeoutsBody::new(script, limits, Activity::events())
}

fn idle(seconds: u32) -> Limits {
    Limits::new().idle(seconds * SECOND)
}

#[tokio::test(start_paused = true)]
async fn within_its_limits_a_body_is_handed_on_unchanged() {
    let trailers = HeaderMap::from_iter([("x-a".parse().unwrap(), "1".parse().unwrap())]);
    let script = Script::new().data("a").sleep(9 * SECOND).data("b").trailers(trailers.clone());
    let all = idle(10).first_frame(SECOND).total(60 * SECOND).unread(SECOND);
    let seen = drain(TimeoutsBody::new(script, &all, Activity::any_byte())).await;
    assert_eq!((&seen.data[..], seen.trailers), (&b"ab"[..], Some(trailers)));
    let failing = Script::new().data("a").error("boom");
    let seen = drain(TimeoutsBody::new(failing, &all, Activity::any_byte())).await;
    assert_eq!(seen.error.unwrap().to_string(), "boom");
}

#[tokio::test(start_paused = true)]
async fn the_first_frame_limit_runs_from_the_head_to_the_first_byte() {
    let limits = Limits::new().first_frame(5 * SECOND);
    let script = Script::new().data("").stall();
    assert_eq!(read(limited(script, &limits)).await, (vec![], Some((Limit::FirstFrame, 5.0))));
    // A comment is a byte; from it on the idle limit runs.
    let script = Script::new().sleep(4 * SECOND).data(": c\n").stall();
    let both = Limits::new().first_frame(5 * SECOND).idle(2 * SECOND);
    assert_eq!(read(limited(script, &both)).await, (b": c\n".to_vec(), Some((Limit::Idle, 6.0))));
    let script = Script::new().sleep(4 * SECOND).data("data: x\n\n").sleep(99 * SECOND).end();
    assert_eq!(read(limited(script, &limits)).await, (b"data: x\n\n".to_vec(), None));
}

#[tokio::test(start_paused = true)]
async fn the_idle_limit_begins_anew_with_progress_and_with_nothing_else() {
    let script = || Script::new().data("data: 1\n\n");
    let busy = script().sleep(9 * SECOND).data("data: 2\n\n").sleep(9 * SECOND).end();
    assert_eq!(read(limited(busy, &idle(10))).await.1, None);
    let pinging = (0..100).fold(script(), |script, _| {
        script.sleep(3 * SECOND).data(": still here\n\n").data("event: ping\ndata: {}\n\n").data("")
    });
    assert_eq!(read(limited(pinging, &idle(10))).await.1, Some((Limit::Idle, 10.0)));
}

// faults.md 14: no byte is added, the error tells that it was cut.
#[tokio::test(start_paused = true)]
async fn a_stall_in_the_middle_of_an_event_hits_the_idle_limit_too() {
    let script = Script::new().data("data: 1\n\nda").stall();
    let read = read(limited(script, &idle(10))).await;
    assert_eq!(read, (b"data: 1\n\nda".to_vec(), Some((Limit::Idle, 10.0))));
}

// faults.md 50.
#[tokio::test(start_paused = true)]
async fn data_and_a_deadline_in_the_same_poll_is_data() {
    let script = Script::new().data("data: 1\n\n").sleep(10 * SECOND).data("data: 2\n\n").end();
    assert_eq!(read(limited(script, &idle(10))).await, (b"data: 1\n\ndata: 2\n\n".to_vec(), None));
    let script = Script::new().sleep(10 * SECOND).end();
    assert_eq!(read(limited(script, &Limits::new().first_frame(10 * SECOND))).await.1, None);
}

#[tokio::test(start_paused = true)]
async fn time_in_which_nobody_asked_the_upstream_is_not_its_time() {
    let log = Log::new();
    let script = Script::new().data("data: 1\n\n").data(": c\n").stall().log_into(&log);
    let mut body = limited(script, &idle(10));
    for _ in 0..2 {
        next(&mut body).await;
        sleep(3600 * SECOND).await; // The client does not read.
    }
    let start = Instant::now();
    let error = body.frame().await.unwrap().unwrap_err();
    assert_eq!((limit(&error), start.elapsed()), (Limit::Idle, 10 * SECOND));
    assert!(log.dropped_at().is_some());
}

#[tokio::test(start_paused = true)]
async fn what_was_waited_for_before_a_ping_counts_with_what_was_waited_for_after_it() {
    let script = Script::new().data("data: 1\n\n").sleep(6 * SECOND).data(": c\n").stall();
    let mut body = limited(script, &idle(10));
    next(&mut body).await;
    next(&mut body).await;
    sleep(3600 * SECOND).await;
    let start = Instant::now();
    assert!(body.frame().await.unwrap().is_err());
    assert_eq!(start.elapsed(), 4 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn the_error_says_which_limit_how_long_it_is_and_when_it_was_hit() {
    let script = Script::new().data("data: 1\n\n").sleep(5 * SECOND).data("data: 2\n\n").stall();
    let seen = drain(limited(script, &idle(10))).await;
    let error = seen.error.unwrap();
    let error = error.downcast_ref::<TimedOut>().unwrap();
    assert_eq!((error.limit(), error.after()), (Limit::Idle, 10 * SECOND));
    assert_eq!(error.elapsed(), Some(15 * SECOND));
    assert_eq!(error.to_string(), "idle timeout: no progress for 10s");
}

#[tokio::test(start_paused = true)]
async fn the_total_limit_fires_in_a_busy_stream_and_while_nobody_polls() {
    let busy = (0..100).fold(Script::new(), |script, _| script.data("data: x\n\n").sleep(SECOND));
    let limits = idle(10).total(Duration::from_millis(4500));
    let (bytes, ended) = read(limited(busy, &limits)).await;
    assert_eq!((bytes.len(), ended), (5 * 9, Some((Limit::Total, 4.5))));

    let log = Log::new();
    let body = limited(Script::new().data("x").stall().log_into(&log), &limits);
    let start = Instant::now();
    assert_eq!(log.dropped().await - start, Duration::from_millis(4500));
    assert_eq!(read(body).await, (vec![], Some((Limit::Total, 4.5 - 4.5))));
}

#[tokio::test(start_paused = true)]
async fn a_body_that_has_ended_can_not_hit_a_limit_and_leaves_no_task_behind() {
    let limits = idle(1).total(SECOND).unread(SECOND);
    for eos in [Eos::Never, Eos::Truthful] {
        let mut body = limited(Script::new().data("data: x\n\n").eos(eos), &limits);
        next(&mut body).await;
        if eos == Eos::Never {
            assert!(body.frame().await.is_none());
        }
        tokio::task::yield_now().await;
        let alive = tokio::runtime::Handle::current().metrics().num_alive_tasks();
        assert_eq!(alive, 0, "{eos:?}");
        sleep(10 * SECOND).await;
        assert!(body.frame().await.is_none());
    }
}

// faults.md 52.
#[tokio::test(start_paused = true)]
async fn a_jump_of_the_clock_hits_one_limit_once() {
    let wakes = Wakes::new();
    let limits = idle(10).unread(SECOND).total(20 * SECOND);
    let mut body = std::pin::pin!(limited(Script::new().data("data: x\n\n").stall(), &limits));
    assert!(poll_body(body.as_mut(), &wakes.waker()).is_ready());
    assert!(poll_body(body.as_mut(), &wakes.waker()).is_pending());
    advance(3600 * SECOND).await;
    tokio::task::yield_now().await;
    assert!(wakes.count() <= 2, "{}", wakes.count());
    let std::task::Poll::Ready(Some(Err(error))) = poll_body(body.as_mut(), &wakes.waker()) else {
        panic!("no limit was hit")
    };
    assert!(matches!(limit(&error), Limit::Idle | Limit::Total));
    assert!(matches!(poll_body(body.as_mut(), &wakes.waker()), std::task::Poll::Ready(None)));
}

#[tokio::test(start_paused = true)]
async fn dropped_by_its_reader_it_drops_the_inner_body_and_its_task() {
    let log = Log::new();
    let limits = idle(1).total(SECOND);
    drop(limited(Script::new().stall().log_into(&log), &limits));
    assert!(log.dropped_at().is_some());
    tokio::task::yield_now().await;
    assert_eq!(tokio::runtime::Handle::current().metrics().num_alive_tasks(), 0);
}

// faults.md 40: timers are made when they are needed.
#[test]
fn without_a_runtime_a_body_can_be_made_and_dropped() {
    let limits = idle(1).total(SECOND).unread(SECOND);
    let body = limited(Script::new().data("x"), &limits);
    assert!(format!("{body:?}").starts_with("TimeoutsBody { limits: Limits {"));
    drop(body);
}
