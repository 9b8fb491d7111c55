//! A body under a handle.

use http::HeaderMap;
use http_body::SizeHint;
use http_body_util::{BodyExt, Full};
use testkit::{Eos, Event, Script, Wakes, drain, poll_body};
use tokio::runtime::Builder;

use super::*;
use crate::abort::AbortBody;

#[tokio::test]
async fn frames_trailers_errors_and_the_end_are_handed_on_unchanged() {
    let handle = AbortHandle::new();
    let trailers = HeaderMap::from_iter([("x-a".parse().unwrap(), "1".parse().unwrap())]);
    let script = Script::new()
        .data("a")
        .data("")
        .pending()
        .data("b")
        .trailers(trailers.clone())
        .data("late");
    let log = script.log();
    let mut body = AbortBody::new(script, &handle);
    let seen = drain(&mut body).await;
    assert_eq!(
        (seen.frames, seen.trailers),
        (vec!["a".into(), Bytes::new(), "b".into()], Some(trailers))
    );
    assert!(body.frame().await.is_none(), "it is fused");
    assert_eq!((log.count(|event| *event == Event::PollAfterEnd), handle.dependents()), (0, 0));

    let mut body = AbortBody::new(Script::new().data("a").error("boom").data("late"), &handle);
    let error = drain(&mut body).await.error.unwrap();
    assert_eq!(error.downcast_ref::<testkit::ScriptError>().unwrap().to_string(), "boom");
    assert!(body.frame().await.is_none(), "it is fused");

    let mut body =
        AbortBody::new(Script::new().data("a").end().data("late").eos(Eos::Never), &handle);
    assert_eq!(drain(&mut body).await.data, "a");
    assert!(body.frame().await.is_none(), "it is fused");
    assert_eq!(handle.dependents(), 0);
}

#[test]
fn an_abort_drops_the_inner_body_without_a_poll_and_wakes_the_reader_who_gets_the_error_once() {
    let (handle, wakes) = (AbortHandle::new(), Wakes::new());
    let script = Script::new().data("x").stall();
    let log = script.log();
    let mut body = AbortBody::new(script, &handle);
    assert!(poll(&mut body).is_ready());
    assert!(poll_body(std::pin::Pin::new(&mut body), &wakes.waker()).is_pending());
    let polls = log.polls();
    assert!(handle.abort("stop"));
    assert!(log.dropped_at().is_some());
    assert_eq!((wakes.count(), log.polls()), (1, polls));
    let Poll::Ready(Some(Err(error))) = poll(&mut body) else { panic!("no error") };
    assert_eq!((reason(&error), error.to_string()), ("stop", "aborted: stop".to_owned()));
    assert!(matches!(poll(&mut body), Poll::Ready(None)));
    assert_eq!((body.is_end_stream(), body.size_hint().exact()), (true, Some(0)));
}

#[test]
fn whoever_aborts_does_not_wait_for_the_body_to_be_dropped() {
    let runtime = Builder::new_current_thread().build().unwrap();
    let handle = AbortHandle::new();
    let script = Script::new().stall();
    let log = script.log();
    let body = runtime.block_on(async { AbortBody::new(script, &handle) });
    assert!(handle.abort("stop"));
    assert!(log.dropped_at().is_none());
    runtime.block_on(log.dropped());
    drop(body);
}

#[test]
fn a_body_under_a_handle_that_was_aborted_before_is_dropped_and_its_first_poll_says_why() {
    let handle = AbortHandle::new();
    handle.abort("before");
    let script = Script::new().data("x");
    let log = script.log();
    let mut body = AbortBody::new(script, &handle);
    assert_eq!(log.story(), [Event::Dropped { panicking: false }]);
    assert!(!body.is_end_stream() && body.size_hint().exact().is_none());
    assert_eq!(read(&mut body), (Vec::new(), Some("before".into())));
}

#[test]
fn an_abort_after_the_end_does_nothing() {
    let flag = Script::new().data("x");
    let none = Script::new().data("x").eos(Eos::Never);
    let trailers = Script::new().data("x").trailers(HeaderMap::new());
    for script in [flag, none, trailers] {
        let handle = AbortHandle::new();
        let mut body = AbortBody::new(script, &handle);
        assert_eq!(read(&mut body), (b"x".to_vec(), None));
        assert!(!handle.abort("late"));
        assert_eq!(read(&mut body), (Vec::new(), None));
    }
}

#[test]
fn at_the_end_of_stream_flag_an_abort_is_too_late_though_nobody_has_polled_for_the_end() {
    let handle = AbortHandle::new();
    let mut body = AbortBody::new(Script::new().data("x"), &handle);
    assert!(poll(&mut body).is_ready());
    assert!(body.is_end_stream());
    assert_eq!((handle.dependents(), handle.abort("late")), (0, false));
    assert_eq!(read(&mut body), (Vec::new(), None));
}

#[test]
fn size_and_end_are_forwarded_as_long_as_there_is_a_body() {
    let handle = AbortHandle::new();
    let mut body = AbortBody::new(Full::<Bytes>::from("hello"), &handle);
    assert_eq!((body.size_hint().exact(), body.is_end_stream()), (Some(5), false));
    assert!(poll(&mut body).is_ready());
    assert_eq!((body.size_hint().exact(), body.is_end_stream()), (Some(0), true));

    let mut hint = SizeHint::new();
    hint.set_upper(7);
    let body = AbortBody::new(Script::new().stall().hint(hint), &handle);
    assert_eq!(body.size_hint().upper(), Some(7));
    assert!(handle.abort("stop"));
    assert_eq!((body.size_hint().upper(), body.is_end_stream()), (None, false), "an error follows");
}

#[test]
fn a_client_that_leaves_takes_the_inner_body_with_it_and_the_handle_forgets_both() {
    let handle = AbortHandle::new();
    let script = Script::new().stall();
    let log = script.log();
    let body = AbortBody::new(script, &handle);
    assert_eq!(handle.dependents(), 1);
    drop(body);
    assert!(log.dropped_at().is_some());
    assert_eq!(handle.dependents(), 0);
}

#[tokio::test]
async fn a_panic_of_the_inner_body_goes_on_to_the_reader() {
    let handle = AbortHandle::new();
    let body = AbortBody::new(Script::new().panic("boom"), &handle);
    let panic = tokio::spawn(drain(body)).await.unwrap_err();
    assert_eq!(panic.into_panic().downcast_ref::<String>().unwrap(), "boom");
    assert_eq!(handle.dependents(), 0);
}

/// Law 8: on one thread whoever aborts gets its turn.
#[tokio::test]
async fn a_body_that_is_always_ready_leaves_room_for_its_abort() {
    let handle = AbortHandle::new();
    let mut body = AbortBody::new(Script::new().endless("x"), &handle);
    let reader = tokio::spawn(async move {
        let mut frames = 0;
        while let Some(Ok(_)) = body.frame().await {
            frames += 1;
            assert!(frames < 100_000, "the abort never got its turn");
        }
    });
    tokio::task::yield_now().await;
    assert!(handle.abort("stop"));
    reader.await.unwrap();
}

#[test]
fn the_latest_of_two_readers_is_woken() {
    let (handle, first, second) = (AbortHandle::new(), Wakes::new(), Wakes::new());
    let mut body = AbortBody::new(Script::new().stall(), &handle);
    for wakes in [&first, &second] {
        assert!(poll_body(std::pin::Pin::new(&mut body), &wakes.waker()).is_pending());
    }
    handle.abort("stop");
    assert_eq!((first.count(), second.count()), (0, 1));
}

#[test]
fn the_source_of_the_error_is_the_reset_code_where_there_is_one() {
    use std::error::Error;
    let handle = AbortHandle::new();
    let mut body = AbortBody::new(Full::<Bytes>::from("x"), &handle);
    handle.abort("stop");
    let Poll::Ready(Some(Err(error))) = poll(&mut body) else { panic!("no error") };
    let source = error.downcast_ref::<Aborted>().unwrap().source();
    #[cfg(feature = "h2")]
    assert_eq!(
        source.unwrap().downcast_ref::<h2::Error>().unwrap().reason(),
        Some(h2::Reason::INTERNAL_ERROR)
    );
    #[cfg(not(feature = "h2"))]
    assert!(source.is_none());
}

#[test]
fn its_debug_shows_nothing_of_the_body() {
    let body = AbortBody::new(Script::new(), &AbortHandle::new());
    assert_eq!(format!("{body:?}"), "AbortBody { .. }");
}
