//! What one recording keeps, to the byte.

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode, Version};
use http_body_util::BodyExt;
use proptest::{collection::vec, prelude::*};
use testkit::Script;

use super::super::{Limit, Recording, Sink, TeeBody};
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
fn frames_are_kept_as_the_upstream_sent_them_without_a_copy_and_empty_ones_are_not() {
    let frames = [Bytes::from_static(b"one"), Bytes::new(), Bytes::from_static(b"two")];
    for limit in [Limit::first(100), Limit::last(100)] {
        let kept = recorded(limit, frames.clone()).frames();
        assert_eq!(kept, ["one", "two"]);
        assert_eq!((kept[0].as_ptr(), kept[1].as_ptr()), (frames[0].as_ptr(), frames[2].as_ptr()));
    }
    let cut = recorded(Limit::first(5), frames.clone()).frames();
    assert_eq!((cut[1].as_ptr(), cut[1].len()), (frames[2].as_ptr(), 2));
    let cut = recorded(Limit::last(5), frames.clone()).frames();
    assert_eq!((cut[0].as_ptr(), cut[0].len()), (frames[0][1..].as_ptr(), 2));
}

#[test]
fn nothing_follows_what_was_left_out_so_that_the_first_bytes_have_no_hole() {
    let recording = recorded(Limit::first(4), ["abcde".into(), "f".into(), "g".into()]);
    assert_eq!((recording.frames().len(), recording.total()), (1, 7));
    assert_eq!(recording.to_bytes(), "abcd");
}

/// faults.md 48: a stream of small frames grows nothing.
#[test]
fn besides_its_bytes_a_recording_keeps_so_many_frames_and_no_more() {
    for bytes in [0, 100, 32_000, 64_000] {
        let most = 1_024 + bytes / 32;
        let stream: Bytes = (0..70_000_usize).map(|at| (at % 251) as u8).collect();
        let frames = || (0..stream.len()).map(|at| stream.slice(at..=at));
        let kept = most.min(bytes);

        let first = recorded(Limit::first(bytes), frames());
        assert_eq!((first.frames().len(), first.to_bytes()), (kept, stream.slice(..kept)));
        let last = recorded(Limit::last(bytes), frames());
        assert_eq!(
            (last.frames().len(), last.to_bytes()),
            (kept, stream.slice(stream.len() - kept..))
        );
        assert!(first.is_truncated() && last.is_truncated());
    }
}

#[test]
fn a_recording_stopped_by_its_number_of_frames_takes_no_later_ones() {
    let ones = std::iter::repeat_n(Bytes::from_static(b"x"), 1_025);
    let recording = recorded(Limit::first(31), ones.clone());
    assert_eq!((recording.to_bytes().len(), recording.is_truncated()), (31, true));
    let recording =
        recorded(Limit::first(1_000_000), std::iter::repeat_n(Bytes::from_static(b"x"), 40_000));
    let full = 1_024 + 1_000_000 / 32;
    assert_eq!((recording.frames().len(), recording.is_truncated()), (full, true));
    recording.sink().data("yy".into());
    assert_eq!((recording.frames().len(), recording.total()), (full, 40_002));
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
