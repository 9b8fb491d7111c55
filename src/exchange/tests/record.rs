//! Identity, facts, progress, and the first cause.

use std::{collections::HashSet, thread, time::Duration};

use http::{Extensions, Request};
use tokio::time::{Instant, advance};

use super::super::{Cause, Exchange, Outcome};
use crate::timeouts::{Limit, tests::hit};

#[test]
fn a_request_has_one_exchange_which_the_first_who_asks_begins() {
    let mut request = Request::new(());
    assert!(Exchange::get(request.extensions()).is_none());
    let first = Exchange::of(&mut request);
    assert_eq!(Exchange::of(&mut request).id(), first.id());
    assert_eq!(Exchange::get(request.extensions()).unwrap().id(), first.id());
    assert_ne!(Exchange::of(&mut Request::new(())).id(), first.id());
    assert!(Exchange::get(&Extensions::new()).is_none());
}

#[test]
fn ids_are_unique_over_all_threads() {
    let threads: Vec<_> = (0..4)
        .map(|_| thread::spawn(|| (0..5_000).map(|_| Exchange::new().id()).collect::<Vec<_>>()))
        .collect();
    let mut all = HashSet::new();
    for thread in threads {
        all.extend(thread.join().unwrap().iter().map(ToString::to_string));
    }
    assert_eq!(all.len(), 20_000);
}

#[test]
fn an_id_is_32_hexadecimal_digits_each_bit_of_which_is_random() {
    const IDS: u32 = 4_000;
    let mut ones = [0_u32; 128];
    for _ in 0..IDS {
        let id = Exchange::default().id().to_string();
        assert!(
            id.len() == 32 && id.bytes().all(|byte| b"0123456789abcdef".contains(&byte)),
            "{id}"
        );
        let bits = u128::from_str_radix(&id, 16).unwrap();
        (0..128).for_each(|bit| ones[bit] += u32::from(bits >> bit & 1 == 1));
    }
    // Eight standard deviations. In a count most bits are always the same.
    assert!(ones.iter().all(|ones| ones.abs_diff(IDS / 2) < 256), "{ones:?}");
}

#[test]
fn the_first_cause_is_kept_and_only_its_recorder_is_told_so() {
    let exchange = Exchange::new();
    assert!(exchange.cause().is_none());
    assert!(exchange.record(hit(Limit::Idle)));
    assert!(!exchange.record(Cause::Completed));
    assert!(!exchange.clone().record(Cause::Truncated));
    assert_eq!(exchange.cause().unwrap().reason(), Some("idle"));
    assert_eq!(exchange.settle(Cause::Completed, true).outcome(), Outcome::TimedOut);
}

#[test]
fn of_many_that_record_at_once_one_is_the_first() {
    for _ in 0..2_000 {
        let exchange = Exchange::new();
        let record = |limit: Limit| exchange.record(hit(limit)).then(|| limit.as_str());
        let winners = thread::scope(|scope| {
            let other = scope.spawn(|| record(Limit::Idle));
            [record(Limit::Total), other.join().unwrap()]
        });
        let winners: Vec<_> = winners.into_iter().flatten().collect();
        assert_eq!(winners, [exchange.cause().unwrap().reason().unwrap()]);
    }
}

#[test]
fn an_exchange_that_nobody_recorded_a_cause_for_ends_as_it_was_observed() {
    let exchange = Exchange::new();
    assert_eq!(exchange.settle(Cause::Truncated, true).outcome(), Outcome::Truncated);
    assert_eq!(exchange.settle(Cause::Completed, true).outcome(), Outcome::Truncated);
    assert!(!exchange.record(Cause::Completed));
}

#[derive(Clone, Debug, PartialEq)]
struct Usage(u64);

#[test]
fn a_fact_is_found_by_its_type_and_replaced_by_another_of_it() {
    let exchange = Exchange::new();
    assert_eq!(exchange.fact::<Usage>(), None);
    exchange.insert(Usage(1));
    exchange.insert("a text");
    exchange.clone().insert(Usage(2));
    assert_eq!(exchange.fact::<Usage>(), Some(Usage(2)));
    assert_eq!(exchange.fact::<&str>(), Some("a text"));
}

#[test]
fn a_fact_may_use_the_exchange_while_it_is_replaced() {
    #[derive(Clone)]
    struct Curious(Exchange);
    impl Drop for Curious {
        fn drop(&mut self) {
            self.0.insert(Usage(self.0.fact::<Usage>().map_or(1, |usage| usage.0 + 1)));
        }
    }
    let (exchange, other) = (Exchange::new(), Exchange::new());
    exchange.insert(Curious(exchange.clone()));
    exchange.insert(Curious(other)); // Would hang if the first were dropped under the lock.
    assert_eq!(exchange.fact::<Usage>(), Some(Usage(1)));
}

#[tokio::test(start_paused = true)]
async fn progress_can_be_read_while_the_response_is_under_way() {
    let exchange = Exchange::new();
    let progress = exchange.progress();
    assert_eq!(exchange.started(), Instant::now());
    assert_eq!((progress.bytes(), progress.frames()), (0, 0));
    assert_eq!((progress.time_to_head(), progress.time_to_first_frame()), (None, None));
    assert_eq!(progress.since_last_frame(), None);

    let second = Duration::from_secs(1);
    advance(second).await;
    progress.head(progress.elapsed());
    advance(second).await;
    progress.frame(1, 5, progress.elapsed());
    advance(second).await;
    progress.frame(2, 12, progress.elapsed());
    advance(2 * second).await;
    assert_eq!((progress.frames(), progress.bytes()), (2, 12));
    assert_eq!(progress.time_to_head(), Some(second));
    assert_eq!(progress.time_to_first_frame(), Some(2 * second));
    assert_eq!(progress.since_last_frame(), Some(2 * second));
    assert_eq!((progress.elapsed(), exchange.started().elapsed()), (5 * second, 5 * second));
}

#[test]
fn one_writer_of_the_progress_is_let_in() {
    let exchange = Exchange::new();
    assert!(exchange.progress().claim());
    assert!(!exchange.progress().claim());
}

#[test]
fn a_time_too_long_to_be_written_down_is_not_taken_for_never() {
    let exchange = Exchange::new();
    exchange.progress().head(Duration::MAX);
    assert!(exchange.progress().time_to_head().is_some());
}

#[test]
fn what_is_printed_of_it_is_its_id_and_cause() {
    let exchange = Exchange::new();
    exchange.record(Cause::Truncated);
    let text = format!("{exchange:?}");
    assert!(
        text.starts_with("Exchange { id: ExchangeId") && text.contains("cause: Some(Truncated)")
    );
}
