//! Law 3: `Pending` leaves a live waker, and wakes nobody for nothing.

use std::time::Duration;

use testkit::{Gate, Script, Wakes, drain};
use tokio::{
    task::yield_now,
    time::{advance, sleep, timeout},
};

use crate::{
    probe::Probe,
    reading::{Item, data, poll},
    subjects::{INTERVAL, PLAIN, Part, SSE, all, reply},
};

const HOUR: Duration = Duration::from_secs(3600);

/// A hundred events, a second apart, two of them in pieces.
fn ticking() -> Script {
    (0..100).fold(Script::new(), |script, _| {
        let second = Duration::from_secs(1);
        script.sleep(second).data("data: a").pending().data("b\n\n").data("data: c\n\n")
    })
}

#[tokio::test(start_paused = true)]
async fn a_layer_polls_its_inner_body_no_more_often_than_its_reader_would_have() {
    let bare = ticking();
    let log = bare.log();
    drain(bare).await;
    let polls = log.polls();
    for subject in all() {
        for media in [PLAIN, SSE] {
            let probe = Probe::new();
            yield_now().await; // Of a wake-up that came too late for the body before.
            drain(subject.body(&probe, reply(media, ticking())).await).await;
            // The timer of a heartbeat that was not needed fires once in an interval.
            let timers = if subject.has(Part::IdleKeepalive) { 100 / 15 } else { 0 };
            // What gathers asks on until nothing waits, and is asked again, and woken, for what it has handed on since.
            let ahead = if subject.gathers() { 200 } else { 0 };
            let allowed = polls..=polls + timers + ahead;
            assert!(allowed.contains(&probe.log.polls()), "{subject} {media}: {allowed:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_pending_is_left_alone_while_nothing_is_due() {
    for subject in all().filter(|subject| subject.reads_on_demand()) {
        for media in [PLAIN, SSE] {
            let probe = Probe::new();
            let body = subject.body(&probe, reply(media, Script::new().stall())).await;
            let reader = tokio::spawn(drain(body));
            sleep(HOUR).await;
            reader.abort();
            let beats = media == SSE && subject.has(Part::IdleKeepalive);
            // One poll finds that it is pending, and one follows each heartbeat.
            let heartbeats = if beats { HOUR.as_secs() / INTERVAL.as_secs() } else { 0 };
            let expected = 1..=1 + 2 * usize::try_from(heartbeats).unwrap();
            assert!(expected.contains(&probe.log.polls()), "{subject} {media}: {expected:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_wakes_nobody_while_nothing_is_due() {
    for subject in all() {
        let wakes = Wakes::new();
        let script = Script::new().data("data: 1\n\n").stall();
        let mut body = subject.body(&Probe::new(), reply(SSE, script)).await;
        assert_eq!(poll(&mut body, &wakes), Some(data("data: 1\n\n")), "{subject}");
        for _ in 0..10 {
            assert_eq!(poll(&mut body, &wakes), None, "{subject}");
            advance(Duration::from_secs(1)).await;
        }
        assert_eq!(wakes.count(), 0, "{subject}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_reader_is_always_woken_when_there_is_more() {
    for subject in all() {
        for media in [PLAIN, SSE] {
            let (gate, probe) = (Gate::new(), Probe::new());
            let script = Script::new().pending().sleep(HOUR).data("data: 1").wait(&gate);
            let script = script.data("\n\n").pending().pending().data("data: 2\n\n");
            let body = subject.body(&probe, reply(media, script)).await;
            let reader = tokio::spawn(timeout(3 * HOUR, drain(body)));
            sleep(2 * HOUR).await;
            gate.open();
            let read = reader.await.unwrap();
            assert!(read.is_ok(), "{subject} {media}: never woken");
            let text = String::from_utf8(read.unwrap().data.to_vec()).unwrap();
            let text = text.replace(": keep-alive\n", "");
            assert_eq!(text, "data: 1\n\ndata: 2\n\n", "{subject} {media}");
        }
    }
}

// faults.md 55, for each of the things that wake a reader.
#[tokio::test(start_paused = true)]
async fn of_two_tasks_that_polled_the_latest_is_woken_by_data() {
    for subject in all() {
        let (gate, stale, fresh) = (Gate::new(), Wakes::new(), Wakes::new());
        let script = Script::new().wait(&gate).data("data: 1\n\n").stall();
        let mut body = subject.body(&Probe::new(), reply(SSE, script)).await;
        assert_eq!([poll(&mut body, &stale), poll(&mut body, &fresh)], [None, None], "{subject}");
        gate.open();
        assert_eq!((stale.count(), fresh.count()), (0, 1), "{subject}");
        assert_eq!(poll(&mut body, &fresh), Some(data("data: 1\n\n")), "{subject}");
    }
}

#[tokio::test(start_paused = true)]
async fn of_two_tasks_that_polled_the_latest_is_woken_by_an_abort() {
    for subject in all().filter(|subject| subject.has(Part::Abort)) {
        let (probe, stale, fresh) = (Probe::new(), Wakes::new(), Wakes::new());
        let mut body = subject.body(&probe, reply(PLAIN, Script::new().stall())).await;
        assert_eq!([poll(&mut body, &stale), poll(&mut body, &fresh)], [None, None], "{subject}");
        assert!(probe.handle.abort("stop"), "{subject}");
        probe.log.dropped_within(Duration::from_secs(1)).await;
        assert_eq!((stale.count(), fresh.count()), (0, 1), "{subject}");
    }
}

#[tokio::test(start_paused = true)]
async fn of_two_tasks_that_polled_the_latest_is_woken_by_the_timer_of_a_heartbeat() {
    for subject in all().filter(|subject| subject.has(Part::IdleKeepalive)) {
        let (stale, fresh) = (Wakes::new(), Wakes::new());
        let mut body = subject.body(&Probe::new(), reply(SSE, Script::new().stall())).await;
        assert_eq!([poll(&mut body, &stale), poll(&mut body, &fresh)], [None, None], "{subject}");
        advance(INTERVAL + Duration::from_millis(1)).await;
        assert_eq!((stale.count(), fresh.count()), (0, 1), "{subject}");
        assert_eq!(poll(&mut body, &fresh), Some(data(": keep-alive\n")), "{subject}");
    }
}

#[tokio::test(start_paused = true)]
async fn of_two_tasks_that_polled_the_latest_is_woken_for_an_error_that_lingers() {
    for subject in all().filter(|subject| subject.has(Part::FinalFrame)) {
        let (stale, fresh) = (Wakes::new(), Wakes::new());
        let script = Script::new().data("a").error("boom");
        let mut body = subject.body(&Probe::new(), reply(PLAIN, script)).await;
        assert_eq!(poll(&mut body, &stale), Some(data("a")), "{subject}");
        assert_eq!([poll(&mut body, &stale), poll(&mut body, &fresh)], [None, None], "{subject}");
        advance(Duration::from_millis(6)).await;
        assert_eq!((stale.count(), fresh.count()), (0, 1), "{subject}");
        assert_eq!(poll(&mut body, &fresh), Some(Item::Error("boom".into())), "{subject}");
    }
}
