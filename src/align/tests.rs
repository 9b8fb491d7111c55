//! What is held back, what goes out, and where bytes of our own may stand. The shared vectors are in `sse::tests`.

use allocation_counter::measure;
use bytes::Bytes;

use super::{Align, DEFAULT_HOLD};
use crate::{aligned::Shape, head::Media};

#[test]
fn whole_events_go_out_at_once_and_the_rest_waits_for_its_end() {
    let mut align = events();
    assert_eq!(push(&mut align, "data: a\n\ndata: b\n\ndata: c"), ["data: a\n\ndata: b\n\n"]);
    assert!(align.may_insert() && !align.is_empty());
    assert_eq!(push(&mut align, "\n"), [""; 0]);
    assert!(align.may_insert());
    assert_eq!(push(&mut align, "\ndata: d\n\n"), ["data: c\n", "\ndata: d\n\n"]);
    assert!(align.may_insert() && align.is_empty());
}

#[test]
fn nothing_may_stand_between_the_pieces_of_one_event() {
    let mut align = events();
    push(&mut align, "data: a");
    assert_eq!(align.push("\n\n".into()).unwrap(), "data: a");
    assert!(!align.may_insert());
    assert_eq!(align.pop().unwrap(), "\n\n");
    assert!(align.may_insert());
    assert_eq!(align.pop(), None);
}

#[test]
fn what_goes_out_at_once_is_the_upstreams_own_memory_and_what_waits_is_a_copy() {
    let chunk = Bytes::from(b"data: a\n\ndata: b".to_vec());
    let mut align = events();
    let first = align.push(chunk.clone()).unwrap();
    assert_eq!(first.as_ptr(), chunk.as_ptr());
    drop(first);
    assert!(chunk.is_unique(), "what waits is a slice of it");
    let end = Bytes::from(b"\n\ndata: c\n\n".to_vec());
    assert_eq!(align.push(end.clone()).unwrap(), "data: b");
    assert_eq!(align.pop().unwrap().as_ptr(), end.as_ptr());
}

/// 1,900 read buffers of 8 KiB were pinned for an event that came in as many bytes.
#[test]
fn an_event_that_comes_byte_by_byte_takes_twice_its_bytes_however_large_the_buffers_are() {
    for bytes in [100, 1_900, DEFAULT_HOLD - 1] {
        let mut kept = None;
        let real = measure(|| {
            let mut align = events();
            for _ in 0..bytes {
                let buffer = Bytes::from(vec![b'd'; 8_192]);
                assert_eq!(align.push(buffer.slice(..1)), None);
            }
            kept = Some(align);
        });
        let real = usize::try_from(real.bytes_current).unwrap();
        assert!(real <= 2 * bytes + 256, "{real} for {bytes}");
    }
}

#[test]
fn events_that_come_in_pieces_allocate_nothing_in_the_long_run() {
    let mut align = events();
    let mut turn = || {
        for piece in [&b"data: a"[..], b"\n", b"\n"] {
            let chunk = align.push(Bytes::from_static(piece));
            drop(chunk);
            while align.pop().is_some() {}
        }
    };
    (0..100).for_each(|_| turn());
    let counted = measure(|| (0..1_000).for_each(|_| turn()));
    assert_eq!(counted.count_total, 0);
}

#[test]
fn an_upstreams_own_comment_is_handed_on_at_once() {
    let mut align = events();
    assert_eq!(push(&mut align, ": ping\n"), [": ping\n"]);
    assert!(align.may_insert());
    assert_eq!(push(&mut align, "data: a\n\n:\r\n: half"), ["data: a\n\n:\r\n"]);
    assert_eq!(push(&mut align, "\r"), [": half", "\r"]);
    assert!(!align.may_insert(), "the LF of that CR may follow");
    assert_eq!(push(&mut align, "\n"), ["\n"]);
    assert!(align.may_insert());
    // Within an event a comment waits with it.
    assert_eq!(push(&mut align, "data: b\n: ping\n"), [""; 0]);
}

#[test]
fn cr_lf_that_is_split_keeps_both_halves_on_one_side() {
    let mut align = events();
    assert_eq!(push(&mut align, "data: a\r"), [""; 0]);
    assert_eq!(push(&mut align, "\n\r"), ["data: a\r", "\n\r"]);
    assert!(!align.may_insert());
    assert_eq!(push(&mut align, "\ndata: b"), ["\n"]);
    assert!(align.may_insert());
}

#[test]
fn a_stream_that_ends_lines_with_cr_alone_has_its_places_too() {
    let mut align = events();
    assert_eq!(push(&mut align, "data: a\r\r"), ["data: a\r\r"]);
    assert!(align.may_insert());
    assert_eq!(push(&mut align, "data: b\r"), [""; 0]);
    assert!(align.may_insert(), "b is held back whole");
    assert_eq!(push(&mut align, "\r"), ["data: b\r", "\r"]);
    assert!(align.may_insert());
}

#[test]
fn an_event_larger_than_the_limit_is_passed_through_and_nothing_stands_in_it() {
    let mut align = Align::new(Media::EventStream, 100);
    assert_eq!(push(&mut align, "data: aaaa"), [""; 0]);
    let large = "a".repeat(100);
    assert_eq!(push(&mut align, &large), ["data: aaaa", &large]);
    assert!(!align.may_insert());
    assert_eq!(push(&mut align, "more\n"), ["more\n"]); // At once: what has begun to go out goes on.
    assert!(!align.may_insert());
    assert_eq!(push(&mut align, "\ndata: b"), ["\n"]);
    assert!(align.may_insert(), "its end has gone out");
    assert_eq!(push(&mut align, "\n\n"), ["data: b", "\n\n"]);
}

#[test]
fn the_limit_counts_to_the_byte_and_pieces_cost_nothing_by_themselves() {
    let mut align = Align::new(Media::EventStream, 10);
    for _ in 0..10 {
        assert_eq!(push(&mut align, "d"), [""; 0]);
        assert_eq!(push(&mut align, ""), [""; 0]);
    }
    assert!(align.may_insert());
    assert_eq!(push(&mut align, "d"), ["dddddddddd", "d"]);
    assert!(!align.may_insert());
}

#[test]
fn the_limit_is_for_one_event_and_not_for_many() {
    let mut align = Align::new(Media::EventStream, 200);
    for _ in 0..50 {
        push(&mut align, "data: b");
        push(&mut align, "bbb\n");
        assert_eq!(push(&mut align, "\n"), ["data: bbbb\n", "\n"]);
        assert!(align.may_insert());
    }
}

#[test]
fn the_usual_limit_is_64_kib_of_one_event() {
    let field = "data: ".len();
    let mut align = events();
    let most = "x".repeat(DEFAULT_HOLD - field);
    assert_eq!(push(&mut align, &format!("data: {most}")), [""; 0]);
    let mut align = events();
    let more = format!("data: {most}x");
    assert_eq!(push(&mut align, &more), [more]);
    assert_eq!(DEFAULT_HOLD, 65_536);
}

#[test]
fn an_empty_frame_of_the_upstream_goes_out_at_once_between_events() {
    for media in [Media::EventStream, Media::Ndjson, Media::Grpc, Media::Other] {
        let mut align = Align::new(media, DEFAULT_HOLD);
        assert_eq!(push(&mut align, ""), [""], "{media:?}");
        assert!(align.may_insert(), "{media:?}");
    }
}

#[test]
fn at_the_end_what_was_held_back_goes_out_as_it_is() {
    let mut align = events();
    push(&mut align, "data: a");
    push(&mut align, "\n");
    align.finish();
    assert_eq!(align.pop().unwrap(), "data: a\n");
    assert_eq!(align.pop(), None);
}

#[test]
fn a_mark_behind_bytes_of_ours_is_taken_out_however_it_is_split() {
    let stream = Bytes::from("\u{feff}data: a\n\n");
    for (one, two) in
        (0..=stream.len()).flat_map(|one| (one..=stream.len()).map(move |two| (one, two)))
    {
        let mut align = events();
        align.inserted();
        let pieces = [stream.slice(..one), stream.slice(one..two), stream.slice(two..)];
        let out: Vec<_> = pieces.iter().flat_map(|piece| all(&mut align, piece.clone())).collect();
        assert_eq!(out.concat(), b"data: a\n\n", "split at {one} and {two}");
        // Only the empty frames of the upstream itself: none is made of what was taken out.
        let empty = |pieces: &[Bytes]| pieces.iter().filter(|piece| piece.is_empty()).count();
        assert!(empty(&out) <= empty(&pieces), "split at {one} and {two}");
    }
}

#[test]
fn a_mark_stays_when_nothing_precedes_it() {
    let mut align = events();
    assert_eq!(push(&mut align, "\u{feff}data: a\n\n"), ["\u{feff}data: a\n\n"]);
    align.inserted();
    assert_eq!(push(&mut align, "\u{feff}data: b\n\n"), ["\u{feff}data: b\n\n"]);
}

#[test]
fn only_the_first_of_two_marks_is_taken_out() {
    let mut align = events();
    align.inserted();
    assert_eq!(push(&mut align, "\u{feff}\u{feff}data: a\n\n"), ["\u{feff}data: a\n\n"]);
}

#[test]
fn what_only_begins_like_a_mark_stays() {
    for stream in [&b"\xef\xbbdata: a\n\n"[..], b"\xef\n\n", b"\xef\xbb\xbe\n\n"] {
        let mut align = events();
        align.inserted();
        assert_eq!(all(&mut align, Bytes::from_static(stream)).concat(), stream);
    }
}

#[test]
fn a_stream_has_begun_with_its_first_event_and_not_with_a_comment() {
    let mut align = events();
    push(&mut align, "\u{feff}: hello\n\n\n");
    push(&mut align, "data: a\n");
    assert!(!align.has_begun());
    push(&mut align, "\n");
    assert!(align.has_begun());
    push(&mut align, ": bye\n");
    assert!(align.has_begun());
}

#[test]
fn lines_go_out_whole_and_the_rest_waits() {
    let mut align = Align::new(Media::Ndjson, DEFAULT_HOLD);
    assert!(align.may_insert());
    assert_eq!(push(&mut align, "{\"a\":1}\n{\"b\""), ["{\"a\":1}\n"]);
    assert!(align.may_insert());
    assert_eq!(push(&mut align, ":2"), [""; 0]);
    assert_eq!(push(&mut align, "}\r\n"), ["{\"b\":2", "}\r\n"]);
    assert!(align.may_insert() && align.is_empty());
}

#[test]
fn a_record_does_not_wait_for_a_line_end_that_comes_before_the_next_one() {
    let mut align = Align::new(Media::Ndjson, DEFAULT_HOLD);
    assert_eq!(push(&mut align, "\n{\"a\":"), ["\n"]);
    assert!(align.may_insert());
    assert_eq!(push(&mut align, "1}"), ["{\"a\":", "1}"]);
    assert!(!align.may_insert(), "the line has not ended");
    assert_eq!(push(&mut align, "\n{\"b\":2}"), ["\n{\"b\":2}"]);
    assert!(!align.may_insert());
    assert_eq!(push(&mut align, "\n"), ["\n"]);
    assert!(align.may_insert());
}

#[test]
fn a_line_larger_than_the_limit_is_passed_through_and_nothing_stands_in_it() {
    let mut align = Align::new(Media::Ndjson, 9);
    assert_eq!(push(&mut align, "[123456789"), ["[123456789"]);
    assert!(!align.may_insert());
    assert_eq!(push(&mut align, ""), [""]);
    assert!(!align.may_insert());
    assert_eq!(push(&mut align, "0]\n[1"), ["0]\n"]);
    assert!(align.may_insert());
}

#[test]
fn grpc_is_never_held_back_and_has_places_between_messages() {
    let mut align = Align::new(Media::Grpc, DEFAULT_HOLD);
    assert!(align.may_insert());
    assert_eq!(push(&mut align, "\0\0\0\0\u{2}a"), ["\0\0\0\0\u{2}a"]);
    assert!(!align.may_insert());
    assert_eq!(push(&mut align, "b"), ["b"]);
    assert!(align.may_insert());
}

#[test]
fn of_other_media_nothing_is_known_so_nothing_is_held_back() {
    let mut align = Align::new(Media::Other, 0);
    assert!(align.may_insert() && !align.has_begun());
    assert_eq!(push(&mut align, "half a th"), ["half a th"]);
    assert!(align.may_insert() && align.has_begun());
}

fn events() -> Align {
    Align::new(Media::EventStream, DEFAULT_HOLD)
}

fn push(align: &mut Align, chunk: &str) -> Vec<Bytes> {
    all(align, Bytes::copy_from_slice(chunk.as_bytes()))
}

fn all(align: &mut Align, chunk: Bytes) -> Vec<Bytes> {
    let first = align.push(chunk);
    first.into_iter().chain(std::iter::from_fn(|| align.pop())).collect()
}
