use std::{future::ready, time::Duration};

use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use std::sync::{Arc, Mutex};
use testkit::{Collected, ScriptError, drain};
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};

use super::*;
use crate::{
    coalesce::CoalesceLayer,
    finalize::FinalizeLayer,
    timeouts::{Limits, TimeoutsLayer},
};

fn words() -> Script {
    Script::new().data("a").data("b").data("c")
}

/// What a response to this method is like behind the layer.
async fn through(method: Method, status: StatusCode, body: Script) -> Response<Body> {
    let response = Mutex::new(Some(Response::builder().status(status).body(body).unwrap()));
    let service = service_fn(|_: Request<()>| {
        ready(Ok::<_, ScriptError>(response.lock().unwrap().take().unwrap()))
    });
    let request = Request::builder().method(method).body(()).unwrap();
    CoalesceLayer::new(LIMIT).layer(service).oneshot(request).await.unwrap()
}

async fn frames(method: Method, status: StatusCode) -> Vec<Bytes> {
    drain(through(method, status, words()).await.into_body()).await.frames
}

#[tokio::test]
async fn the_frames_of_a_response_are_gathered() {
    assert_eq!(frames(Method::GET, StatusCode::OK).await, ["abc"]);
    assert_eq!(frames(Method::POST, StatusCode::BAD_GATEWAY).await, ["abc"]);
}

#[tokio::test]
async fn what_is_no_body_passes_frame_by_frame() {
    for (method, status) in [
        (Method::HEAD, StatusCode::OK),
        (Method::GET, StatusCode::SWITCHING_PROTOCOLS),
        (Method::CONNECT, StatusCode::OK),
        (Method::GET, StatusCode::NO_CONTENT),
        (Method::GET, StatusCode::NOT_MODIFIED),
    ] {
        assert_eq!(frames(method.clone(), status).await, ["a", "b", "c"], "{method} {status}");
    }
}

#[tokio::test]
async fn the_head_is_left_alone() {
    let body = words().exact_size(3);
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_LENGTH, 3.into());
    response.headers_mut().insert("digest", "sha-256=x".parse().unwrap());
    let (expected, response) = (response.headers().clone(), Mutex::new(Some(response)));
    let service = service_fn(|_: Request<()>| {
        ready(Ok::<_, ScriptError>(response.lock().unwrap().take().unwrap()))
    });
    let response =
        CoalesceLayer::new(LIMIT).layer(service).oneshot(Request::new(())).await.unwrap();
    assert_eq!(*response.headers(), expected);
}

#[tokio::test]
async fn whoever_stands_outside_sees_fewer_frames_and_all_the_bytes() {
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let service = ServiceBuilder::new()
        .layer(FinalizeLayer::new(move |_| {
            let tell = tell.clone();
            move |ending| drop(tell.send(ending))
        }))
        .layer(CoalesceLayer::new(LIMIT))
        .service_fn(|_: Request<()>| {
            ready(Ok::<_, ScriptError>(Response::new(words().trailers(HeaderMap::new()))))
        });
    let read: Collected<_> =
        drain(service.oneshot(Request::new(())).await.unwrap().into_body()).await;
    assert_eq!((read.data, read.trailers), ("abc".into(), Some(HeaderMap::new())));
    let ending = told.recv().await.unwrap();
    assert_eq!((ending.bytes, ending.frames, ending.outcome.as_str()), (3, 1, "completed"));
}

#[tokio::test(start_paused = true)]
async fn an_event_among_pings_that_waited_is_progress_and_pings_alone_are_not() {
    let second = Duration::from_secs(1);
    let limits = Limits::new().idle(Duration::from_millis(1500));
    let pinging = || Script::new().data("data: 1\n\n").sleep(second).data(": ping\n\n");
    for (script, expected) in [
        (pinging().data("data: 2\n\n").sleep(second).data("data: 3\n\n"), None),
        (pinging().data(": ping\n\n").sleep(second).data("data: 3\n\n"), Some("idle")),
    ] {
        let response = Response::builder().header(header::CONTENT_TYPE, "text/event-stream");
        let response = Arc::new(Mutex::new(Some(response.body(script).unwrap())));
        let service = ServiceBuilder::new()
            .layer(TimeoutsLayer::new(limits.clone()))
            .layer(CoalesceLayer::new(LIMIT))
            .service_fn(move |_: Request<()>| {
                ready(Ok::<_, ScriptError>(response.lock().unwrap().take().unwrap()))
            });
        let read = drain(service.oneshot(Request::new(())).await.unwrap().into_body()).await;
        let limit = read
            .error
            .map(|error| error.downcast::<crate::timeouts::TimedOut>().unwrap().limit().as_str());
        assert_eq!(limit, expected);
    }
}
