//! Memory that many recordings share.

use std::thread;

use bytes::Bytes;
use proptest::{collection::vec, prelude::*};

use super::{
    super::{Budget, Limit, Recording, Sink},
    recording::recorded,
};

fn bytes(text: &'static str) -> [Bytes; 1] {
    [Bytes::from_static(text.as_bytes())]
}

#[test]
fn a_recording_of_the_first_bytes_stops_where_the_budget_is_used_up() {
    let budget = Budget::new(10);
    let one = recorded(Limit::first(100).within(&budget), bytes("1234567"));
    let two = recorded(Limit::first(100).within(&budget), bytes("abcdef"));
    assert_eq!((one.to_bytes(), one.is_truncated()), ("1234567".into(), false));
    assert_eq!((two.to_bytes(), two.is_truncated()), ("abc".into(), true));
    assert_eq!((budget.used(), budget.clone().used()), (10, 10));
    drop(one);
    assert_eq!(budget.used(), 3);
    two.sink().data("g".into());
    assert_eq!(two.to_bytes(), "abc", "a byte after the gap would be a lie");
}

#[test]
fn a_recording_of_the_last_bytes_drops_older_ones_of_its_own() {
    let budget = Budget::new(10);
    let other = recorded(Limit::first(100).within(&budget), bytes("1234567"));
    let last = recorded(Limit::last(100).within(&budget), bytes("abc"));
    assert_eq!((last.to_bytes(), last.is_truncated(), budget.used()), ("abc".into(), false, 10));
    last.sink().data("d".into());
    assert_eq!((last.to_bytes(), last.is_truncated(), budget.used()), ("bcd".into(), true, 10));
    last.sink().data("efghij".into());
    assert_eq!((last.to_bytes(), budget.used()), ("hij".into(), 10));
    drop(other);
    last.sink().data("klmn".into());
    assert_eq!((last.to_bytes(), budget.used()), ("hijklmn".into(), 7));
    drop(last);
    assert_eq!(budget.used(), 0);
}

#[test]
fn the_own_limit_holds_within_the_budget_and_gives_back_what_it_drops() {
    let budget = Budget::new(100);
    let first = recorded(Limit::first(4).within(&budget), bytes("123456"));
    assert_eq!((first.to_bytes(), budget.used()), ("1234".into(), 4));
    let last = recorded(Limit::last(4).within(&budget), bytes("abcdef"));
    assert_eq!((last.to_bytes(), budget.used()), ("cdef".into(), 8));
    last.sink().data("gh".into());
    assert_eq!((last.to_bytes(), budget.used()), ("efgh".into(), 8));
    let none = recorded(Limit::last(0).within(&budget), bytes("xyz"));
    assert_eq!((none.to_bytes(), none.is_truncated(), budget.used()), (Bytes::new(), true, 8));
}

#[test]
fn all_is_given_back_when_the_last_clone_is_gone_and_not_before() {
    let budget = Budget::new(10);
    let recording = recorded(Limit::first(10).within(&budget), bytes("12345"));
    let (clone, sink) = (recording.clone(), recording.sink());
    drop((recording, clone));
    assert_eq!(budget.used(), 5, "the sink still writes to it");
    drop(sink);
    assert_eq!(budget.used(), 0);
}

proptest! {
    /// Each step writes so many bytes to one of four recordings, two of either sort, or makes it anew.
    #[test]
    fn the_budget_is_what_is_kept_and_every_recording_is_whole(
        steps in vec((0_usize..4, 0_usize..40), 0..60), limit in 0_usize..100, own in 1_usize..80,
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
            prop_assert_eq!(budget.used(), kept.iter().map(Bytes::len).sum::<usize>());
            prop_assert!(budget.used() <= limit);
            for (at, (kept, (recording, sent))) in kept.iter().zip(&all).enumerate() {
                let whole = if at < 2 { sent.starts_with(kept) } else { sent.ends_with(kept) };
                prop_assert!(whole && kept.len() <= own);
                prop_assert_eq!(recording.is_truncated(), kept.len() < sent.len());
            }
        }
    }
}

#[test]
fn recordings_on_many_threads_stay_whole_within_one_budget() {
    let budget = Budget::new(64);
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
