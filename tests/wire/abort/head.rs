//! Before the head (faults.md 22, 23).

use std::{convert::Infallible, future::pending, io};

use axum::body::Body;
use bytes::Bytes;
use http::{Request, Response};
use testkit::{Event, Log, Script};
use tokio::time::{Instant, timeout};
use tower::{ServiceBuilder, service_fn};
use tower_lifeline::{
    abort::{AbortHandle, AbortLayer},
    exchange::Outcome,
    final_frame::FinalFrameLayer,
};

use super::median;
use crate::{
    reader::{Over, Reader, Wire},
    server::{AT_ONCE, LIMIT, Server, endings},
    stage::sse,
};

/// Writes down that it was dropped.
struct Noted(Log);

impl Drop for Noted {
    fn drop(&mut self) {
        self.0.note("dropped");
    }
}

/// Waits for a note, and tells when it was written.
async fn noted(log: &Log, text: &str) -> Instant {
    let is_it = |event: &Event| matches!(event, Event::Note(note) if note == text);
    timeout(LIMIT, log.first(is_it)).await.unwrap_or_else(|_| panic!("not {text}"))
}

#[tokio::test]
async fn tripped_before_the_call_the_client_gets_503_and_the_service_is_not_called() {
    for wire in Wire::ALL {
        let (handle, log) = (AbortHandle::new(), Log::new());
        let (tell, mut endings) = endings();
        let (given, called) = (handle.clone(), log.clone());
        let stack = ServiceBuilder::new()
            .layer(tell.layer())
            .layer(FinalFrameLayer::by_media())
            .layer(AbortLayer::new(move |_| given.clone()))
            .service(service_fn(move |_: Request<Body>| {
                called.note("called");
                async { Ok::<_, Infallible>(sse(Script::new().data("data: never\n\n"))) }
            }));
        let server = Server::start(wire.front(), stack).await;
        assert!(handle.abort("maintenance"), "{wire:?}");

        let mut reader = Reader::get(wire, &server).await;
        let seen = (reader.status, reader.rest().await);
        assert_eq!(seen, (503, ("aborted: maintenance\n".into(), Over::Clean)), "{wire:?}");
        assert_eq!(log.story(), [], "{wire:?}");
        let ending = endings.next(LIMIT).await;
        assert_eq!((ending.outcome, ending.reason()), (Outcome::Aborted, Some("maintenance")));
        assert_eq!(ending.status.map(|status| status.as_u16()), Some(503));
    }
}

#[tokio::test]
async fn tripped_between_call_and_head_the_inner_future_is_dropped_and_the_client_gets_503() {
    let mut times = Vec::new();
    for wire in Wire::ALL {
        let (handle, log) = (AbortHandle::new(), Log::new());
        let (tell, endings) = endings();
        let (given, notes) = (handle.clone(), log.clone());
        let stack = ServiceBuilder::new()
            .layer(FinalFrameLayer::by_media())
            .layer(AbortLayer::new(move |_| given.clone()))
            .layer(tell.layer())
            .service(service_fn(move |_: Request<Body>| {
                let noted = Noted(notes.clone());
                async move {
                    noted.0.note("called");
                    pending::<()>().await;
                    Ok::<_, Infallible>(Response::new(Script::new()))
                }
            }));
        drop(tell);
        let server = Server::start(wire.front(), stack).await;
        let aborting = async {
            noted(&log, "called").await;
            let start = Instant::now();
            assert!(handle.abort("changed my mind"), "{wire:?}");
            start
        };
        let (start, mut reader) = tokio::join!(aborting, Reader::get(wire, &server));

        times.push(noted(&log, "dropped").await - start);
        let seen = (reader.status, reader.rest().await);
        assert_eq!(seen, (503, ("aborted: changed my mind\n".into(), Over::Clean)), "{wire:?}");
        drop(reader);
        let ending = endings.only(server).await;
        assert_eq!((ending.outcome, ending.reason()), (Outcome::Aborted, Some("changed my mind")));
        assert_eq!(ending.status, None, "{wire:?}: no head passed the hook");
    }
    assert!(median(times.clone()) <= AT_ONCE, "{times:?}");
}

#[tokio::test]
async fn a_function_of_the_users_own_answers_in_place_of_503() {
    for wire in Wire::BOTH {
        let handle = AbortHandle::new();
        handle.abort("closed for today");
        let layer = AbortLayer::new(move |_| handle.clone()).answer(|exchange, reason| {
            let cause = exchange.cause().map(|cause| cause.outcome());
            let response = Response::builder().status(410).header("because", reason.text());
            response.body(Bytes::from(format!("{cause:?}"))).unwrap()
        });
        let stack =
            ServiceBuilder::new().layer(layer).service(service_fn(async |_: Request<Body>| {
                Ok::<_, Infallible>(Response::new(Script::new()))
            }));
        let server = Server::start(wire.front(), stack).await;
        let mut reader = Reader::get(wire, &server).await;
        assert_eq!((reader.status, reader.header("because")), (410, Some("closed for today")));
        assert_eq!(reader.rest().await, ("Some(Aborted)".into(), Over::Clean), "{wire:?}");
    }
}

#[tokio::test]
async fn an_error_that_the_service_gives_after_the_abort_is_reported_as_that_abort() {
    for wire in Wire::ALL {
        let handle = AbortHandle::new();
        let (given, own) = (handle.clone(), handle.clone());
        let (tell, endings) = endings();
        let stack = ServiceBuilder::new()
            .layer(AbortLayer::new(move |_| given.clone()))
            .layer(tell.layer())
            .service(service_fn(move |_: Request<Body>| {
                let own = own.clone();
                async move {
                    assert!(own.abort("the first word"));
                    Err::<Response<Script>, _>(io::Error::other("the last word"))
                }
            }));
        drop(tell);
        let server = Server::start(wire.front(), stack).await;
        let mut reader = Reader::get(wire, &server).await;
        let seen = (reader.status, reader.rest().await);
        assert_eq!(seen, (503, ("aborted: the first word\n".into(), Over::Clean)), "{wire:?}");
        drop(reader);
        let ending = endings.only(server).await;
        assert_eq!((ending.outcome, ending.reason()), (Outcome::Aborted, Some("the first word")));
    }
}
