//! Law 4: the end is reported exactly once, with the right outcome. Here: clients that leave, services and bodies that
//! fail or panic, runtimes that are shut down.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    time::Duration,
};

use testkit::{Event, Script, Wakes, drain};
use tokio::{runtime, time::sleep};
use tower_lifeline::{exchange::Outcome, finalize::Ending};

use crate::{
    calling::{call, failing, hanging, panicking, panicking_at_once, poll_call},
    probe::Probe,
    reading::{data, next, poll},
    subjects::{DRAIN, PLAIN, Part, SSE, all, layers, reply},
};

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_before_the_head_is_disconnected() {
    for subject in layers() {
        for polls in 0..3 {
            let probe = Probe::new();
            let mut future = call(subject, &probe, hanging(&probe.log));
            assert!((0..polls).all(|_| poll_call(&mut future).is_pending()), "{subject}");
            assert_eq!(probe.outcomes(), [], "{subject}");
            drop(future);
            probe.assert_ended(subject, Outcome::Disconnected);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_before_the_first_frame_or_in_the_stream_is_disconnected() {
    for subject in all() {
        for media in [PLAIN, SSE] {
            for script in [Script::new().stall(), Script::new().data("data: 1\n\nda").stall()] {
                let probe = Probe::new();
                let mut body = subject.body(&probe, reply(media, script)).await;
                while poll(&mut body, &Wakes::new()).is_some() {}
                assert_eq!(probe.outcomes(), [], "{subject}");
                drop(body);
                if !subject.releases_at_once() {
                    assert_eq!(probe.outcomes(), [], "{subject}");
                    sleep(2 * DRAIN).await;
                }
                probe.assert_ended(subject, Outcome::Disconnected);
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_that_fails_is_reported_and_its_error_goes_on() {
    for subject in layers() {
        let probe = Probe::new();
        let error = call(subject, &probe, failing("refused")).await.unwrap_err();
        assert_eq!(error.to_string(), "refused", "{subject}");
        probe.assert_ended(subject, Outcome::Failed);
        let of_service = |ending: &Ending| {
            ending.status.is_none()
                && ending.error().unwrap().messages() == ["refused", "root of refused"]
        };
        assert!(probe.endings().iter().all(of_service), "{subject}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_that_panics_is_reported_and_its_panic_goes_on() {
    for subject in layers() {
        for upstream in [panicking, panicking_at_once] {
            let probe = Probe::new();
            let caught = catch_unwind(AssertUnwindSafe(|| {
                poll_call(&mut call(subject, &probe, upstream("ouch"))).is_ready()
            }));
            assert_eq!(caught.unwrap_err().downcast_ref::<String>().unwrap(), "ouch", "{subject}");
            probe.assert_ended(subject, Outcome::Panicked);
            let said = |ending: &Ending| ending.reason() == Some("ouch");
            assert!(probe.endings().iter().all(said), "{subject}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_fails_is_reported_at_the_error() {
    for subject in all() {
        for media in [PLAIN, SSE] {
            let probe = Probe::new();
            let script = Script::new().data("data: 1\n\nda").error("boom");
            let mut body = subject.body(&probe, reply(media, script)).await;
            while !next(Pin::new(&mut body)).await.is_terminal() {}
            probe.assert_ended(subject, Outcome::Failed);
            drop(body);
            probe.assert_ended(subject, Outcome::Failed);
            let said =
                |ending: &Ending| ending.error().unwrap().messages() == ["boom", "root of boom"];
            assert!(probe.endings().iter().all(said), "{subject}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_panics_is_reported_with_its_message() {
    for subject in all() {
        let probe = Probe::new();
        let script = Script::new().data("data: 1\n\n").panic("ouch");
        let mut body = subject.body(&probe, reply(SSE, script)).await;
        assert_eq!(next(Pin::new(&mut body)).await, data("data: 1\n\n"), "{subject}");
        // As in a task of hyper's: the body is dropped while the panic unwinds.
        let caught = catch_unwind(AssertUnwindSafe(move || {
            while poll(&mut body, &Wakes::new()).is_some_and(|item| !item.is_terminal()) {}
        }));
        assert_eq!(caught.is_err(), !subject.has(Part::FinalFrame), "{subject}");
        probe.assert_ended(subject, Outcome::Panicked);
        let said = |ending: &Ending| ending.reason() == Some("ouch");
        assert!(probe.endings().iter().all(said), "{subject}");
    }
}

// faults.md 36, truths.md 6.
#[test]
fn a_response_that_a_runtime_takes_with_it_is_disconnected_before_the_runtime_is_gone() {
    for subject in all() {
        for runtime in
            [runtime::Builder::new_current_thread, || runtime::Builder::new_multi_thread()]
        {
            let runtime = runtime().enable_all().build().unwrap();
            let probe = Probe::new();
            runtime.block_on(async {
                let script = Script::new().data("data: 1\n\n").stall();
                let body = subject.body(&probe, reply(SSE, script)).await;
                tokio::spawn(drain(body));
                let given = |event: &Event| matches!(event, Event::Data(_));
                tokio::time::timeout(Duration::from_secs(5), probe.log.first(given)).await.unwrap();
            });
            assert_eq!(probe.outcomes(), [], "{subject}");
            drop(runtime);
            probe.assert_ended(subject, Outcome::Disconnected);
        }
    }
}
