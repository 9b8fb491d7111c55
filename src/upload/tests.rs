//! Each row of the module's table, as the clocks see it.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Empty};
use testkit::{Eos, Gate, Script, ScriptError, drain};
use tokio::time::{Instant, advance};
use tower::{Layer, ServiceExt, service_fn};

use super::{UploadBody, UploadLayer};
use crate::exchange::{Exchange, Upload};

const SECOND: Duration = Duration::from_secs(1);

/// A watched body, and its exchange.
fn watched(script: Script) -> (UploadBody<Script>, Exchange) {
    let exchange = Exchange::new();
    (UploadBody::new(script, &exchange), exchange)
}

/// Polls once, after a second.
async fn poll(body: &mut UploadBody<Script>) -> Option<Bytes> {
    advance(SECOND).await;
    let polled = Pin::new(body).poll_frame(&mut Context::from_waker(Waker::noop()));
    match polled {
        Poll::Ready(Some(Ok(frame))) => frame.into_data().ok(),
        _ => None,
    }
}

#[tokio::test(start_paused = true)]
async fn without_the_layer_nobody_knows() {
    assert_eq!(Exchange::new().upload(), Upload::Unwatched);
}

#[tokio::test(start_paused = true)]
async fn before_it_is_asked_for_and_between_two_frames_the_service_is_waited_for() {
    let start = Instant::now();
    let (mut body, exchange) = watched(Script::new().data("a").data("b").stall());
    assert_eq!(exchange.upload(), Upload::Service(start));
    for second in 1..=2 {
        poll(&mut body).await.unwrap();
        assert_eq!(exchange.upload(), Upload::Service(start + second * SECOND));
    }
    advance(10 * SECOND).await;
    assert_eq!(exchange.upload(), Upload::Service(start + 2 * SECOND));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_expects_to_be_asked_is_waited_for_from_when_it_was() {
    let start = Instant::now();
    for (script, polled) in [
        (Script::new().stall(), Upload::Client as fn(Instant) -> Upload),
        (Script::new().data("a").stall(), Upload::Service),
        (Script::new().eos(Eos::Never), Upload::Given),
    ] {
        let exchange = Exchange::new();
        let mut body = UploadBody::expecting(script, &exchange);
        advance(60 * SECOND).await;
        assert_eq!(exchange.upload(), Upload::Expected);
        poll(&mut body).await;
        assert_eq!(exchange.upload(), polled(Instant::now()));
    }
    // One that has no body waits for nothing.
    let exchange = Exchange::new();
    let body = UploadBody::expecting(Script::new(), &exchange);
    assert_eq!(exchange.upload(), Upload::Given(Instant::now()));
    drop(body);
    let body = UploadBody::expecting(Script::new().stall(), &exchange);
    drop(body);
    assert_eq!(exchange.upload(), Upload::Given(Instant::now()));
    assert!(start.elapsed() > SECOND);
}

#[tokio::test(start_paused = true)]
async fn when_nothing_comes_the_client_is_waited_for_since_it_was_first_asked_in_vain() {
    let (start, gate) = (Instant::now(), Gate::new());
    let (mut body, exchange) = watched(Script::new().data("a").wait(&gate).data("b").stall());
    poll(&mut body).await.unwrap();
    for _ in 0..3 {
        assert_eq!(poll(&mut body).await, None);
        assert_eq!(exchange.upload(), Upload::Client(start + 2 * SECOND));
    }
    gate.open();
    poll(&mut body).await.unwrap();
    assert_eq!(exchange.upload(), Upload::Service(start + 5 * SECOND));
}

#[tokio::test(start_paused = true)]
async fn an_empty_frame_is_nothing() {
    let start = Instant::now();
    let script = Script::new().data("a").pending().data("").data("").stall();
    let (mut body, exchange) = watched(script);
    poll(&mut body).await.unwrap();
    for _ in 0..4 {
        poll(&mut body).await;
        assert_eq!(exchange.upload(), Upload::Client(start + 2 * SECOND));
    }
}

#[tokio::test(start_paused = true)]
async fn every_end_gives_it_to_the_service_for_good() {
    let start = Instant::now();
    for (ends, script, polls) in [
        ("empty", Script::new(), 0),
        ("its flag", Script::new().data("a"), 1),
        ("an empty frame with its flag", Script::new().data("a").data(""), 2),
        ("None", Script::new().data("a").eos(Eos::Never), 2),
        ("trailers", Script::new().trailers(HeaderMap::new()).data("late"), 1),
        ("an error", Script::new().error("gone").data("late"), 1),
    ] {
        let (mut body, exchange) = watched(script);
        for _ in 0..polls {
            assert!(!matches!(exchange.upload(), Upload::Given(_)), "{ends}");
            poll(&mut body).await;
        }
        let given = exchange.upload();
        assert_eq!(given, Upload::Given(Instant::now()), "{ends}");
        assert_eq!(poll(&mut body).await, None, "{ends}: it is fused");
        drop(body);
        assert_eq!(exchange.upload(), given, "{ends}");
    }
    assert!(start.elapsed() > SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_dropped_is_given() {
    for polls in 0..3 {
        let (mut body, exchange) = watched(Script::new().data("a").stall());
        for _ in 0..polls {
            poll(&mut body).await;
        }
        advance(SECOND).await;
        drop(body);
        assert_eq!(exchange.upload(), Upload::Given(Instant::now()));
    }
}

/// Knows its end only when it is asked again, as a stream of HTTP/2 does.
struct Later(Script, Arc<AtomicBool>);

impl Body for Later {
    type Data = Bytes;
    type Error = ScriptError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ScriptError>>> {
        Pin::new(&mut self.0).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.1.load(Ordering::SeqCst)
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_is_told_that_it_is_at_its_end_has_it_whole() {
    let (exchange, ended) = (Exchange::new(), Arc::<AtomicBool>::default());
    let mut body =
        UploadBody::new(Later(Script::new().data("a").stall(), ended.clone()), &exchange);
    body.frame().await.unwrap().unwrap();
    assert!(!body.is_end_stream());
    assert!(matches!(exchange.upload(), Upload::Service(_)));
    ended.store(true, Ordering::SeqCst);
    assert!(body.is_end_stream());
    assert!(matches!(exchange.upload(), Upload::Given(_)));
}

#[tokio::test(start_paused = true)]
async fn the_body_that_was_watched_last_counts() {
    let (mut outer, exchange) = watched(Script::new().data("a").data("b").stall());
    let inner = UploadBody::new(Empty::<Bytes>::new(), &exchange);
    let given = exchange.upload();
    assert!(matches!(given, Upload::Given(_)));
    while poll(&mut outer).await.is_some() {}
    drop(outer);
    assert_eq!(exchange.upload(), given);
    drop(inner);
    // Another attempt.
    advance(SECOND).await;
    let _again = UploadBody::new(Script::new().data("a"), &exchange);
    assert_eq!(exchange.upload(), Upload::Service(Instant::now()));
}

#[tokio::test(start_paused = true)]
async fn the_layer_watches_the_body_of_each_request_and_changes_nothing_of_it() {
    let service = UploadLayer::new().layer(service_fn(|request: Request<UploadBody<Script>>| {
        let exchange = Exchange::get(request.extensions()).unwrap();
        assert!(matches!(exchange.upload(), Upload::Service(_)));
        async move {
            let body = request.into_body();
            assert_eq!(body.size_hint().exact(), Some(3));
            let seen = drain(body).await;
            assert!(matches!(exchange.upload(), Upload::Given(_)));
            Ok::<_, Infallible>(seen.data)
        }
    }));
    for _ in 0..2 {
        let body = Script::new().data("a").sleep(SECOND).data("bc").exact_size(3);
        assert_eq!(service.clone().oneshot(Request::new(body)).await.unwrap(), "abc");
    }
}
