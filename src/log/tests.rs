//! Each of the log's invariants.

use std::time::Duration;

use allocation_counter::measure;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use proptest::{collection::vec, prelude::*};

use super::{BLOCK, Budget, Cursor, Log, PER_BLOCK, compact};

const NOW: Duration = Duration::ZERO;

fn frame(number: usize, length: usize) -> Vec<u8> {
    (0..length).map(|at| ((number * 31 + at) % 251) as u8).collect()
}

fn log_of(frames: impl IntoIterator<Item = usize>) -> Log {
    let mut log = Log::new(None);
    for (number, length) in frames.into_iter().enumerate() {
        assert!(log.append(&frame(number, length), NOW));
    }
    log
}

/// Lengths around every edge there is: of a header, of a block, of a block of its own.
fn lengths() -> impl Strategy<Value = usize> {
    prop_oneof![
        0_usize..300,
        380_usize..520,
        4_000_usize..4_200,
        16_000_usize..16_500,
        Just(100_000)
    ]
}

#[derive(Clone, Debug)]
enum Step {
    Append(usize, u64),
    Read(usize),
    Forget,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let append =
        (lengths(), 0_u64..100_000).prop_map(|(length, after)| Step::Append(length, after));
    vec(
        prop_oneof![3 => append, 4 => (0_usize..3).prop_map(Step::Read), 1 => Just(Step::Forget)],
        0..80,
    )
}

#[cfg(feature = "replay")]
proptest! {
    /// Three readers at their own pace, and what all have read is forgotten now and then.
    #[test]
    fn whatever_is_appended_in_whatever_cuts_every_cursor_reads_the_same(steps in steps(), room in 0_usize..40) {
        let budget = Budget::new(room * 10_000);
        let mut log = Log::new(Some(budget.clone())).timed();
        let (mut appended, mut time) = (Vec::new(), NOW);
        let mut readers = [(Cursor::default(), 0_usize); 3];
        for step in steps.into_iter().chain((0..300).map(|n| Step::Read(n % 3))) {
            match step {
                Step::Append(length, after) => {
                    time += Duration::from_micros(after);
                    let data = frame(appended.len(), length);
                    if log.append(&data, time) {
                        appended.push((time, data));
                    }
                }
                Step::Read(which) => {
                    let (cursor, next) = &mut readers[which];
                    let expected = appended.get(*next);
                    prop_assert_eq!(log.time(*cursor), expected.map(|(time, _)| *time));
                    let read = log.read(cursor).map(|(time, data)| (time, data.to_vec()));
                    prop_assert_eq!(read.as_ref(), expected);
                    *next += usize::from(read.is_some());
                }
                Step::Forget => {
                    let slowest = readers.iter().min_by_key(|(_, next)| *next).unwrap();
                    log.forget_before(slowest.0);
                    let sealed = log.sealed();
                    let left: Vec<_> = appended[slowest.1..].iter().map(|(_, data)| &data[..]).collect();
                    prop_assert_eq!(log.frames().collect::<Vec<_>>(), left.clone());
                    let left: Vec<_> = left.into_iter().filter(|data| !data.is_empty()).collect();
                    prop_assert_eq!(sealed.frames().collect::<Vec<_>>(), left);
                }
            }
            prop_assert_eq!(budget.used(), log.memory());
            prop_assert!(budget.used() <= room * 10_000);
        }
        drop(log);
        prop_assert_eq!(budget.used(), 0);
    }
}

proptest! {
    #[test]
    fn the_oldest_bytes_are_forgotten_to_the_byte_wherever_the_frames_were_cut(
        frames in vec((lengths(), 0_usize..20_000), 0..60),
    ) {
        let (mut log, mut all) = (Log::new(None), Vec::new());
        for (number, (length, forgotten)) in frames.into_iter().enumerate() {
            let data = frame(number, length);
            prop_assert!(log.append(&data, NOW));
            all.extend_from_slice(&data);
            log.forget(forgotten);
            all.drain(..forgotten.min(all.len()));
            prop_assert_eq!(log.bytes(), all.len());
            prop_assert_eq!(&log.to_bytes()[..], &all[..]);
        }
    }

    #[test]
    fn frames_of_any_mixture_take_at_most_twice_their_bytes_and_a_block(frames in vec(lengths(), 0..200)) {
        let log = log_of(frames);
        prop_assert!(log.memory() <= 2 * log.bytes() + BLOCK + 3 * PER_BLOCK, "{} for {}", log.memory(), log.bytes());
    }
}

/// The real allocations, and what is counted of them, for frames of every size.
#[test]
fn a_megabyte_takes_at_most_two_and_a_block_however_it_is_cut_and_all_of_that_is_counted() {
    const MIB: usize = 1024 * 1024;
    let sizes = (1..64).chain((64..600).step_by(7)).chain((600..20_000).step_by(611));
    for size in sizes.chain((20_000..=MIB).step_by(70_001)).chain([MIB]) {
        let data = frame(7, size);
        let mut kept = None;
        let real = measure(|| {
            let mut log = Log::new(None);
            for _ in 0..MIB.div_ceil(size) {
                assert!(log.append(&data, NOW));
            }
            kept = Some(log);
        });
        let log = kept.unwrap();
        let (real, counted) = (usize::try_from(real.bytes_current).unwrap(), log.memory());
        // A list of blocks doubles its memory.
        assert!(real <= counted + 256, "{real} where {counted} are counted, by {size}");
        assert!(
            100 * counted <= 201 * log.bytes() + 100 * (BLOCK + PER_BLOCK),
            "{counted} for {}, by {size}",
            log.bytes()
        );
        let usual = (64..4_096).contains(&size);
        assert!(!usual || 10 * counted <= 13 * log.bytes() + 10 * BLOCK, "{counted} by {size}");
    }
}

#[test]
fn a_small_answer_takes_a_small_block() {
    assert!(log_of([300]).memory() < 700);
    assert!(log_of([20; 50]).memory() < 2_500);
}

#[test]
fn nothing_of_a_frame_or_of_a_head_is_pinned() {
    for size in [1, 256, 5_000, 500_000] {
        let data = Bytes::from(frame(1, size));
        let log = {
            let mut log = Log::new(None);
            assert!(log.append(&data.slice(..size), NOW));
            log
        };
        assert!(data.is_unique(), "{size}");
        drop(log);
    }
    let buffer = Bytes::from_static(b"one two").slice(..);
    let buffer = Bytes::copy_from_slice(&buffer);
    let mut head = HeaderMap::new();
    head.insert("x-a", HeaderValue::from_maybe_shared(buffer.slice(..3)).unwrap());
    head.append("x-a", HeaderValue::from_maybe_shared(buffer.slice(4..)).unwrap());
    let mut secret = HeaderValue::from_static("three");
    secret.set_sensitive(true);
    head.insert("x-b", secret);
    let copy = compact(&head);
    assert_eq!(copy, head);
    assert!(copy["x-b"].is_sensitive());
    drop(head);
    assert!(buffer.is_unique());
}

#[test]
fn an_append_for_which_there_is_no_memory_changes_nothing_and_what_is_forgotten_is_given_back() {
    let budget = Budget::new(40_000);
    let mut log = Log::new(Some(budget.clone()));
    let mut count = 0;
    while log.append(&frame(count, 1_000), NOW) {
        count += 1;
    }
    let (bytes, used) = (log.bytes(), budget.used());
    assert!(count > 25 && used <= 40_000, "{count} in {used}");
    assert!(!log.append(&frame(0, 30_000), NOW));
    assert_eq!((log.bytes(), budget.used()), (bytes, used));
    // The rest of the last block is there.
    let kept = log.append_beginning(&frame(0, 1_000), NOW);
    assert_eq!(log.bytes(), bytes + kept);
    assert_eq!(log.frames().count(), count + usize::from(kept > 0));
    assert!(!log.hold(40_000));
    log.forget_all();
    assert_eq!((budget.used(), log.bytes()), (0, 0));
    assert!(log.hold(30_000) && !log.append(&frame(0, 20_000), NOW) && log.append(b"x", NOW));
    assert_eq!(log.to_bytes(), "x");
}

#[test]
fn steady_appending_and_forgetting_allocates_nothing() {
    for (size, held) in [(10, 256), (256, 64 * 1024), (1_000, 10_000)] {
        let (mut log, data) = (Log::new(None), frame(1, size));
        let mut turn = || {
            log.forget((log.bytes() + size).saturating_sub(held));
            assert!(log.append(&data, NOW));
        };
        (0..2_000).for_each(|_| turn());
        let counted = measure(|| (0..10_000).for_each(|_| turn()));
        assert_eq!(counted.count_total, 0, "{size} of {held}");
        assert!(log.memory() <= 2 * held + 3 * (BLOCK + PER_BLOCK), "{size} of {held}");
    }
}

#[cfg(feature = "replay")]
#[test]
fn an_empty_frame_is_read_though_all_the_bytes_before_it_are_forgotten() {
    let (mut log, mut cursor) = (log_of([100_000, 0]), Cursor::default());
    assert_eq!(log.read(&mut cursor).unwrap().1.len(), 100_000);
    log.forget_before(cursor);
    assert!(log.read(&mut cursor).is_some_and(|(_, data)| data.is_empty()));
    log.forget_before(cursor);
    assert_eq!(log.read(&mut cursor), None);
    assert!(log.memory() <= BLOCK + 2 * PER_BLOCK, "{}: a block to write on in", log.memory());
    assert!(log.append(b"x", NOW));
    assert_eq!(log.read(&mut cursor).unwrap().1, "x");
}

/// A frame that is read at once is a block of its own in the list, which costs its place.
#[cfg(feature = "replay")]
#[test]
fn what_is_read_as_it_comes_allocates_nothing_for_a_frame_and_is_counted() {
    let (mut log, mut cursor, data) = (Log::new(None).timed(), Cursor::default(), frame(1, 100));
    let mut memory = 0;
    let mut turn = |forget: bool| {
        assert!(log.append(&data, NOW));
        let (_, read) = log.read(&mut cursor).unwrap();
        assert_eq!(read, data);
        if forget {
            log.forget_before(cursor);
        }
        memory = log.memory();
    };
    (0..1_000).for_each(|_| turn(true));
    let counted = measure(|| (0..1_000).for_each(|_| turn(true)));
    // A block for many of them, and the count of who holds it.
    assert!(counted.count_total <= 40, "{}", counted.count_total);
    (0..1_000).for_each(|_| turn(false));
    assert!(memory > 1_000 * (100 + 40), "{memory}");
}
