//! How the body behaves: frames, ends, hints, memory.

use std::{future::poll_fn, pin::pin, task::Poll};

use testkit::{Eos, poll_body};

use super::*;

fn body(script: Script) -> IncludeUsageBody<Script> {
    IncludeUsageBody::new(script)
}

#[tokio::test]
async fn whole_events_are_the_upstreams_own_frames_and_its_own_memory() {
    let chunk = Bytes::from([DELTA, DELTA].concat());
    let read = drain(body(Script::new().data(chunk.clone()).data("").data(DONE))).await;
    assert_eq!(read.frames, [&chunk, &Bytes::new(), &Bytes::from(DONE)]);
    assert_eq!(read.frames[0].as_ptr(), chunk.as_ptr());
}

#[tokio::test]
async fn a_frame_with_nothing_but_the_chunk_is_not_there() {
    let read = drain(body(Script::new().data(DELTA).data(USAGE).data(DONE))).await;
    assert_eq!(read.frames, [DELTA, DONE]);
    let middle = drain(body(Script::new().data(events()))).await;
    assert_eq!(middle.frames, [DELTA, DONE]);
}

#[tokio::test]
async fn nothing_that_is_whole_waits() {
    let stalled = |text: String| Script::new().data(text).stall();
    for (text, expected) in [
        (DELTA.to_owned(), DELTA),
        (DELTA.to_owned() + "data: {", DELTA),
        (DELTA.to_owned() + USAGE, DELTA),
        (": ping\n".to_owned() + "data: x\n", ": ping\n"),
        ("data: x\r\n\r".to_owned(), "data: x\r\n\r"),
    ] {
        let mut body = pin!(body(stalled(text)));
        let first = poll_fn(|cx| body.as_mut().poll_frame(cx)).await;
        assert_eq!(first.unwrap().unwrap().into_data().unwrap(), expected);
        assert!(!body.is_end_stream());
    }
}

#[tokio::test]
async fn trailers_and_errors_follow_all_that_came_before_them() {
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", "7".parse().unwrap());
    let half = || Script::new().data(events()).data("data: {").eos(Eos::Never);
    let read = drain(body(half().trailers(trailers.clone()))).await;
    assert_eq!(read.frames, [DELTA, DONE, "data: {"]);
    assert_eq!(read.trailers, Some(trailers));
    let script = half().error("boom").data("late");
    let log = script.log();
    let mut body = pin!(body(script));
    let read = drain(body.as_mut()).await;
    assert_eq!(read.frames, [DELTA, DONE, "data: {"]);
    assert_eq!(read.error.unwrap().to_string(), "boom");
    assert!(log.dropped_at().is_some(), "its upstream is released");
    let again = poll_body(body.as_mut(), std::task::Waker::noop());
    assert!(matches!(again, Poll::Ready(None)));
    assert!(body.is_end_stream());
}

#[tokio::test]
async fn an_event_too_large_to_be_held_is_passed_through_and_the_next_is_looked_at() {
    let large =
        format!("data: {{\"choices\":[],\"usage\":{{\"x\":\"{}\"}}}}\n\n", "x".repeat(70_000));
    let all = [&large, USAGE, DONE].concat();
    for size in [1, 1000, 65_000, 66_000, all.len()] {
        let pieces = all.as_bytes().chunks(size);
        let script = pieces.fold(Script::new(), |script, piece| script.data(piece.to_vec()));
        assert_eq!(drain(body(script)).await.data, [&large, DONE].concat(), "{size}");
    }
    let mut body = pin!(body(Script::new().data(large[..66_000].to_owned()).stall()));
    let first = poll_fn(|cx| body.as_mut().poll_frame(cx)).await;
    assert_eq!(first.unwrap().unwrap().into_data().unwrap(), large[..66_000]);
}

#[tokio::test]
async fn the_chunk_is_taken_out_up_to_the_same_size_however_it_is_cut() {
    let chunk = |size: usize| {
        let event = "data: {\"choices\":[],\"usage\":{\"x\":\"\"}}\n\n";
        event.replace("\"\"", &format!("\"{}\"", "x".repeat(size - event.len())))
    };
    for size in [3_000, 60_000, 64 * 1024, 64 * 1024 + 1] {
        let all = [DELTA, &chunk(size), DONE].concat();
        let kept = if size > 64 * 1024 { all.clone() } else { [DELTA, DONE].concat() };
        for cut in [1, 100, all.len()] {
            let pieces = all.as_bytes().chunks(cut);
            let script = pieces.fold(Script::new(), |script, piece| script.data(piece.to_vec()));
            assert_eq!(drain(body(script)).await.data, kept, "{size} in pieces of {cut}");
        }
    }
}

#[tokio::test]
async fn a_body_without_its_layer_has_no_size() {
    let body = body(Script::new().data(USAGE).exact_size(USAGE.len() as u64));
    assert_eq!((body.size_hint().lower(), body.size_hint().upper()), (0, None));
}
