//! The decoder against the standard: the shared vectors, streams by chance, and what it promises beyond.

use std::time::Duration;

use bytes::Bytes;
use proptest::{collection::vec, prelude::*};

use super::{
    super::{Decoded, DecodedEvent, Decoder},
    aligned::bytewise,
    random::{cut, stream},
    reference::{Dispatched, Parsed, parse},
    vectors::{HUGE, Vector, vectors},
};

/// What a stream says, as the reference has it.
fn read(pieces: impl IntoIterator<Item = Bytes>) -> (Vec<Dispatched>, String, Option<u64>) {
    let mut decoder = Decoder::new();
    let decoded = pieces.into_iter().flat_map(|piece| feed(&mut decoder, piece));
    let events = decoded.map(|decoded| dispatched(&event(decoded))).collect();
    let retry = decoder.retry().map(|retry| u64::try_from(retry.as_millis()).unwrap());
    (events, decoder.last_event_id().into(), retry)
}

fn expected(parsed: &Parsed) -> (Vec<Dispatched>, String, Option<u64>) {
    (parsed.events.clone(), parsed.last_event_id.clone(), parsed.retry)
}

fn feed(decoder: &mut Decoder, piece: impl Into<Bytes>) -> Vec<Decoded> {
    let mut piece = piece.into();
    let decoded = std::iter::from_fn(|| decoder.decode(&mut piece)).collect();
    assert!(piece.is_empty());
    decoded
}

fn event(decoded: Decoded) -> DecodedEvent {
    let Decoded::Event(event) = decoded else { panic!("{decoded:?}") };
    event
}

fn dispatched(event: &DecodedEvent) -> Dispatched {
    Dispatched {
        kind: event.event_type().into(),
        data: String::from_utf8_lossy(event.data()).into(),
        last_event_id: event.last_event_id().into(),
    }
}

fn data(decoded: &Decoded) -> &Bytes {
    let Decoded::Event(event) = decoded else { panic!("{decoded:?}") };
    event.data()
}

#[test]
fn every_vector_is_read_as_the_standard_says_whole_and_byte_by_byte() {
    for Vector { id, input, expect } in vectors() {
        assert_eq!(read([input.clone()]), expected(&expect), "{id}");
        assert_eq!(read(bytewise(&input)), expected(&expect), "{id} byte by byte");
    }
}

#[test]
fn every_vector_is_read_the_same_at_every_split() {
    for Vector { id, input, expect } in vectors() {
        // The vector of 70 kB would take minutes, and in its middle nothing changes.
        let step = if id == HUGE { 97 } else { 1 };
        let near_ends = (0..20).chain(input.len().saturating_sub(20)..=input.len());
        for at in (0..=input.len()).step_by(step).chain(near_ends) {
            let at = at.min(input.len());
            let split = [input.slice(..at), input.slice(at..)];
            assert_eq!(read(split), expected(&expect), "{id} split at {at}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    #[test]
    fn any_stream_in_any_pieces_is_read_as_the_reference_reads_it(
        stream in stream(), lengths in vec(0_usize..9, 0..20),
    ) {
        prop_assert_eq!(read(cut(stream.clone(), &lengths)), expected(&parse(&stream)));
    }

    #[test]
    fn a_limit_says_the_same_however_the_stream_is_cut(
        stream in stream(), lengths in vec(0_usize..9, 0..20), limit in 0_usize..20,
    ) {
        let with = |pieces: Vec<Bytes>| {
            let mut decoder = Decoder::with_limit(limit);
            let mut decoded: Vec<_> =
                pieces.into_iter().flat_map(|piece| feed(&mut decoder, piece)).collect();
            decoded.extend(decoder.finish());
            (decoded, decoder.last_event_id().to_owned(), decoder.retry())
        };
        prop_assert_eq!(with(cut(stream.clone(), &lengths)), with(vec![stream]));
    }

    #[test]
    fn the_end_of_a_stream_gives_the_event_that_a_blank_line_would_have(
        stream in stream(), lengths in vec(0_usize..9, 0..20),
    ) {
        let mut decoder = Decoder::new();
        let pieces = cut(stream.clone(), &lengths).into_iter();
        let mut events: Vec<_> = pieces.flat_map(|piece| feed(&mut decoder, piece)).collect();
        events.extend(decoder.finish());
        let events: Vec<_> = events.into_iter().map(|decoded| dispatched(&event(decoded))).collect();
        let ended = [&stream, &b"\n\n"[..]].concat();
        prop_assert_eq!(events, parse(&ended).events);
    }
}

#[test]
fn the_data_of_an_event_that_lies_in_one_chunk_is_that_chunk_and_no_copy() {
    let chunk = Bytes::from("event: a\ndata: {\"one\":1}\nid: 3\n\ndata:two\r\n\r\n");
    let within = |data: &Bytes| chunk.as_ptr_range().contains(&data.as_ptr());
    let mut decoder = Decoder::new();
    let decoded = feed(&mut decoder, chunk.clone());
    assert_eq!(decoded.iter().map(data).collect::<Vec<_>>(), ["{\"one\":1}", "two"]);
    assert!(decoded.iter().all(|decoded| within(data(decoded))));

    // Neither a line in a chunk of its own nor the end of the event in a later one makes a difference.
    let chunk = Bytes::from("data: three\n");
    assert_eq!(feed(&mut decoder, chunk.clone()), []);
    let decoded = feed(&mut decoder, "\n");
    assert_eq!(data(&decoded[0]).as_ptr(), chunk[6..].as_ptr());
}

#[test]
fn several_lines_of_data_are_joined_by_lf_whatever_ended_them() {
    let decoded = feed(&mut Decoder::new(), "data: a\rdata:\r\ndata\ndata:  b\n\n");
    assert_eq!(data(&decoded[0]), "a\n\n\n b");
}

#[test]
fn an_event_over_the_limit_is_told_of_once_and_the_next_one_is_read() {
    let mut decoder = Decoder::with_limit(16);
    let long = "x".repeat(100);
    let stream = format!("data: {long}\ndata: {long}\nevent: {long}\n\nevent: b\ndata: next\n\n");
    let decoded: Vec<_> =
        bytewise(&stream.into()).flat_map(|byte| feed(&mut decoder, byte)).collect();
    assert_eq!(decoded[0], Decoded::TooLarge);
    assert_eq!(dispatched(&event(decoded[1].clone())).kind, "b");
    assert_eq!(decoded.len(), 2);
}

#[test]
fn many_small_lines_of_data_are_as_large_as_a_long_one() {
    let mut decoder = Decoder::new();
    let line = Bytes::from("data:1234567\n".repeat(1000));
    let decoded: Vec<_> = (0..200).flat_map(|_| feed(&mut decoder, line.clone())).collect();
    assert_eq!(decoded, [Decoded::TooLarge]);
    assert_eq!(decoder.finish(), None); // It was told.
    assert_eq!(feed(&mut decoder, "data: a\n\n").len(), 1);
}

#[test]
fn an_event_of_exactly_the_limit_is_read() {
    let read = |limit| feed(&mut Decoder::with_limit(limit), "data: 12\n\n");
    assert_eq!(data(&read(8)[0]), "12");
    assert_eq!(read(7), [Decoded::TooLarge]);
}

#[test]
fn comments_without_end_count_for_nothing() {
    let mut decoder = Decoder::with_limit(16);
    assert_eq!(feed(&mut decoder, "data: a\n:"), []);
    for _ in 0..1000 {
        assert_eq!(feed(&mut decoder, ": keep-alive, no line end"), []);
    }
    assert_eq!(feed(&mut decoder, "\n".to_owned() + &": keep-alive\n".repeat(1000)), []);
    assert_eq!(feed(&mut decoder, "\n").len(), 1);
}

#[test]
fn the_limit_is_large_enough_for_an_event_that_repeats_the_whole_response() {
    let event = format!("event: response.completed\ndata: {}\n\n", "x".repeat(900_000));
    let mut decoder = Decoder::default();
    let pieces = cut(event.into(), &[16_384; 50]);
    let decoded: Vec<_> = pieces.into_iter().flat_map(|piece| feed(&mut decoder, piece)).collect();
    assert_eq!(data(&decoded[0]).len(), 900_000);
}

#[test]
fn an_id_stays_until_another_comes_and_one_with_nul_is_none() {
    let mut decoder = Decoder::new();
    let decoded =
        feed(&mut decoder, "id: 1\ndata: a\n\ndata: b\n\nid: 2\0\ndata: c\n\nid\ndata: d\n\n");
    let ids: Vec<_> =
        decoded.into_iter().map(|decoded| dispatched(&event(decoded)).last_event_id).collect();
    assert_eq!(ids, ["1", "1", "1", ""]);
    feed(&mut decoder, "id: 9\n");
    assert_eq!(decoder.last_event_id(), ""); // Not before its block has ended.
    feed(&mut decoder, "\n");
    assert_eq!(decoder.last_event_id(), "9"); // With no data it is no event, but the id counts.
}

#[test]
fn only_digits_are_a_time_to_wait() {
    let mut decoder = Decoder::new();
    assert_eq!(decoder.retry(), None);
    feed(&mut decoder, "retry: 3000\n");
    for bad in ["", "-1", "+1", "1.5", "3s", "99999999999999999999999", " 4"] {
        feed(&mut decoder, format!("retry: {bad}\n"));
        assert_eq!(decoder.retry(), Some(Duration::from_secs(3)), "{bad:?}");
    }
}

#[test]
fn what_the_end_cuts_short_is_given_once_and_after_it_a_new_stream_is_read() {
    let mut decoder = Decoder::new();
    feed(&mut decoder, "\u{feff}id: 4\nevent: last\ndata: {\"usage\":1}\r");
    let last = event(decoder.finish().unwrap());
    assert_eq!((last.event_type(), last.last_event_id()), ("last", "4"));
    assert_eq!(last.into_data(), "{\"usage\":1}");
    assert_eq!(decoder.finish(), None);
    // The LF would have belonged to the CR, and the mark would not have been one.
    assert_eq!(feed(&mut decoder, "\u{feff}data: a\n\n").len(), 1);
    assert_eq!(feed(&mut decoder, "data: unfinished"), []);
    assert_eq!(event(decoder.finish().unwrap()).data(), "unfinished");
    assert_eq!(feed(&mut decoder, "event: no data"), []);
    assert_eq!(decoder.finish(), None);
}

#[test]
fn what_is_no_utf_8_stays_as_it_is_in_data_and_is_replaced_in_what_is_text() {
    let decoded = feed(&mut Decoder::new(), &b"event: a\xff\nid: \xff\ndata: \xff\n\n"[..]);
    let event = event(decoded[0].clone());
    assert_eq!((event.event_type(), event.last_event_id()), ("a\u{fffd}", "\u{fffd}"));
    assert_eq!(event.data(), &b"\xff"[..]);
}
