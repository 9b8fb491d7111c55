//! Errors of the body: what goes out before them, what in their place, and what not.

use http_body::Body;
use http_body_util::BodyExt;
use testkit::{Eos, ScriptError, Wakes, poll_body};

use super::*;
use crate::final_frame::MessageCut;

const BOOM: &str = "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"upstream\",\
                    \"message\":\"the upstream failed\",\"code\":\"failed\"}}\n\n";

#[tokio::test(start_paused = true)]
async fn an_unfinished_event_is_dropped_and_the_error_event_ends_the_stream() {
    let script = Script::new().data("data: a\n\ndata: b").data("b").error("boom").data("late");
    let log = script.log();
    let (seen, took) = read(FinalFrameBody::new(script, Media::EventStream, Final::by_media)).await;
    assert_eq!(seen.frames, ["data: a\n\n", BOOM]);
    assert!(seen.error.is_none() && seen.trailers.is_none());
    assert_eq!(took, Duration::ZERO);
    assert_eq!(log.count(|event| *event == testkit::Event::PollAfterEnd), 0);
    assert!(log.dropped_at().is_some(), "the inner body is gone");
}

#[tokio::test(start_paused = true)]
async fn an_unfinished_record_is_dropped_and_the_error_line_ends_the_stream() {
    let script = Script::new().data("{\"a\":1}\n{\"b\"").error("boom");
    let (seen, _) = read(FinalFrameBody::new(script, Media::Ndjson, Final::by_media)).await;
    let line = BOOM.trim_start_matches("event: error\ndata: ").trim_end();
    assert_eq!(seen.data, format!("{{\"a\":1}}\n{line}\n"));
    assert!(seen.error.is_none());
}

#[tokio::test(start_paused = true)]
async fn between_grpc_messages_an_error_becomes_trailers() {
    let script = Script::new().data(&b"\0\0\0\0\x01a"[..]).error("boom");
    let (seen, took) = read(FinalFrameBody::new(script, Media::Grpc, Final::by_media)).await;
    assert_eq!(seen.data, "\0\0\0\0\u{1}a");
    let trailers = seen.trailers.unwrap();
    assert_eq!((&trailers["grpc-status"], took), (&"14".parse().unwrap(), Duration::ZERO));
}

/// truths.md 4: what was given directly before an error is lost.
#[tokio::test(start_paused = true)]
async fn an_error_lingers_exactly_five_milliseconds_and_is_the_very_same() {
    let script = Script::new().data("half a th").error("boom").data("late");
    let log = script.log();
    let mut body = FinalFrameBody::new(script, Media::Other, Final::by_media);
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "half a th");
    let wakes = Wakes::new();
    let mut pinned = std::pin::Pin::new(&mut body);
    assert!(poll_body(pinned.as_mut(), &wakes.waker()).is_pending());
    assert!(log.dropped_at().is_some(), "the upstream is let go at once");
    assert!(!pinned.is_end_stream(), "the error is still to come");
    tokio::time::advance(LINGER - Duration::from_millis(1)).await;
    assert!(poll_body(pinned.as_mut(), &wakes.waker()).is_pending());
    tokio::time::advance(Duration::from_millis(1)).await;
    assert_eq!(wakes.count(), 1);
    let (seen, took) = read(body).await;
    assert_eq!(took, Duration::ZERO);
    let error = seen.error.unwrap();
    assert_eq!(error.downcast_ref::<ScriptError>().unwrap().to_string(), "boom");
    assert_eq!(error.source().unwrap().to_string(), "root of boom");
}

#[tokio::test(start_paused = true)]
async fn in_the_middle_of_an_event_too_large_to_hold_back_it_is_an_error() {
    let large = Bytes::from(format!("data: {}", "x".repeat(64 * 1024)));
    let script = Script::new().data(large.clone()).error("boom");
    let (seen, took) = read(FinalFrameBody::new(script, Media::EventStream, never)).await;
    assert_eq!((seen.frames, took), (vec![large.clone()], LINGER));
    assert_eq!(seen.error.unwrap().to_string(), "boom");
    // Once it is over there is a place again.
    let script = Script::new().data(large).data("\n\n").error("boom");
    let (seen, took) = read(FinalFrameBody::new(script, Media::EventStream, Final::by_media)).await;
    assert_eq!((seen.frames.last().unwrap(), took), (&BOOM.into(), Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn in_the_middle_of_a_grpc_message_it_is_a_reset_and_never_a_status() {
    for cut in [&b"\0"[..], b"\0\0\0\0\x02", b"\0\0\0\0\x02a", b"\0\0\0\0\x01a\x01"] {
        let script = Script::new().data(cut).error("boom");
        let (seen, took) = read(FinalFrameBody::new(script, Media::Grpc, never)).await;
        assert_eq!((&seen.data[..], took), (cut, LINGER));
        assert!(seen.trailers.is_none());
        let error = seen.error.unwrap();
        let cut = error.downcast_ref::<MessageCut>().unwrap();
        assert_eq!(cut.to_string(), "cut in the middle of a gRPC message: boom");
        assert!(cut.error().is::<ScriptError>());
        let source = cut.source().unwrap();
        #[cfg(feature = "h2")]
        assert_eq!(source.downcast_ref::<h2::Error>().unwrap().reason(), Some(h2::Reason::CANCEL));
        #[cfg(not(feature = "h2"))]
        assert_eq!(source.downcast_ref::<ScriptError>().unwrap().to_string(), "boom");
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_of_exact_size_has_no_clean_early_end() {
    let script = Script::new().data("data: a\n\nda").error("boom").exact_size(99);
    let body = FinalFrameBody::new(script, Media::EventStream, never);
    assert_eq!(body.size_hint().exact(), Some(99));
    let (seen, took) = read(body).await;
    assert_eq!(
        (seen.frames, took),
        (vec![Bytes::from("data: a\n\nda")], LINGER),
        "nothing is held back"
    );
    assert_eq!(seen.error.unwrap().to_string(), "boom");
}

#[tokio::test(start_paused = true)]
async fn a_function_may_choose_each_of_the_four_ends() {
    let body = |media, choose: fn(&Failure<'_>) -> Final| {
        FinalFrameBody::new(Script::new().data("data: a\n\n").error("boom"), media, choose)
    };
    for media in [Media::EventStream, Media::Other] {
        let (seen, took) = read(body(media, |_| Final::End)).await;
        assert_eq!(
            (&seen.data[..], seen.error.is_none(), took),
            (&b"data: a\n\n"[..], true, Duration::ZERO)
        );

        let (seen, _) = read(body(media, |_| Final::Data("data: bye\n\n".into()))).await;
        assert_eq!(
            (&seen.data[..], seen.error.is_none()),
            (&b"data: a\n\ndata: bye\n\n"[..], true)
        );

        let (seen, _) = read(body(media, |_| {
            Final::Trailers(HeaderMap::from_iter([(
                "x-end".parse().unwrap(),
                "1".parse().unwrap(),
            )]))
        }))
        .await;
        assert_eq!(
            (&seen.trailers.unwrap()["x-end"], seen.error.is_none()),
            (&"1".parse().unwrap(), true)
        );

        let (seen, took) = read(body(media, |_| Final::Error)).await;
        assert_eq!((seen.error.unwrap().to_string(), took), ("boom".into(), LINGER));
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_line_gets_the_line_end_that_the_record_before_it_lacks() {
    let script = Script::new().data("\n{\"a\":1}").error("boom");
    let (seen, _) = read(FinalFrameBody::new(script, Media::Ndjson, Final::by_media)).await;
    let lines: Vec<_> = std::str::from_utf8(&seen.data).unwrap().lines().collect();
    assert_eq!(lines[..2], ["", "{\"a\":1}"]);
    assert!(lines[2].starts_with("{\"type\":\"error\""), "{lines:?}");
    assert!(seen.error.is_none() && seen.data.ends_with(b"}\n"));
}

#[tokio::test(start_paused = true)]
async fn an_unfinished_record_behind_another_one_on_its_line_is_dropped() {
    for script in
        [Script::new().data("{\"a\":1}{\"b\":"), Script::new().data("{\"a\":1}").data("{\"b\":")]
    {
        let script = script.error("boom");
        let (seen, _) = read(FinalFrameBody::new(script, Media::Ndjson, Final::by_media)).await;
        let lines: Vec<_> = std::str::from_utf8(&seen.data).unwrap().lines().collect();
        assert_eq!(lines[0], "{\"a\":1}");
        assert!(lines[1].starts_with("{\"type\":\"error\""), "{lines:?}");
        assert!(lines.len() == 2 && seen.error.is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn the_function_is_told_of_the_error_its_cause_and_the_media_once() {
    let told = Mutex::new(Vec::new());
    let choose = |failure: &Failure<'_>| {
        assert!(failure.error.is::<ScriptError>());
        assert!(
            failure.exchange.cause().is_some(),
            "layers outside are not to take it for a clean end"
        );
        told.lock().unwrap().push((
            failure.cause.outcome().as_str(),
            failure.message().into_owned(),
            failure.media,
        ));
        Final::End
    };
    read(FinalFrameBody::new(Script::new().error("boom"), Media::Ndjson, choose)).await;
    assert_eq!(
        *told.lock().unwrap(),
        [("failed", "the upstream failed".to_owned(), Media::Ndjson)]
    );
}

#[tokio::test(start_paused = true)]
async fn a_clean_end_and_trailers_let_go_what_was_held_back_and_ask_nobody() {
    let script = Script::new().data("data: a\n\ndata: b").data("b").eos(Eos::Never);
    let (seen, took) = read(FinalFrameBody::new(script, Media::EventStream, never)).await;
    assert_eq!(
        (seen.frames, took),
        (vec!["data: a\n\n".into(), Bytes::from("data: bb")], Duration::ZERO)
    );

    let trailers = HeaderMap::from_iter([("grpc-status".parse().unwrap(), "0".parse().unwrap())]);
    let script = Script::new().data("data: b").trailers(trailers.clone()).error("late");
    let (seen, _) = read(FinalFrameBody::new(script, Media::EventStream, never)).await;
    assert_eq!((&seen.data[..], seen.trailers), (&b"data: b"[..], Some(trailers)));
}

#[tokio::test(start_paused = true)]
async fn bodies_of_other_media_are_handed_on_at_once() {
    let script = Script::new().data("data: a").data("").data("b");
    let (seen, _) = read(FinalFrameBody::new(script, Media::Other, never)).await;
    assert_eq!(seen.frames, ["data: a", "", "b"]);
}

#[tokio::test(start_paused = true)]
async fn the_hints_are_true_before_and_after_the_end() {
    let script = Script::new().data("data: a\n\nda").error("boom");
    let mut body = FinalFrameBody::new(script, Media::EventStream, Final::by_media);
    assert_eq!((body.is_end_stream(), body.size_hint().exact()), (false, None));
    body.frame().await.unwrap().unwrap();
    assert_eq!((body.is_end_stream(), body.size_hint().exact()), (false, None));
    body.frame().await.unwrap().unwrap();
    assert_eq!((body.is_end_stream(), body.size_hint().exact()), (true, Some(0)));

    let mut body =
        FinalFrameBody::new(Script::new().data("data: a\n\nx"), Media::EventStream, never);
    body.frame().await.unwrap().unwrap();
    assert_eq!(format!("{body:?}"), "FinalFrameBody { media: Some(EventStream), .. }");
    assert!(!body.is_end_stream(), "x is held back");
    body.frame().await.unwrap().unwrap();
    assert!(body.is_end_stream());
}
