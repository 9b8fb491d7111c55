//! The slot, and how what was in it is dropped.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use testkit::Wakes;
use tokio::runtime::Builder;

use super::{Cut, Cutting, Slot, cut_elsewhere};
use crate::exchange::{Cause, Exchange};

/// Counts its drop, or panics in it.
struct Value {
    drops: Arc<AtomicUsize>,
    panics: bool,
}

impl Drop for Value {
    fn drop(&mut self) {
        self.drops.fetch_add(1, Ordering::SeqCst);
        assert!(!self.panics, "boom");
    }
}

fn value() -> (Value, Arc<AtomicUsize>) {
    let drops = Arc::<AtomicUsize>::default();
    (Value { drops: drops.clone(), panics: false }, drops)
}

fn filled() -> (Arc<Slot<Value>>, Arc<AtomicUsize>) {
    let (slot, (value, drops)) = (Slot::new(), value());
    assert!(slot.put(value).is_ok());
    (slot, drops)
}

#[test]
fn a_value_can_be_taken_out_and_put_back_as_often_as_one_likes() {
    let (slot, drops) = filled();
    for _ in 0..3 {
        let value = slot.take().unwrap();
        assert!(slot.take().is_none(), "it is out");
        assert!(slot.put(value).is_ok());
    }
    assert_eq!(slot.peek(|value| value.panics), Some(false));
    assert!(slot.take().is_some(), "a look leaves it there");
    assert_eq!(drops.load(Ordering::SeqCst), 1);
}

#[test]
fn a_cut_drops_a_waiting_value_at_once_and_wakes_its_reader_once() {
    let ((value, drops), wakes) = (value(), Wakes::new());
    let slot = Slot::new();
    assert!(slot.put_and_wait(value, &wakes.waker()).is_ok());
    slot.cut();
    assert_eq!((drops.load(Ordering::SeqCst), wakes.count()), (1, 1));
    slot.cut();
    assert_eq!((drops.load(Ordering::SeqCst), wakes.count()), (1, 1));
    assert!(slot.take().is_none());
    assert_eq!(slot.peek(|_| ()), None);
}

#[test]
fn a_value_that_is_out_during_the_cut_is_refused_when_it_comes_back() {
    let (slot, drops) = filled();
    let out = slot.take().unwrap();
    slot.cut();
    assert_eq!(drops.load(Ordering::SeqCst), 0, "it is being polled");
    let refused = slot.put(out).unwrap_err();
    assert!(slot.put_and_wait(refused, &Wakes::new().waker()).is_err());
    assert_eq!(drops.load(Ordering::SeqCst), 1);
}

#[test]
fn a_slot_that_was_cut_before_its_value_came_refuses_it() {
    let slot = Slot::new();
    slot.cut();
    assert!(slot.put(()).is_err());
}

#[test]
fn a_doomed_value_is_seen_by_no_poll_though_nobody_has_dropped_it_yet() {
    let (slot, drops) = filled();
    slot.doom();
    assert_eq!(drops.load(Ordering::SeqCst), 0, "dooming runs no foreign code");
    assert!(slot.take().is_none());
    assert_eq!(drops.load(Ordering::SeqCst), 1, "whoever comes first drops it");
    assert!(slot.put(value().0).is_err());
}

#[test]
fn a_look_at_a_value_that_is_cut_meanwhile_sees_nothing() {
    let (slot, drops) = filled();
    assert_eq!(slot.peek(|_| slot.cut()), None);
    assert_eq!(drops.load(Ordering::SeqCst), 1);
}

#[test]
fn a_value_that_panics_while_it_is_dropped_does_not_keep_its_reader_asleep() {
    let ((mut value, drops), wakes) = (value(), Wakes::new());
    value.panics = true;
    let slot = Slot::new();
    assert!(slot.put_and_wait(value, &wakes.waker()).is_ok());
    slot.cut();
    assert_eq!((drops.load(Ordering::SeqCst), wakes.count()), (1, 1));
}

#[test]
fn a_cut_wakes_the_latest_waker() {
    let slot = Slot::new();
    let (first, second) = (Wakes::new(), Wakes::new());
    assert!(slot.put_and_wait((), &first.waker()).is_ok());
    slot.take().unwrap();
    assert!(slot.put_and_wait((), &second.waker()).is_ok());
    slot.cut();
    assert_eq!((first.count(), second.count()), (0, 1));
}

#[test]
fn cutting_always_happens_without_a_runtime_in_one_and_after_it_is_gone() {
    let runtime = Builder::new_current_thread().build().unwrap();
    let handle = runtime.handle().clone();
    let cutting = |runtime| {
        let (slot, drops) = filled();
        (Cutting { slots: vec![slot], runtime }, drops)
    };

    let (without, drops) = cutting(None);
    cut_elsewhere(vec![without]);
    assert_eq!(drops.load(Ordering::SeqCst), 1, "here and now");

    let (with, in_task) = cutting(Some(handle.clone()));
    let (without, along) = cutting(None);
    cut_elsewhere(vec![without, with]);
    assert_eq!(in_task.load(Ordering::SeqCst), 0, "not on the caller's thread");
    runtime.block_on(async {
        while in_task.load(Ordering::SeqCst) + along.load(Ordering::SeqCst) < 2 {
            tokio::task::yield_now().await;
        }
    });

    let (pending, never_run) = cutting(Some(handle.clone()));
    cut_elsewhere(vec![pending]);
    drop(runtime);
    assert_eq!(never_run.load(Ordering::SeqCst), 1, "with the task, which never ran");
    let (late, drops) = cutting(Some(handle));
    cut_elsewhere(vec![late]);
    assert_eq!(drops.load(Ordering::SeqCst), 1, "the runtime refuses the task, which is dropped");
}

#[test]
fn one_value_that_panics_does_not_save_the_others() {
    let (bad, (mut value, _)) = (Slot::new(), value());
    value.panics = true;
    assert!(bad.put(value).is_ok());
    let (good, drops) = filled();
    cut_elsewhere(vec![Cutting { slots: vec![bad, good], runtime: None }]);
    assert_eq!(drops.load(Ordering::SeqCst), 1);
}

/// Two threads, one of which polls and one of which cuts: the value is dropped once, and the reader learns of it.
#[test]
fn whoever_wins_the_race_of_poll_and_cut_the_value_goes_once_and_the_reader_hears_of_it() {
    for _ in 0..10_000 {
        let ((value, drops), wakes) = (value(), Wakes::new());
        let slot = Slot::new();
        assert!(slot.put_and_wait(value, &wakes.waker()).is_ok());
        let told = std::thread::scope(|scope| {
            scope.spawn(|| slot.cut());
            let polled = slot.take();
            polled.is_none_or(|value| slot.put_and_wait(value, &wakes.waker()).is_err())
        });
        assert_eq!(drops.load(Ordering::SeqCst), 1);
        assert!(told || wakes.count() == 1, "the reader sleeps for ever");
        assert!(slot.take().is_none());
    }
}

#[tokio::test]
async fn an_answer_of_ours_has_no_text_of_an_error_or_a_panic() {
    use http_body_util::BodyExt;

    let error = std::io::Error::other("no route to http://10.0.0.7/?key=secret");
    for (cause, text) in [
        (Cause::Panicked("key=secret".into()), "internal error\n"),
        (Cause::failed(&error), "the upstream failed\n"),
        (Cause::Aborted("maintenance".into()), "aborted: maintenance\n"),
    ] {
        let exchange = Exchange::new();
        let mut answering = super::answer::Answering { exchange, grpc: false, answer: None };
        let body = http_body_util::Full::new(answering.answer(&cause).into_body());
        assert_eq!(body.collect().await.unwrap().to_bytes(), text);
        answering.grpc = true;
        let message = text.trim_start_matches("aborted: ").trim_end();
        assert_eq!(answering.answer(&cause).headers()["grpc-message"], message);
    }
}
