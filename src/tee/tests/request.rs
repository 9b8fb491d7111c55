//! Request bodies.

use std::{
    convert::Infallible,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Empty, Full};
use testkit::{Script, drain};
use tower::{Layer, Service, ServiceExt, service_fn};

use super::{
    super::{Limit, RequestRecording, Sink, TeeBody, TeeRequestLayer},
    sink::Spy,
};
use crate::exchange::{Exchange, Outcome};

async fn read<B: Sink>(
    request: Request<TeeBody<Script, B>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(Response::new(Full::new(drain(request.into_body()).await.data)))
}

#[tokio::test]
async fn a_request_body_that_was_read_to_its_end_is_completed_and_kept() {
    let service = TeeRequestLayer::recording(Limit::first(4)).layer(service_fn(read));
    let mut request = Request::new(Script::new().data("hel").data("lo"));
    let exchange = Exchange::of(&mut request);
    let response = service.oneshot(request).await.unwrap();
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "hello");
    let RequestRecording(recording) = exchange.fact().unwrap();
    assert_eq!((recording.to_bytes(), recording.total()), ("hell".into(), 5));
    assert_eq!(recording.outcome(), Some(Outcome::Completed));
    assert!(recording.head().is_none());
}

#[tokio::test]
async fn a_handler_that_does_not_read_to_the_end_leaves_it_disconnected() {
    let spy = Spy::default();
    let layer = TeeRequestLayer::new({
        let spy = spy.clone();
        move |_| spy.clone()
    });
    let service = layer.layer(service_fn(|request: Request<TeeBody<Script, Spy>>| async {
        request.into_body().frame().await.unwrap().unwrap();
        Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
    }));
    service.oneshot(Request::new(Script::new().data("one").data("two"))).await.unwrap();
    assert_eq!(spy.story(), ["data one", "end disconnected"]);
}

#[tokio::test]
async fn a_client_that_breaks_off_is_an_error_of_the_body() {
    let spy = Spy::default();
    let layer = TeeRequestLayer::new({
        let spy = spy.clone();
        move |_| spy.clone()
    });
    let service = layer.layer(service_fn(read));
    service.oneshot(Request::new(Script::new().data("one").error("reset"))).await.unwrap();
    assert_eq!(spy.story(), ["data one", "end failed"]);
}

#[tokio::test]
async fn the_exchange_is_there_for_the_handler_and_the_function_sees_the_request() {
    let layer = TeeRequestLayer::new(|request: &http::request::Parts| {
        assert!(Exchange::get(&request.extensions).is_some());
        assert_eq!(request.uri.path(), "/upload");
        Spy::default()
    });
    let service = layer.layer(service_fn(|request: Request<TeeBody<Script, Spy>>| async move {
        let id = Exchange::get(request.extensions()).unwrap().id();
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(id.to_string())))
    }));
    let mut request = Request::post("/upload").body(Script::new()).unwrap();
    let id = Exchange::of(&mut request).id().to_string();
    let response = service.oneshot(request).await.unwrap();
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), id);
}

/// Is ready once it was asked twice, and fails then.
#[derive(Clone, Debug)]
struct Shy(u32);

impl<B> Service<Request<B>> for Shy {
    type Response = Response<Empty<Bytes>>;
    type Error = &'static str;
    type Future = std::future::Ready<Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0 += 1;
        match self.0 {
            1 => Poll::Pending,
            2 => Poll::Ready(Ok(())),
            _ => Poll::Ready(Err("closed")),
        }
    }

    fn call(&mut self, _: Request<B>) -> Self::Future {
        std::future::ready(Err("refused"))
    }
}

#[tokio::test]
async fn it_is_ready_at_once_and_errors_of_the_service_go_through_untouched() {
    let layer = TeeRequestLayer::new(|_: &http::request::Parts| Spy::default());
    let mut service = layer.layer(Shy(0));
    let mut cx = Context::from_waker(std::task::Waker::noop());
    let service: &mut dyn Service<Request<Script>, Response = _, Error = _, Future = _> =
        &mut service;
    assert_eq!(service.poll_ready(&mut cx), Poll::Ready(Ok(())), "a request may wait inside");
    assert_eq!(service.poll_ready(&mut cx), Poll::Ready(Ok(())));
    assert_eq!(service.call(Request::new(Script::new())).await.unwrap_err(), "refused");
    assert_eq!(service.poll_ready(&mut cx), Poll::Ready(Err("closed")));
    assert_eq!(format!("{:?}", layer.layer(Shy(0))), "TeeRequest { inner: Shy(0), .. }");
    assert_eq!(format!("{layer:?}"), "TeeRequestLayer { .. }");
}
