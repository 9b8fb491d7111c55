//! The layer: heads, calls that never get one, and what other layers know.

use std::{future::pending, time::Duration};

use http::{HeaderValue, Method, Request, Response, StatusCode, header, request::Parts};
use testkit::{Script, ScriptError, drain};
use tokio::time::timeout;
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};

use super::sink::Spy;
use crate::{
    abort::{AbortHandle, AbortLayer},
    exchange::{Exchange, Outcome},
    tee::{Limit, Recording, TeeLayer},
    timeouts::{self, tests::hit},
};

fn tee(spy: &Spy) -> TeeLayer<impl Fn(&Parts) -> Spy + Clone + use<>> {
    let spy = spy.clone();
    TeeLayer::new(move |_| spy.clone())
}

#[tokio::test]
async fn a_recording_is_left_in_the_exchange_with_head_body_and_end() {
    let layer = TeeLayer::recording(Limit::first(4));
    let service = layer.layer(service_fn(|_: Request<()>| async {
        let response = Response::builder().status(201).header("x-a", "1");
        Ok::<_, ScriptError>(response.body(Script::new().data("hello")).unwrap())
    }));
    let mut request = Request::new(());
    let exchange = Exchange::of(&mut request);
    let response = service.oneshot(request).await.unwrap();
    let recording: Recording = exchange.fact().unwrap();
    let (status, _, headers) = recording.head().unwrap();
    assert_eq!((status, &headers["x-a"]), (StatusCode::CREATED, &HeaderValue::from_static("1")));
    assert_eq!(drain(response.into_body()).await.data, "hello");
    assert_eq!((recording.to_bytes(), recording.is_truncated()), ("hell".into(), true));
    assert_eq!(recording.outcome(), Some(Outcome::Completed));
}

#[tokio::test]
async fn each_request_has_a_recording_of_its_own() {
    let layer = TeeLayer::recording(Limit::first(10));
    let service = layer.layer(service_fn(|request: Request<()>| async move {
        Ok::<_, ScriptError>(Response::new(Script::new().data(request.uri().path().to_owned())))
    }));
    let mut recordings = Vec::new();
    for path in ["/a", "/b"] {
        let mut request = Request::get(path).body(()).unwrap();
        let exchange = Exchange::of(&mut request);
        drain(service.clone().oneshot(request).await.unwrap().into_body()).await;
        recordings.push(exchange.fact::<Recording>().unwrap().to_bytes());
    }
    assert_eq!(recordings, ["/a", "/b"]);
}

#[tokio::test]
async fn headers_are_left_alone_and_the_content_length_decides_what_is_complete() {
    for (length, outcome) in [("1", "completed"), ("5", "truncated")] {
        let spy = Spy::default();
        let service = tee(&spy).layer(service_fn(|_: Request<()>| async {
            let response = Response::builder().header(header::CONTENT_LENGTH, length);
            Ok::<_, ScriptError>(response.body(Script::new().data("x")).unwrap())
        }));
        let response = service.oneshot(Request::new(())).await.unwrap();
        assert_eq!(response.headers()[header::CONTENT_LENGTH], length);
        drain(response.into_body()).await;
        assert_eq!(spy.story(), ["head 200".to_owned(), "data x".into(), format!("end {outcome}")]);
    }
}

#[tokio::test]
async fn a_tunnel_has_no_body_to_capture() {
    for (method, status) in [(Method::GET, 101), (Method::CONNECT, 200)] {
        let spy = Spy::default();
        let service = tee(&spy).layer(service_fn(|_: Request<()>| async {
            let response = Response::builder().status(status);
            Ok::<_, ScriptError>(response.body(Script::new().data("raw")).unwrap())
        }));
        let request = Request::builder().method(method).body(()).unwrap();
        let response = service.oneshot(request).await.unwrap();
        assert_eq!(spy.story(), [format!("head {status}"), "end completed".into()]);
        assert_eq!(drain(response.into_body()).await.data, "raw");
        assert_eq!(spy.story().len(), 2);
    }
}

#[tokio::test]
async fn a_service_that_fails_or_panics_ends_what_is_captured() {
    let spy = Spy::default();
    let service = tee(&spy).layer(service_fn(|_: Request<()>| async {
        Err::<Response<Script>, _>(ScriptError::new("refused"))
    }));
    assert_eq!(service.oneshot(Request::new(())).await.unwrap_err().to_string(), "refused");
    assert_eq!(spy.story(), ["end failed"]);

    let spy = Spy::default();
    let service = tee(&spy).layer(service_fn(|request: Request<()>| async move {
        assert_eq!(request.uri().path(), "/other", "boom");
        Ok::<_, ScriptError>(Response::new(Script::new()))
    }));
    let panic = tokio::spawn(service.oneshot(Request::new(()))).await.unwrap_err();
    assert!(panic.into_panic().downcast_ref::<String>().unwrap().contains("boom"));
    assert_eq!(spy.story(), ["end panicked"]);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_nobody_waits_for_any_more_is_a_client_that_left() {
    let spy = Spy::default();
    let service = tee(&spy).layer(service_fn(|_: Request<()>| async {
        pending::<()>().await;
        Ok::<_, ScriptError>(Response::new(Script::new()))
    }));
    assert!(timeout(Duration::from_secs(1), service.oneshot(Request::new(()))).await.is_err());
    assert_eq!(spy.story(), ["end disconnected"]);
}

#[tokio::test]
async fn what_another_layer_knows_of_the_end_is_told_to_the_sink() {
    let (spy, handle) = (Spy::default(), AbortHandle::new());
    let source = handle.clone();
    let service = ServiceBuilder::new()
        .layer(AbortLayer::new(move |_| source.clone()))
        .layer(tee(&spy))
        .service(service_fn(|_: Request<()>| async {
            Ok::<_, ScriptError>(Response::new(Script::new().data("x").stall()))
        }));
    let response = service.oneshot(Request::new(())).await.unwrap();
    assert!(handle.abort("stop"));
    drain(response.into_body()).await;
    while spy.story().len() < 2 {
        tokio::task::yield_now().await; // The body is dropped in a task.
    }
    assert_eq!(spy.story(), ["head 200", "end aborted"]);

    let spy = Spy::default();
    let service = tee(&spy).layer(service_fn(|request: Request<()>| async move {
        Exchange::get(request.extensions()).unwrap().record(hit(timeouts::Limit::Idle));
        Ok::<_, ScriptError>(Response::new(Script::new().data("x")))
    }));
    drain(service.oneshot(Request::new(())).await.unwrap().into_body()).await;
    assert_eq!(spy.story(), ["head 200", "data x", "end timed_out"]);
}

#[test]
fn a_layer_can_be_printed_whatever_its_function() {
    assert_eq!(format!("{:?}", tee(&Spy::default())), "TeeLayer { .. }");
}
