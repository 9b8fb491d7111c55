//! Bodies that are longer or shorter than the head says: truths.md 9 and 10. What the client sees is not our doing; what
//! is reported follows the bytes.

use testkit::{Eos, Event, H2Next, How, Reason, Script};
use tower_lifeline::exchange::Outcome::{Completed, Discarded, Truncated};

use super::{
    H1S, H2S, Response, body_of,
    row::{Row, Seen},
    with_length,
};

const PROTOCOL_ERROR: Seen = Seen::H2(H2Next::Reset(Reason::PROTOCOL_ERROR));

#[tokio::test]
async fn too_many_bytes_for_the_content_length_are_complete() {
    let row = Row::get(|script| with_length(5, script.data("hello").data("!!!").eos(Eos::Never)));
    let played = row.over_h1(H1S, Completed, Some(Event::Data(5))).await;
    assert_eq!((body_of(&played), played.ending.bytes), (&b"hello"[..], 5));
    let played = row.over_h2(H2S, Completed, Some(Event::End)).await;
    assert_eq!((played.ending.bytes, played.wire.end), (8, PROTOCOL_ERROR));
}

#[tokio::test]
async fn too_many_bytes_in_one_frame_are_complete_though_hyper_cuts_them() {
    let row = Row::get(|script| with_length(5, script.data("hello!!!").eos(Eos::Never)));
    let played = row.over_h1(H1S, Completed, Some(Event::Data(8))).await;
    // Taken from the body and handed on, which is not the same as delivered.
    assert_eq!((body_of(&played), played.ending.bytes), (&b"hello"[..], 8));
}

#[tokio::test]
async fn too_many_bytes_for_the_exact_hint_are_complete() {
    let row =
        Row::get(|script| Response::new(script.data("hello!!!").exact_size(5).eos(Eos::Never)));
    let played = row.over_h1(H1S, Completed, Some(Event::Data(8))).await;
    assert_eq!(
        (played.wire.header("content-length"), body_of(&played)),
        (Some("5"), &b"hello"[..])
    );
    let played = row.over_h2(H2S, Completed, Some(Event::End)).await;
    assert_eq!(played.wire.end, PROTOCOL_ERROR);
}

#[tokio::test]
async fn a_content_length_that_contradicts_the_exact_hint_is_judged_by_the_hint() {
    let longer = Row::get(|script| with_length(5, script.data("hello!!!").exact_size(8)));
    let shorter = Row::get(|script| with_length(10, script.data("hello").exact_size(5)));
    for (row, bytes) in [(longer, 8), (shorter, 5)] {
        let played = row.over_h2(H2S, Completed, Some(Event::Data(bytes))).await;
        assert_eq!(played.wire.end, PROTOCOL_ERROR);
    }
}

/// A debug build of hyper only: it asserts that the two agree, and its connection dies of it.
#[cfg(debug_assertions)]
#[tokio::test]
async fn a_response_whose_head_hyper_refuses_is_discarded() {
    let longer = Row::get(|script| with_length(5, script.data("hello!!!").exact_size(8)));
    let shorter = Row::get(|script| with_length(10, script.data("hello").exact_size(5)));
    for row in [longer, shorter] {
        let played = row.over_h1(H1S, Discarded, None).await;
        assert_eq!(played.wire.head, Vec::<String>::new());
    }
}

#[tokio::test]
async fn too_few_bytes_are_truncated_by_header_or_hint() {
    fn by_header(script: Script) -> Response<Script> {
        with_length(10, script.data("hello").pending().eos(Eos::Never))
    }
    fn by_hint(script: Script) -> Response<Script> {
        Response::new(script.data("hello").pending().exact_size(10).eos(Eos::Never))
    }
    for row in [Row::get(by_header), Row::get(by_hint)] {
        let played = row.over_h1(H1S, Truncated, Some(Event::End)).await;
        assert_eq!((body_of(&played), &played.wire.end), (&b"hello"[..], &Seen::H1(How::Fin)));
        let played = row.over_h2(H2S, Truncated, Some(Event::End)).await;
        assert_eq!((played.ending.bytes, played.wire.end), (5, PROTOCOL_ERROR));
    }
}

#[tokio::test]
async fn too_few_bytes_with_the_end_of_stream_flag_are_truncated() {
    let row = Row::get(|script| with_length(10, script.data("hello")));
    let played = row.over_h1(H1S, Truncated, Some(Event::Data(5))).await;
    assert_eq!(body_of(&played), b"hello");
    let played = row.over_h2(H2S, Truncated, Some(Event::Data(5))).await;
    assert_eq!(played.wire.end, PROTOCOL_ERROR);
}

#[tokio::test]
async fn too_few_bytes_before_trailers_are_truncated() {
    let row = Row::get(|script| with_length(10, script.data("hello").trailers(super::trailers())));
    row.over_h1(H1S, Truncated, Some(Event::Trailers)).await;
    row.over_h2(H2S, Truncated, Some(Event::Trailers)).await;
}

#[tokio::test]
async fn the_end_of_stream_flag_at_the_start_is_complete_whatever_the_content_length() {
    let row = Row::get(|script| with_length(10, script.eos(Eos::Always)));
    let played = row.over_h1(H1S, Completed, None).await;
    assert_eq!(played.wire.header("content-length"), Some("0"));
    // hyper sends the header as it is, and the client complains; the body had said that there is nothing.
    let played = row.over_h2(H2S, Completed, None).await;
    assert_eq!(played.wire.end, PROTOCOL_ERROR);
}
