//! Law 5: async hooks, and hooks where there is no runtime (any more).

use std::{
    future::ready,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Mutex,
    thread,
    time::Duration,
};

use http::{Request, Response, request::Parts};
use http_body_util::BodyExt;
use testkit::{Event, Log, Script, Wakes, drain};
use tokio::{
    runtime::{Builder, Runtime},
    time::{Instant, sleep, timeout},
};
use tower::{Layer, Service, service_fn};
use tower_lifeline::{
    exchange::Outcome,
    finalize::{Ending, FinalizeLayer, FinalizeTracker},
};

use crate::{
    probe::Probe,
    reading::poll,
    subjects::{Outer, SSE, all, reply},
};

const SECOND: Duration = Duration::from_secs(1);

/// What an async hook does.
#[derive(Clone, Copy)]
enum Hook {
    TakesASecond,
    PanicsAtOnce,
    PanicsInItsTask,
    PanicsLater,
}

/// A body under a Finalize with an async hook, and what that notes.
async fn hooked(hook: Hook, script: Script) -> (Outer, FinalizeTracker, Log) {
    let notes = Log::new();
    let (run, fallen) = (notes.clone(), notes.clone());
    let layer = FinalizeLayer::spawned(
        move |_: &Parts| {
            let notes = run.clone();
            move |ending: Ending| {
                assert!(!matches!(hook, Hook::PanicsAtOnce), "faulty");
                async move {
                    assert!(!matches!(hook, Hook::PanicsInItsTask), "faulty");
                    sleep(SECOND).await;
                    assert!(!matches!(hook, Hook::PanicsLater), "faulty");
                    notes.note(format!("hook: {}", ending.outcome));
                }
            }
        },
        move |ending| fallen.note(format!("fallback: {}", ending.outcome)),
    );
    let tracker = layer.tracker();
    let script = Mutex::new(Some(script));
    let service = service_fn(|_: Request<()>| {
        ready(Ok::<_, io::Error>(Response::new(script.lock().unwrap().take().unwrap())))
    });
    let response = layer.layer(service).call(Request::new(())).await.unwrap();
    (response.into_body().map_err(Into::into).boxed_unsync(), tracker, notes)
}

#[track_caller]
fn assert_noted(notes: &Log, note: &str) {
    assert_eq!(notes.story(), [Event::Note(note.into())]);
}

fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

#[tokio::test(start_paused = true)]
async fn an_async_hook_runs_as_a_task_that_drained_waits_for() {
    let started = Instant::now();
    let (body, tracker, notes) = hooked(Hook::TakesASecond, Script::new().data("x")).await;
    assert!(timeout(SECOND, tracker.drained()).await.is_err(), "it is under way");
    assert_eq!(tracker.live(), 1);
    drain(body).await;
    assert_eq!((started.elapsed(), tracker.live()), (SECOND, 1));
    tracker.drained().await;
    assert_eq!((started.elapsed(), tracker.live()), (2 * SECOND, 0));
    assert_noted(&notes, "hook: completed");
}

// faults.md 38.
#[tokio::test(start_paused = true)]
async fn an_async_hook_that_panics_is_counted_once_and_its_fallback_called() {
    for hook in [Hook::PanicsAtOnce, Hook::PanicsInItsTask, Hook::PanicsLater] {
        let (body, tracker, notes) = hooked(hook, Script::new().data("x")).await;
        assert_eq!(drain(body).await.data, "x");
        timeout(10 * SECOND, tracker.drained()).await.unwrap();
        assert_eq!(tracker.hook_panics(), 1);
        assert_noted(&notes, "fallback: completed");
    }
}

// faults.md 36, truths.md 6: a task that is spawned while its runtime is shut down is dropped without a poll.
#[test]
fn the_fallback_of_an_async_hook_is_called_when_its_runtime_takes_the_response_with_it() {
    let runtime = runtime();
    let (tracker, notes) = runtime.block_on(async {
        let script = Script::new().data("x").stall();
        let given = script.log();
        let (body, tracker, notes) = hooked(Hook::TakesASecond, script).await;
        tokio::spawn(drain(body));
        let given = given.first(|event| matches!(event, Event::Data(_)));
        timeout(5 * SECOND, given).await.unwrap();
        (tracker, notes)
    });
    drop(runtime);
    assert_noted(&notes, "fallback: disconnected");
    assert_eq!((tracker.live(), tracker.hook_panics()), (0, 0));
}

#[test]
fn the_fallback_of_an_async_hook_is_called_when_its_runtime_is_long_gone() {
    let (body, tracker, notes) =
        runtime().block_on(hooked(Hook::TakesASecond, Script::new().data("x")));
    // It is no fault of the hook's that it is dropped while something else unwinds.
    let caught = catch_unwind(AssertUnwindSafe(move || {
        let _held = body;
        panic!("the reader's own");
    }));
    assert!(caught.is_err());
    assert_noted(&notes, "fallback: discarded");
    assert_eq!((tracker.live(), tracker.hook_panics()), (0, 0));
}

#[test]
fn the_fallback_of_an_async_hook_is_called_when_its_task_is_cut_short() {
    let runtime = runtime();
    let (tracker, notes) = runtime.block_on(async {
        let (body, tracker, notes) = hooked(Hook::TakesASecond, Script::new().data("x")).await;
        drain(body).await;
        (tracker, notes)
    });
    drop(runtime);
    assert_noted(&notes, "fallback: completed");
    assert_eq!((tracker.live(), tracker.hook_panics()), (0, 0));
}

// faults.md 40.
#[test]
fn a_body_may_be_dropped_on_a_thread_that_knows_no_runtime() {
    let runtime = runtime();
    for subject in all().filter(|subject| subject.releases_at_once()) {
        let probe = Probe::new();
        let body = runtime.block_on(async {
            let script = Script::new().data("data: 1\n\nda").stall();
            let mut body = subject.body(&probe, reply(SSE, script)).await;
            // Twice, so that a heartbeat's timer is set.
            while poll(&mut body, &Wakes::new()).is_some() {}
            body
        });
        thread::spawn(move || drop(body)).join().unwrap();
        assert!(probe.log.dropped_at().is_some(), "{subject}");
        probe.assert_ended(subject, Outcome::Disconnected);
    }
}

#[test]
fn an_async_hook_runs_on_the_runtime_of_the_call_wherever_the_body_is_dropped() {
    let runtime = runtime();
    let (body, tracker, notes) =
        runtime.block_on(hooked(Hook::TakesASecond, Script::new().data("x")));
    thread::spawn(move || drop(body)).join().unwrap();
    runtime.block_on(async { timeout(10 * SECOND, tracker.drained()).await.unwrap() });
    assert_noted(&notes, "hook: discarded");
}
