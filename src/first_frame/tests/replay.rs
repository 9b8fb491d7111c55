//! What was held back, and what follows it, come out as they went in.

use std::{future::poll_fn, pin::Pin};

use http::HeaderMap;
use http_body::SizeHint;
use proptest::{collection::vec, prelude::*};
use testkit::{Eos, Event};

use super::*;

fn trailers() -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", 7.into());
    trailers
}

#[tokio::test]
async fn frames_come_out_one_by_one_as_they_came_in_and_only_those_that_waited_are_copies() {
    let frames = [": hi\n\n", "", PING, "data: a\n\n", "data: b\n\n"].map(Bytes::from);
    let body = frames.iter().cloned().fold(Script::new(), Script::data);
    let response = sse(body.trailers(trailers())).await;
    let read = read(response).await;
    let places = |frames: &[Bytes]| {
        frames.iter().map(|frame| (frame.as_ptr(), frame.len())).collect::<Vec<_>>()
    };
    assert_eq!(places(&read.frames)[3..], places(&frames)[3..]);
    assert_eq!(read.frames, frames);
    assert_eq!(read.trailers, Some(trailers()));
}

#[tokio::test]
async fn the_head_goes_out_as_it_came() {
    let service = service_fn(|_: Request<()>| async {
        let body = Script::new().data("hello").exact_size(5).eos(Eos::Never);
        let response = Response::builder().status(206).header("content-length", 5).extension(7_u8);
        Ok::<_, ScriptError>(response.body(body).unwrap())
    });
    let response =
        FirstFrameLayer::by_media().layer(service).oneshot(Request::new(())).await.unwrap();
    assert_eq!((response.status().as_u16(), response.headers().len()), (206, 1));
    assert_eq!(response.headers()["content-length"], "5");
    assert_eq!(response.extensions().get::<u8>(), Some(&7));
    assert_eq!(response.body().size_hint().exact(), Some(5));
}

#[tokio::test]
async fn the_size_counts_what_is_held_back_and_the_end_is_not_reported_before_it_went_out() {
    let body = Script::new().data(": 5\n\n").data("data: 9\n\n").exact_size(14);
    let mut body = sse(body).await.into_body();
    let state = |body: &FirstFrameBody<_>| (body.size_hint().exact(), body.is_end_stream());
    assert_eq!(state(&body), (Some(14), false)); // The inner body is at its end, and says so.
    for left in [(Some(9), false), (Some(0), true)] {
        assert!(next(&mut body).await.unwrap().is_ok());
        assert_eq!(state(&body), left);
    }
    assert!(next(&mut body).await.is_none());
    assert_eq!(state(&body), (Some(0), true));
}

#[tokio::test]
async fn a_size_that_is_not_exact_stays_as_true_as_it_was() {
    let mut hint = SizeHint::new();
    hint.set_lower(100);
    hint.set_upper(u64::MAX);
    let response = sse(Script::new().data("data: a\n\n").stall().hint(hint)).await;
    let hint = response.body().size_hint();
    assert_eq!((hint.lower(), hint.upper()), (100, Some(u64::MAX)));

    let response = sse(Script::new().data("data: a\n\n").stall()).await;
    let hint = response.body().size_hint();
    assert_eq!((hint.lower(), hint.upper()), (9, None));
}

#[tokio::test]
async fn a_stream_that_ended_while_it_was_held_back_is_replayed_without_its_upstream() {
    for last in [Script::new().data("").end(), Script::new().trailers(trailers())] {
        let layer = FirstFrameLayer::new(|_: &response::Parts| Begin::any_byte());
        let log = last.log();
        let response = call(&layer, last.eos(Eos::Never), "text/plain").await;
        assert!(log.dropped_at().is_some());
        let mut body = response.into_body();
        assert!(!body.is_end_stream());
        assert_eq!(body.size_hint().exact(), Some(0));
        assert!(next(&mut body).await.unwrap().is_ok());
        assert!(body.is_end_stream() && next(&mut body).await.is_none());
    }
}

#[tokio::test]
async fn after_the_end_there_is_nothing_for_ever_and_the_inner_body_is_gone() {
    for (body, ends_with) in [
        (Script::new().data("data: a\n\n").end().data("late"), Event::End),
        (Script::new().data("data: a\n\n").error("boom").data("late"), Event::Error),
        (Script::new().data("data: a\n\n").trailers(trailers()).data("late"), Event::Trailers),
    ] {
        let log = body.log();
        let mut body = sse(body.eos(Eos::Never)).await.into_body();
        let frames = if ends_with == Event::End { 1 } else { 2 };
        for _ in 0..frames {
            assert!(next(&mut body).await.is_some());
        }
        for _ in 0..3 {
            assert!(next(&mut body).await.is_none());
        }
        assert_eq!(
            log.story()[log.story().len() - 2..],
            [ends_with, Event::Dropped { panicking: false }]
        );
    }
}

async fn next(
    body: &mut FirstFrameBody<Script>,
) -> Option<Result<http_body::Frame<Bytes>, ScriptError>> {
    poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await
}

proptest! {
    #[test]
    fn whatever_a_stream_is_made_of_it_comes_out_as_it_went_in_or_is_answered_whole(
        words in vec(prop::sample::select(vec!["", ":\n", "data: a", "\n", "\r\n", "event: error\n", "id: 1\n"]), 0..20),
        pauses in vec(0_u64..400, 20), limit in 0_usize..600, ends in 0_u8..3,
    ) {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.enable_time().start_paused(true).build().unwrap().block_on(async {
            let body = words.iter().zip(pauses).fold(Script::new(), |body, (word, pause)| {
                // Some come together, some after the time limit.
                let pause = Duration::from_millis(pause.saturating_sub(200));
                body.pending().sleep(pause).data(*word)
            });
            let body = match ends {
                0 => body,
                1 => body.trailers(trailers()),
                _ => body.error("boom"),
            };
            let layer = FirstFrameLayer::by_media().limits(limit, Duration::from_secs(1));
            let response = call(&layer, body, "text/event-stream").await;
            if response.status() == StatusCode::BAD_GATEWAY {
                return;
            }
            let read = read(response).await;
            assert_eq!(read.frames, words);
            assert_eq!(read.trailers, (ends == 1).then(trailers));
            assert_eq!(read.error.is_some(), ends == 2);
        });
    }
}
