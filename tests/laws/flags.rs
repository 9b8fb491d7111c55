//! Law 2, of the end-of-stream flag: a reader that saw it asks no more (truths.md 1), so it is an end for everybody, and
//! stays one.

use std::{hint::spin_loop, pin::Pin, thread, time::Duration};

use http::{Request, Response};
use http_body::Body;
use http_body_util::BodyExt;
use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};
use testkit::{Eos, Gate, Script, Wakes};
use tokio::{runtime::Builder, time::sleep};
use tower_lifeline::exchange::Outcome;

use crate::{
    probe::Probe,
    reading::{Item, data, next, poll},
    subjects::{DRAIN, Outer, Part, SSE, Subject, all, isolated, reply},
};

const EVENT: &str = "data: 1\n\n";

async fn respond(subject: &Subject, probe: &Probe, script: Script) -> Outer {
    let response: Response<Script> = reply(SSE, script);
    subject.respond(probe, Request::new(Script::new()), response).await.into_body()
}

/// Its end is made known by whoever opens the gate.
fn gated(gate: &Gate) -> Script {
    Script::new().data(EVENT).wait(gate).eos(Eos::Gated)
}

/// What was left is read by a task, and so is what was cut dropped.
async fn settle() {
    sleep(DRAIN + Duration::from_secs(1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_flag_that_comes_true_between_two_polls_is_the_end_whether_anybody_asks_or_not() {
    for subject in all() {
        for asks in [true, false] {
            let (probe, gate) = (Probe::new(), Gate::new());
            let mut body = respond(subject, &probe, gated(&gate)).await;
            assert_eq!(next(Pin::new(&mut body)).await, data(EVENT), "{subject}");
            assert!(!body.is_end_stream(), "{subject}");
            gate.open();
            // Who shares a body knows what that said with its last frame.
            assert!(!asks || body.is_end_stream() != subject.shares(), "{subject}");
            drop(body);
            settle().await;
            probe.assert_ended(subject, Outcome::Completed);
            assert!(probe.endings().iter().all(|ending| ending.drained.is_none()), "{subject}");
        }
    }
}

// Whoever asks first sees it still unset, and whoever asks last sees it set: hyper.
#[tokio::test(start_paused = true)]
async fn a_flag_that_comes_true_between_the_looks_of_two_layers_is_the_end_for_both() {
    for subject in all() {
        for asks in 0..20 {
            let probe = Probe::new();
            let script = Script::new().data(EVENT).eos(Eos::Late(asks));
            let mut body = respond(subject, &probe, script).await;
            while !body.is_end_stream() {
                let item = next(Pin::new(&mut body)).await;
                assert!(item == data(EVENT) || item == Item::End, "{subject}: {item:?}");
            }
            drop(body);
            settle().await;
            probe.assert_ended(subject, Outcome::Completed);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_flag_that_was_shown_is_not_taken_back_and_an_abort_comes_too_late() {
    for subject in all() {
        for at_the_head in [true, false] {
            let (probe, gate) = (Probe::new(), Gate::new());
            let script = if at_the_head { Script::new() } else { gated(&gate) };
            let mut body = respond(subject, &probe, script).await;
            if !at_the_head {
                assert_eq!(next(Pin::new(&mut body)).await, data(EVENT), "{subject}");
                gate.open();
            }
            let shown = body.is_end_stream();
            assert!(shown || subject.shares(), "{subject}");
            let aborted = probe.handle.abort("too late");
            assert!(!(shown && aborted && subject.has(Part::Abort)), "{subject}");
            settle().await;
            assert_eq!(body.is_end_stream(), shown, "{subject}");
            assert_eq!(poll(&mut body, &Wakes::new()), Some(Item::End), "{subject}");
            drop(body);
            settle().await;
            probe.assert_ended(subject, Outcome::Completed);
        }
    }
}

/// Reads as hyper does: asks before each poll and behind each frame, and believes what it is told. Returns how it ended.
async fn read_as_hyper(mut body: Outer) -> Result<(), String> {
    while !body.is_end_stream() {
        match body.frame().await {
            Some(Ok(_)) => {}
            Some(Err(error)) => return Err(error.to_string()),
            None => break,
        }
    }
    Ok(())
}

/// So many times round, which is a time that no clock is needed for.
fn spin(rounds: u32) {
    (0..rounds).for_each(|_| spin_loop());
}

#[test]
fn whenever_another_thread_sets_the_flag_and_another_aborts_all_agree_on_the_end() {
    // Real time: a clock that is paused would go on by itself while the threads are awaited. No limit is ever hit.
    let runtime = Builder::new_current_thread().enable_time().build().unwrap();
    let config = Config { failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new(config);
    let moments = (0..3000_u32, prop::option::weighted(0.5, 0..3000_u32));
    let played = runner.run(&moments, |(flag_at, abort_at)| {
        for subject in all().chain(isolated()) {
            let (probe, gate) = (Probe::new(), Gate::new());
            let (end, aborted) = runtime.block_on(async {
                let body = respond(subject, &probe, gated(&gate)).await;
                let (open, handle) = (gate.clone(), probe.handle.clone());
                let opener = thread::spawn(move || {
                    spin(flag_at);
                    open.open();
                });
                let aborter = abort_at.map(|at| {
                    thread::spawn(move || {
                        spin(at);
                        handle.abort("stop")
                    })
                });
                let end = read_as_hyper(body).await;
                opener.join().unwrap();
                let aborted = aborter.is_some_and(|aborter| aborter.join().unwrap());
                tokio::task::yield_now().await;
                (end, aborted && subject.has(Part::Abort))
            });
            let told = aborted && !subject.has_around(Part::FinalFrame, Part::Abort);
            assert_eq!(end.is_err(), told, "{subject}: {end:?}");
            let outcome = if aborted { Outcome::Aborted } else { Outcome::Completed };
            let (finalize, tee): (Vec<_>, Vec<_>) =
                probe.outcomes().into_iter().partition(|(part, _)| *part == Part::Finalize);
            assert!(finalize.iter().all(|told| told.1 == outcome), "{subject}: {finalize:?}");
            // A Tee that had captured everything when the abort came may say so.
            let whole = |told| told == Outcome::Completed && probe.recording.to_bytes() == EVENT;
            let agrees = tee.iter().all(|told| told.1 == outcome || whole(told.1));
            assert!(agrees, "{subject}: {tee:?}, not {outcome}");
            assert_eq!(finalize.len() + tee.len(), subject.reporters(), "{subject}");
        }
        Ok(())
    });
    played.unwrap_or_else(|failure| panic!("{failure}"));
}
