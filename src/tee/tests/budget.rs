//! Memory that many recordings share.

use std::thread;

use bytes::Bytes;
use http::Response;
use proptest::{collection::vec, prelude::*};

use super::{
    super::{Budget, Limit, Recording, Sink},
    recording::recorded,
};

const KIB: usize = 1024;

/// So many kibibytes in frames of one.
fn frames(kib: usize) -> impl Iterator<Item = Bytes> {
    (0..kib).map(|at| Bytes::from(vec![at as u8; KIB]))
}

fn first(budget: &Budget) -> Limit {
    Limit::first(1 << 20).within(budget)
}

#[test]
fn a_recording_of_the_first_bytes_stops_where_the_budget_is_used_up() {
    let budget = Budget::new(100 * KIB);
    let one = recorded(first(&budget), frames(60));
    let two = recorded(first(&budget), frames(60));
    assert_eq!((one.to_bytes().len(), one.is_truncated()), (60 * KIB, false));
    let kept = two.to_bytes();
    assert!(two.is_truncated() && (10 * KIB..40 * KIB).contains(&kept.len()), "{}", kept.len());
    assert_eq!(kept, frames(60).collect::<Vec<_>>().concat()[..kept.len()]);
    assert!((90 * KIB..=100 * KIB).contains(&budget.used()), "{}", budget.used());
    assert_eq!(budget.used(), budget.clone().used());
    drop(one);
    assert!(budget.used() < 40 * KIB);
    two.sink().data("g".into());
    assert_eq!(two.to_bytes(), kept, "a byte after the gap would be a lie");
}

#[test]
fn a_recording_of_the_last_bytes_drops_older_ones_of_its_own() {
    let budget = Budget::new(100 * KIB);
    let other = recorded(first(&budget), frames(60));
    let last = recorded(Limit::last(1 << 20).within(&budget), frames(60));
    let sent = frames(60).collect::<Vec<_>>().concat();
    let kept = last.to_bytes();
    assert!(
        last.is_truncated() && kept.len() >= 10 * KIB && sent.ends_with(&kept),
        "{}",
        kept.len()
    );
    assert!(budget.used() <= 100 * KIB);
    last.sink().data("the end".into());
    assert!(last.to_bytes().ends_with(b"the end"));
    drop(other);
    frames(50).for_each(|frame| last.sink().data(frame));
    assert!(last.to_bytes().len() >= 50 * KIB && budget.used() <= 100 * KIB);
    last.sink().data(vec![b'x'; 200 * KIB].into());
    assert_eq!(
        (last.to_bytes().len(), last.is_truncated()),
        (0, true),
        "it is larger than all there is"
    );
    last.sink().data("y".into());
    assert_eq!(last.to_bytes(), "y");
    drop(last);
    assert_eq!(budget.used(), 0);
}

#[test]
fn the_own_limit_holds_within_the_budget_and_what_it_drops_is_given_back_or_used_again() {
    let budget = Budget::new(1 << 20);
    let kept = recorded(Limit::first(4).within(&budget), ["123456".into()]);
    assert_eq!(kept.to_bytes(), "1234");
    let last = recorded(Limit::last(4).within(&budget), ["abcdef".into()]);
    assert_eq!(last.to_bytes(), "cdef");
    let used = budget.used();
    assert!(used < 1_500, "{used}");
    (0..10_000).for_each(|_| last.sink().data("gh".into()));
    assert_eq!(last.to_bytes(), "ghgh");
    assert!(budget.used() < used + 1_500, "{}", budget.used());
    let none = recorded(Limit::last(0).within(&budget), ["xyz".into()]);
    assert_eq!((none.to_bytes(), none.is_truncated()), (Bytes::new(), true));
}

#[test]
fn headers_are_of_the_budget_and_not_kept_without_one() {
    let response = Response::builder().header("x-a", "b".repeat(5_000)).body(()).unwrap();
    let (head, ()) = response.into_parts();
    for (bytes, kept) in [(6_000, true), (5_000, false)] {
        let budget = Budget::new(bytes);
        let recording = Recording::new(first(&budget));
        recording.sink().head(&head);
        assert_eq!((recording.head().is_some(), budget.used() > 5_000), (kept, kept));
        drop(recording);
        assert_eq!(budget.used(), 0);
    }
}

#[test]
fn all_is_given_back_when_the_last_clone_is_gone_and_not_before() {
    let budget = Budget::new(10 * KIB);
    let recording = recorded(Limit::first(10).within(&budget), ["12345".into()]);
    let (clone, sink) = (recording.clone(), recording.sink());
    drop((recording, clone));
    assert!(budget.used() >= 5, "the sink still writes to it");
    drop(sink);
    assert_eq!(budget.used(), 0);
}

proptest! {
    /// Each step writes so many bytes to one of four recordings, two of either sort, or makes it anew.
    #[test]
    fn the_budget_is_never_exceeded_and_every_recording_is_whole(
        steps in vec((0_usize..4, 0_usize..4_000), 0..60), limit in 0_usize..20_000, own in 1_usize..8_000,
    ) {
        let budget = Budget::new(limit);
        let make = |which| {
            let limit = if which < 2 { Limit::first(own) } else { Limit::last(own) };
            (Recording::new(limit.within(&budget)), Vec::new())
        };
        let mut all: Vec<_> = (0..4).map(make).collect();
        for (which, length) in steps {
            if length == 0 {
                all[which] = make(which);
                continue;
            }
            let (recording, sent) = &mut all[which];
            let data: Vec<u8> = (0..length).map(|at| ((sent.len() + at) % 256) as u8).collect();
            sent.extend_from_slice(&data);
            recording.sink().data(data.into());

            let kept: Vec<_> = all.iter().map(|(recording, _)| recording.to_bytes()).collect();
            prop_assert!(budget.used() >= kept.iter().map(Bytes::len).sum::<usize>());
            prop_assert!(budget.used() <= limit);
            for (at, (kept, (recording, sent))) in kept.iter().zip(&all).enumerate() {
                let whole = if at < 2 { sent.starts_with(kept) } else { sent.ends_with(kept) };
                prop_assert!(whole && kept.len() <= own);
                prop_assert_eq!(recording.is_truncated(), kept.len() < sent.len());
            }
        }
        drop(all);
        prop_assert_eq!(budget.used(), 0);
    }
}

#[test]
fn recordings_on_many_threads_stay_whole_within_one_budget() {
    let budget = Budget::new(1_500);
    let write = |seed: usize| {
        let recording = Recording::new(Limit::last(60).within(&budget));
        let mut sent = Vec::new();
        for round in 0..20_000 {
            let length = (seed * 7 + round * 13) % 40;
            let data: Vec<u8> = (0..length).map(|at| ((sent.len() + at) % 251) as u8).collect();
            sent.extend_from_slice(&data);
            recording.sink().data(data.into());
            let kept = recording.to_bytes();
            assert!(sent.ends_with(&kept), "round {round}: a hole in {kept:?}");
        }
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..3).map(|seed| scope.spawn(move || write(seed))).collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
    assert_eq!(budget.used(), 0);
}
