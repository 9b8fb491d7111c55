//! Law 4: the end is reported exactly once, with the right outcome. Here: aborts, at every moment of an exchange.

use std::{future::pending, pin::Pin, sync::Mutex, time::Duration};

use http::{Response, StatusCode};
use testkit::{Gate, Script, Wakes, drain};
use tokio::time::Instant;
use tower::service_fn;
use tower_lifeline::{
    abort::{AbortHandle, Aborted},
    exchange::Outcome,
};

use crate::{
    calling::{call, failing, hanging, poll_call},
    probe::Probe,
    reading::{data, next, poll, trailers},
    subjects::{Outer, PLAIN, Part, SSE, Subject, Upstream, all, layers, reply},
};

fn aborting_layers() -> impl Iterator<Item = &'static Subject> {
    layers().filter(|subject| subject.has(Part::Abort))
}

fn aborting() -> impl Iterator<Item = &'static Subject> {
    all().filter(|subject| subject.has(Part::Abort))
}

async fn assert_answered(subject: &Subject, response: Response<Outer>) {
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE, "{subject}");
    assert_eq!(drain(response.into_body()).await.data, "aborted: stop\n", "{subject}");
}

/// Aborts, and waits until what is inside is dropped: still at the same instant, and without a poll.
async fn assert_aborts_now(probe: &Probe, subject: &Subject) {
    let now = Instant::now();
    assert!(probe.handle.abort("stop"), "{subject}");
    assert_eq!(probe.log.dropped_within(Duration::from_secs(1)).await, now, "{subject}");
}

#[track_caller]
fn assert_aborted(probe: &Probe, subject: &Subject) {
    probe.assert_ended(subject, Outcome::Aborted);
    assert!(probe.endings().iter().all(|ending| ending.reason() == Some("stop")), "{subject}");
    assert!(!probe.handle.abort("too late"), "{subject}");
}

// faults.md 22. What is inside of Abort never hears of the request, so it has nothing to report.
#[tokio::test(start_paused = true)]
async fn an_abort_before_the_call_keeps_the_request_from_the_service() {
    for subject in aborting_layers() {
        let probe = Probe::new();
        assert!(probe.handle.abort("stop"), "{subject}");
        let upstream: Upstream = Upstream::new(service_fn(|_| async { unreachable!("called") }));
        assert_answered(subject, call(subject, &probe, upstream).await.unwrap()).await;
        if subject.has_around(Part::Finalize, Part::Abort) {
            assert_aborted(&probe, subject);
        } else {
            assert_eq!(probe.outcomes(), [], "{subject}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_abort_in_the_call_drops_the_future_of_the_service_and_is_reported() {
    for subject in aborting_layers() {
        let probe = Probe::new();
        let handle = probe.handle.clone();
        let held = Script::new().log_into(&probe.log);
        let held = Mutex::new(Some(held));
        let upstream: Upstream = Upstream::new(service_fn(move |_| {
            assert!(handle.abort("stop"));
            let held = held.lock().unwrap().take();
            async move {
                let _held = held;
                pending().await
            }
        }));
        let future = call(subject, &probe, upstream);
        assert!(probe.log.dropped_at().is_some(), "{subject}");
        assert_answered(subject, future.await.unwrap()).await;
        assert_aborted(&probe, subject);
    }
}

// faults.md 23.
#[tokio::test(start_paused = true)]
async fn an_abort_before_the_head_drops_the_future_of_the_service_and_is_reported() {
    for subject in aborting_layers() {
        for polls in 0..2 {
            let probe = Probe::new();
            let mut future = call(subject, &probe, hanging(&probe.log));
            assert!((0..polls).all(|_| poll_call(&mut future).is_pending()), "{subject}");
            assert_aborts_now(&probe, subject).await;
            assert_answered(subject, future.await.unwrap()).await;
            assert_aborted(&probe, subject);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_abort_before_a_service_error_is_what_is_answered_and_reported() {
    for subject in aborting_layers() {
        let probe = Probe::new();
        let future = call(subject, &probe, failing("refused"));
        assert!(probe.handle.abort("stop"), "{subject}");
        assert_answered(subject, future.await.unwrap()).await;
        assert_aborted(&probe, subject);
    }
}

// The client need not be there any more.
#[tokio::test(start_paused = true)]
async fn an_abort_is_reported_without_a_poll_whatever_the_reader_does() {
    for subject in aborting() {
        for (media, frames) in [(PLAIN, 0), (PLAIN, 1), (SSE, 0), (SSE, 1)] {
            let (probe, wakes) = (Probe::new(), Wakes::new());
            let script = Script::new().data("data: 1\n\n").stall();
            let mut body = subject.body(&probe, reply(media, script)).await;
            for _ in 0..frames {
                assert_eq!(poll(&mut body, &wakes), Some(data("data: 1\n\n")), "{subject}");
            }
            assert_aborts_now(&probe, subject).await;
            // A reporter outside of Abort sees it when the body is read or dropped; first causes stay.
            if !subject.has_around(Part::Finalize, Part::Abort) {
                assert_aborted(&probe, subject);
            }
            drop(body);
            assert_aborted(&probe, subject);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_reads_on_after_an_abort_gets_the_error_or_the_final_event_and_then_nothing() {
    for subject in aborting() {
        for media in [PLAIN, SSE] {
            let probe = Probe::new();
            let script = Script::new().data("data: 1\n\n").data("data: never\n\n").stall();
            let mut body = subject.body(&probe, reply(media, script)).await;
            assert_eq!(poll(&mut body, &Wakes::new()), Some(data("data: 1\n\n")), "{subject}");
            assert!(probe.handle.abort("stop"), "{subject}");
            let read = drain(body).await;
            let text = String::from_utf8(read.data.to_vec()).unwrap();
            if media == SSE && subject.has_around(Part::FinalFrame, Part::Abort) {
                assert!(text.starts_with("event: error\n") && text.contains("stop"), "{text}");
                assert!(read.error.is_none(), "{subject}");
            } else {
                assert_eq!(text, "", "{subject} {media}");
                let aborted = read.error.unwrap().downcast::<Aborted>();
                assert_eq!(aborted.unwrap().reason().text(), "stop", "{subject}");
            }
            assert_aborted(&probe, subject);
        }
    }
}

// faults.md 27 and 28.
#[tokio::test(start_paused = true)]
async fn an_abort_after_the_end_changes_nothing_and_says_so() {
    let ends: [fn() -> Script; 3] = [
        || Script::new().data("x"),
        || Script::new().data("x").trailers(trailers()),
        || Script::new().data("x").error("boom"),
    ];
    for subject in aborting() {
        for end in ends {
            let probe = Probe::new();
            let mut body = subject.body(&probe, reply(PLAIN, end())).await;
            while !next(Pin::new(&mut body)).await.is_terminal() {}
            let before = probe.outcomes();
            assert!(!probe.handle.abort("too late"), "{subject}");
            drop(body);
            assert_eq!(probe.outcomes(), before, "{subject}");
            assert!(before.iter().all(|(_, outcome)| *outcome != Outcome::Aborted), "{subject}");
        }
    }
}

// faults.md 29.
#[tokio::test(start_paused = true)]
async fn a_handle_that_nobody_holds_any_more_aborts_nothing() {
    for subject in aborting() {
        let (gate, mut probe) = (Gate::new(), Probe::new());
        let script = Script::new().data("a").wait(&gate).data("b").log_into(&probe.log);
        let mut body = subject.body(&probe, reply(PLAIN, script)).await;
        assert_eq!(poll(&mut body, &Wakes::new()), Some(data("a")), "{subject}");
        probe.handle = AbortHandle::new();
        gate.open();
        assert_eq!(drain(body).await.data, "b", "{subject}");
        probe.assert_ended(subject, Outcome::Completed);
    }
}
