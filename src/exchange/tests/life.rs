//! What can be cut, until when, and what the one who cuts is told.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use tokio::runtime::Builder;

use super::super::{Attached, Cause, DrainEnd, Exchange, Outcome};
use crate::{
    cut::{Cut, Slot},
    timeouts::{Limit, tests::hit},
    watch::End,
};

/// Counts what is done to it.
#[derive(Default)]
struct Spy {
    dooms: AtomicUsize,
    cuts: AtomicUsize,
}

impl Cut for Spy {
    fn doom(&self) {
        self.dooms.fetch_add(1, Ordering::SeqCst);
    }

    fn cut(&self) {
        self.cuts.fetch_add(1, Ordering::SeqCst);
    }
}

impl Spy {
    fn seen(&self) -> (usize, usize) {
        (self.dooms.load(Ordering::SeqCst), self.cuts.load(Ordering::SeqCst))
    }
}

fn attached(exchange: &Exchange) -> (Attached, Arc<Spy>) {
    let spy = Arc::new(Spy::default());
    (exchange.attach(spy.clone()).unwrap(), spy)
}

fn reason(cause: Option<Cause>) -> String {
    cause.unwrap().reason().unwrap().to_owned()
}

#[test]
fn an_abort_dooms_and_cuts_everything_attached_once_and_is_the_cause() {
    let exchange = Exchange::new();
    let [(first, one), (second, two)] = [attached(&exchange), attached(&exchange)];
    assert!(first.cause().is_none());
    assert!(exchange.abort("stop"));
    assert_eq!((one.seen(), two.seen()), ((1, 1), (1, 1)));
    assert_eq!(reason(exchange.cause()), "stop");
    assert!(!exchange.abort("again"));
    assert_eq!((reason(first.cause()), reason(second.cause())), ("stop".into(), "stop".into()));
    assert_eq!(exchange.settle(Cause::Completed, true).outcome(), Outcome::Aborted);
}

#[test]
fn an_abort_returns_only_when_the_cause_is_set_and_everything_is_doomed() {
    let runtime = Builder::new_current_thread().build().unwrap();
    let exchange = Exchange::new();
    let (attached, spy) = runtime.block_on(async { attached(&exchange) });
    assert!(exchange.abort("stop"));
    assert_eq!(spy.seen(), (1, 0), "the rest is done in a task");
    assert_eq!(reason(exchange.cause()), "stop");
    runtime.block_on(async {
        while spy.seen() != (1, 1) {
            tokio::task::yield_now().await;
        }
    });
    drop(attached);
}

#[test]
fn with_nothing_attached_an_abort_does_nothing() {
    let exchange = Exchange::new();
    assert!(!exchange.abort("too early"));
    assert!(exchange.cause().is_none());
    drop(attached(&exchange));
    assert!(!exchange.abort("too late"));
    assert!(exchange.cause().is_none());
}

#[test]
fn once_the_end_was_reported_an_abort_comes_too_late() {
    let exchange = Exchange::new();
    let (attached, spy) = attached(&exchange);
    exchange.settle(Cause::Completed, true);
    assert!(!exchange.abort("too late"));
    assert_eq!(spy.seen(), (0, 0));
    assert!(attached.cause().is_none());
}

#[test]
fn an_abort_after_another_cause_cuts_but_is_not_what_ends_it() {
    let exchange = Exchange::new();
    let (attached, spy) = attached(&exchange);
    exchange.record(hit(Limit::Total));
    assert!(!exchange.abort("second"));
    assert_eq!(spy.seen(), (1, 1));
    assert_eq!(reason(exchange.cause()), "total");
    assert_eq!(reason(attached.cause()), "second", "what the reader is told is what cut it");
}

#[test]
fn what_comes_after_the_abort_is_refused_with_its_cause() {
    let exchange = Exchange::new();
    let (first, _) = attached(&exchange);
    exchange.abort("stop");
    let late = Arc::new(Spy::default());
    assert_eq!(reason(exchange.attach(late.clone()).err()), "stop");
    assert_eq!(reason(first.swap(late.clone()).err()), "stop");
    assert_eq!(reason(first.release().err()), "stop");
    assert_eq!(late.seen(), (0, 0));
}

#[test]
fn a_slot_that_took_the_place_of_another_is_cut_in_its_place() {
    let exchange = Exchange::new();
    let (attached, old) = attached(&exchange);
    let new = Arc::new(Spy::default());
    attached.swap(new.clone()).unwrap();
    assert_eq!(Arc::strong_count(&old), 1, "the old one is let go");
    assert!(exchange.abort("stop"));
    assert_eq!((old.seen(), new.seen()), ((0, 0), (1, 1)));
}

#[test]
fn what_was_released_is_out_of_danger_and_let_go() {
    let exchange = Exchange::new();
    let (first, one) = attached(&exchange);
    let (_second, two) = attached(&exchange);
    first.release().unwrap();
    first.release().unwrap();
    assert_eq!(Arc::strong_count(&one), 1);
    assert!(exchange.abort("stop"));
    assert_eq!((one.seen(), two.seen()), ((0, 0), (1, 1)));
}

#[test]
fn a_hold_that_is_printed_names_its_exchange() {
    let exchange = Exchange::new();
    let (attached, _) = attached(&exchange);
    assert_eq!(format!("{attached:?}"), format!("Attached({exchange:?})"));
}

/// Register-then-recheck: an abort reaches a slot that is being attached, or refuses it.
#[test]
fn no_abort_is_lost_between_attaching_and_cutting() {
    for round in 0..10_000 {
        let exchange = Exchange::new();
        let (_anchor, _) = attached(&exchange); // So that there is always something to abort.
        let slot = Slot::new();
        let (aborted, attached) = thread::scope(|scope| {
            let abort = scope.spawn(|| exchange.abort("stop"));
            let attached = exchange.attach(slot.clone());
            (abort.join().unwrap(), attached)
        });
        assert!(aborted);
        let refused = attached.is_err();
        let cut = slot.put(()).is_err();
        assert!(refused != cut, "round {round}: refused {refused}, cut {cut}");
    }
}

#[test]
fn the_cause_of_a_cut_that_is_under_way_is_not_forgiven_and_that_of_an_attempt_is() {
    let exchange = Exchange::new();
    let attached = exchange.attach_apart(Arc::new(Spy::default()));
    attached.knife().cut(&hit(Limit::Total));
    exchange.forgive();
    assert_eq!(exchange.cause().unwrap().outcome(), Outcome::TimedOut);
    drop(attached); // The attempt is over, and here is another.
    let _next = exchange.attach_apart(Arc::new(Spy::default()));
    assert!(exchange.cause().is_none());
}

#[test]
fn what_lives_on_after_an_end_was_reported_can_be_cut() {
    let exchange = Exchange::new();
    let ((first, spy), apart) =
        (attached(&exchange), exchange.attach_apart(Arc::new(Spy::default())));
    exchange.settle(Cause::Completed, true);
    assert!(!exchange.abort("too late"));
    apart.knife().cut(&hit(Limit::Total));
    assert!(first.cause().is_none() && apart.cause().is_none() && spy.seen() == (0, 0));
    first.alive();
    apart.knife().cut(&hit(Limit::Total));
    assert!(!exchange.abort("stop"), "it is not what ends it");
    assert!(first.cause().is_some() && apart.cause().is_some() && spy.seen() == (1, 1));
    assert_eq!(exchange.cause().unwrap().outcome(), Outcome::Completed);
}

#[test]
fn an_abort_that_was_told_that_it_works_is_how_the_drain_ended_even_in_its_last_poll() {
    let exchange = Exchange::new();
    let (_attached, _) = attached(&exchange);
    assert!(exchange.depart(true));
    assert!(exchange.abort("stop"));
    assert_eq!(exchange.drain_end(&End::Completed), Some(DrainEnd::Aborted));
    assert_eq!(exchange.cause().unwrap().outcome(), Outcome::Disconnected);
}
