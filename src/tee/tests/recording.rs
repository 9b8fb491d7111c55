//! What one recording keeps, to the byte.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, Version};
use http_body_util::BodyExt;
use proptest::{collection::vec, prelude::*};
use testkit::Script;

use super::super::{Budget, Limit, Recording, Sink, TeeBody};
use crate::exchange::Outcome;

const TEXT: &[u8] = b"0123456789abcdef";

pub(super) fn recorded(limit: Limit, frames: impl IntoIterator<Item = Bytes>) -> Recording {
    let recording = Recording::new(limit);
    let mut sink = recording.sink();
    frames.into_iter().for_each(|frame| sink.data(frame));
    recording
}

#[test]
fn exactly_the_first_or_the_last_bytes_are_kept_wherever_the_frames_are_cut() {
    let text = Bytes::from_static(TEXT);
    for (one, two) in (0..=16).flat_map(|one| (one..=16).map(move |two| (one, two))) {
        for limit in 0..=17 {
            let frames = || [text.slice(..one), text.slice(one..two), text.slice(two..)];
            let kept = limit.min(16);
            let first = recorded(Limit::first(limit), frames());
            assert_eq!(first.to_bytes(), text[..kept], "{one} {two} {limit}");
            let last = recorded(Limit::last(limit), frames());
            assert_eq!(last.to_bytes(), text[16 - kept..], "{one} {two} {limit}");
            for recording in [first, last] {
                assert_eq!(recording.total(), 16);
                assert_eq!(recording.is_truncated(), limit < 16);
            }
        }
    }
}

#[test]
fn a_recording_that_is_full_to_the_byte_is_not_truncated_until_the_next_one() {
    for limit in [Limit::first(4), Limit::last(4)] {
        let recording = recorded(limit, ["ab".into(), "cd".into()]);
        assert!(!recording.is_truncated());
        recording.sink().data(Bytes::new());
        assert!(!recording.is_truncated());
        recording.sink().data("e".into());
        assert!(recording.is_truncated());
    }
}

#[test]
fn frames_are_kept_as_the_upstream_sent_them_and_empty_ones_are_not() {
    let frames = ["one", "", "two"].map(Bytes::from);
    for limit in [Limit::first(100), Limit::last(100)] {
        assert_eq!(recorded(limit, frames.clone()).frames(), ["one", "two"]);
    }
    assert_eq!(recorded(Limit::first(5), frames.clone()).frames(), ["one", "tw"]);
    assert_eq!(recorded(Limit::last(5), frames).frames(), ["ne", "two"]);
}

/// A frame of a connection is a slice of its read buffer, which a clone would pin.
#[test]
fn a_recording_pins_no_buffer_be_the_frames_small_or_large_nor_that_of_the_head() {
    for (from, to) in [(0, 1), (100, 356), (0, 5_000), (0, 300_000)] {
        let buffer = Bytes::from(vec![b'x'; 400_000]);
        let mut response = Response::new(());
        let value = HeaderValue::from_maybe_shared(buffer.slice(..20)).unwrap();
        response.headers_mut().insert("x-a", value);
        let (head, ()) = response.into_parts();
        let mut all = Vec::new();
        for limit in [Limit::first(1 << 20), Limit::last(1 << 20), Limit::first(1_000)] {
            let kept = recorded(limit, [buffer.slice(from..to)]);
            kept.sink().head(&head);
            kept.sink().trailers(&head.headers);
            assert!(kept.head().is_some() && kept.trailers().is_some());
            all.push(kept);
        }
        drop(head);
        assert!(buffer.is_unique(), "{from}..{to}");
    }
}

#[test]
fn nothing_follows_what_was_left_out_so_that_the_first_bytes_have_no_hole() {
    let recording = recorded(Limit::first(4), ["abcde".into(), "f".into(), "g".into()]);
    assert_eq!((recording.frames().len(), recording.total()), (1, 7));
    assert_eq!(recording.to_bytes(), "abcd");
}

/// faults.md 48, issue 9 F: what the bytes that are kept cost in memory does not depend on how they were cut.
#[test]
fn a_recording_takes_at_most_twice_what_it_may_keep_and_some_blocks_for_frames_of_every_size() {
    const BYTES: usize = 256 * 1024;
    for size in [1, 2, 10, 100, 256, 1_000, 4_095, 4_097, 10_000, 65_536, 1 << 20] {
        for (limit, blocks) in [(Limit::first(BYTES), 1), (Limit::last(BYTES), 3)] {
            let budget = Budget::new(usize::MAX);
            let frames = std::iter::repeat_n(Bytes::from(vec![b'x'; size]), 2 * BYTES / size + 1);
            let recording = recorded(limit.within(&budget), frames);
            assert_eq!((recording.to_bytes().len(), recording.is_truncated()), (BYTES, true));
            let most = 2 * BYTES + blocks * 17 * 1024;
            assert!(budget.used() <= most, "{} by {size} of {blocks}", budget.used());
        }
    }
}

#[tokio::test]
async fn a_recording_can_be_read_while_it_is_written_and_clones_are_the_same() {
    let recording = Recording::new(Limit::first(100));
    let other = recording.clone();
    let script = Script::new().data("one").data("two").trailers(HeaderMap::new());
    let mut body = TeeBody::new(script, recording.sink());
    assert_eq!((other.to_bytes(), other.outcome()), (Bytes::new(), None));
    body.frame().await.unwrap().unwrap();
    assert_eq!((other.to_bytes(), other.total()), ("one".into(), 3));
    body.frame().await.unwrap().unwrap();
    assert_eq!((other.to_bytes(), other.outcome()), ("onetwo".into(), None));
    assert!(other.trailers().is_none());
    body.frame().await.unwrap().unwrap();
    assert_eq!(
        (other.trailers(), other.outcome()),
        (Some(HeaderMap::new()), Some(Outcome::Completed))
    );
    drop((body, recording));
    assert_eq!(other.to_bytes(), "onetwo", "and after");
    assert!(other.head().is_none(), "it was captured without one");
}

#[test]
fn the_head_is_kept_too() {
    let response = Response::builder().status(206).version(Version::HTTP_2).header("x-a", "1");
    let (head, ()) = response.body(()).unwrap().into_parts();
    let recording = Recording::new(Limit::last(0));
    recording.sink().head(&head);
    let (status, version, headers) = recording.head().unwrap();
    assert_eq!(
        (status, version, headers),
        (StatusCode::PARTIAL_CONTENT, Version::HTTP_2, head.headers)
    );
}

proptest! {
    #[test]
    fn whatever_the_frames_the_first_bytes_are_a_prefix_and_the_last_a_suffix(
        frames in vec(vec(any::<u8>(), 0..20), 0..20), limit in 0_usize..200,
    ) {
        let all = frames.concat();
        let kept = limit.min(all.len());
        let frames = || frames.iter().cloned().map(Bytes::from);
        prop_assert_eq!(recorded(Limit::first(limit), frames()).to_bytes(), &all[..kept]);
        let last = recorded(Limit::last(limit), frames());
        prop_assert_eq!(last.to_bytes(), &all[all.len() - kept..]);
        prop_assert_eq!((last.total(), last.is_truncated()), (all.len() as u64, all.len() > limit));
    }
}
