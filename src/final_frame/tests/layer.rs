//! The layer: what it learns from the head, and from the layers inside of it.

use http::{Method, Request, Response};
use http_body_util::BodyExt;
use testkit::ScriptError;
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};

use super::*;
use crate::{
    abort::{AbortHandle, AbortLayer},
    exchange::{Exchange, Outcome},
    final_frame::FinalFrameLayer,
    finalize::FinalizeLayer,
    timeouts::{Limit, tests::hit},
};

type Head = &'static [(&'static str, &'static str)];

/// A response that fails between two events.
async fn failing<F>(
    layer: FinalFrameLayer<F>,
    method: Method,
    status: u16,
    head: Head,
) -> Collected<BoxError>
where
    F: Fn(&Failure<'_>) -> Final + Clone,
{
    let service = layer.layer(service_fn(|_: Request<()>| async {
        let mut response = Response::builder().status(status);
        for (name, value) in head {
            response = response.header(*name, *value);
        }
        Ok::<_, ScriptError>(
            response.body(Script::new().data("data: a\n\n").error("boom")).unwrap(),
        )
    }));
    let request = Request::builder().method(method).body(()).unwrap();
    let response = service.oneshot(request).await.unwrap();
    for (name, value) in head {
        assert_eq!(response.headers()[*name], value, "no header is touched");
    }
    drain(response.into_body()).await
}

#[tokio::test(start_paused = true)]
async fn the_content_type_decides_what_the_client_sees() {
    let by_media = FinalFrameLayer::by_media;
    let seen =
        failing(by_media(), Method::GET, 200, &[("content-type", "text/event-stream")]).await;
    assert!(seen.data.starts_with(b"data: a\n\nevent: error\ndata: {"));
    assert!(seen.data.ends_with(b"}\n\n") && seen.error.is_none());
    let seen =
        failing(by_media(), Method::GET, 200, &[("content-type", "application/x-ndjson")]).await;
    assert!(seen.data.ends_with(b"}\n") && seen.error.is_none());
    let seen = failing(by_media(), Method::GET, 200, &[("content-type", "text/html")]).await;
    assert_eq!(
        (&seen.data[..], seen.error.unwrap().to_string()),
        (&b"data: a\n\n"[..], "boom".into())
    );
    let seen = failing(by_media(), Method::GET, 200, &[]).await;
    assert!(seen.error.is_some());
}

#[tokio::test(start_paused = true)]
async fn under_a_length_a_digest_or_a_range_it_is_always_the_error() {
    const SSE: (&str, &str) = ("content-type", "text/event-stream");
    let bound: [Head; 6] = [
        &[SSE, ("content-length", "100")],
        &[SSE, ("content-digest", "sha-256=:x:")],
        &[SSE, ("repr-digest", "sha-256=:x:")],
        &[SSE, ("digest", "sha-256=x")],
        &[SSE, ("signature", "sig=:x:")],
        &[SSE, ("content-range", "bytes 0-9/100")],
    ];
    for head in bound {
        let seen = failing(FinalFrameLayer::new(never), Method::GET, 200, head).await;
        assert_eq!(
            (&seen.data[..], seen.error.unwrap().to_string()),
            (&b"data: a\n\n"[..], "boom".into())
        );
    }
    for status in [204, 205, 206, 304] {
        let seen = failing(FinalFrameLayer::new(never), Method::GET, status, &[SSE]).await;
        assert!(seen.error.is_some(), "{status}");
    }
    assert!(failing(FinalFrameLayer::new(never), Method::HEAD, 200, &[SSE]).await.error.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_coded_body_is_of_no_media_and_ends_with_the_error() {
    const GZIP: Head = &[("content-type", "text/event-stream"), ("content-encoding", "gzip")];
    let seen = failing(FinalFrameLayer::by_media(), Method::GET, 200, GZIP).await;
    assert_eq!(
        (&seen.data[..], seen.error.unwrap().to_string()),
        (&b"data: a\n\n"[..], "boom".into())
    );
    let own = FinalFrameLayer::new(|failure: &Failure<'_>| {
        assert_eq!(failure.media, Media::Other);
        Final::End
    });
    assert!(failing(own, Method::GET, 200, GZIP).await.error.is_none());
}

#[tokio::test(start_paused = true)]
async fn an_abort_inside_becomes_the_final_event_with_its_reason() {
    let handle = AbortHandle::new();
    let source = handle.clone();
    let service = ServiceBuilder::new()
        .layer(FinalFrameLayer::by_media())
        .layer(AbortLayer::new(move |_| source.clone()))
        .service(service_fn(|_: Request<()>| async {
            let response = Response::builder().header("content-type", "text/event-stream");
            Ok::<_, ScriptError>(
                response.body(Script::new().data("data: a\n\nda").stall()).unwrap(),
            )
        }));
    let mut body = service.oneshot(Request::new(())).await.unwrap().into_body();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "data: a\n\n");
    assert!(handle.abort("operator"));
    let last =
        r#"{"type":"error","error":{"type":"aborted","message":"operator","code":"aborted"}}"#;
    assert_eq!(drain(body).await.data, format!("event: error\ndata: {last}\n\n"));
}

#[tokio::test(start_paused = true)]
async fn a_layer_outside_learns_of_the_failure_though_the_end_was_clean() {
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let service = ServiceBuilder::new()
        .layer(FinalizeLayer::new(move |_| {
            let tell = tell.clone();
            move |ending| tell.send(ending).unwrap()
        }))
        .layer(FinalFrameLayer::by_media())
        .service(service_fn(|_: Request<()>| async {
            let response = Response::builder().header("content-type", "text/event-stream");
            Ok::<_, ScriptError>(response.body(Script::new().error("boom")).unwrap())
        }));
    let body = service.oneshot(Request::new(())).await.unwrap().into_body();
    assert!(drain(body).await.error.is_none());
    let ending = told.recv().await.unwrap();
    assert_eq!(ending.outcome, Outcome::Failed);
    assert_eq!(ending.error().unwrap().to_string(), "boom: root of boom");
}

#[tokio::test(start_paused = true)]
async fn the_first_cause_is_the_one_that_the_client_is_told() {
    let layer = FinalFrameLayer::new(|failure: &Failure<'_>| {
        assert_eq!(failure.exchange.cause().unwrap().outcome(), Outcome::TimedOut);
        assert_eq!(failure.error.to_string(), "boom");
        Final::Data(failure.message().into_owned().into())
    });
    let service = layer.layer(service_fn(|request: Request<()>| async move {
        let exchange = Exchange::get(request.extensions()).unwrap();
        exchange.record(hit(Limit::Idle));
        let response = Response::builder().header("content-type", "text/event-stream");
        Ok::<_, ScriptError>(response.body(Script::new().error("boom")).unwrap())
    }));
    let body = service.oneshot(Request::new(())).await.unwrap().into_body();
    assert_eq!(drain(body).await.data, "idle timeout: no progress for 120s");
}

#[tokio::test]
async fn an_error_of_the_service_goes_on_to_the_caller() {
    let service = FinalFrameLayer::new(never).layer(service_fn(|_: Request<()>| async {
        Err::<Response<Script>, _>(ScriptError::new("refused"))
    }));
    assert_eq!(service.oneshot(Request::new(())).await.unwrap_err().to_string(), "refused");
}

#[tokio::test(start_paused = true)]
async fn the_client_leaves_and_the_inner_body_is_dropped_with_it() {
    let script = Script::new().data("data: a\n\nhalf").stall();
    let log = script.log();
    let mut body = FinalFrameBody::new(script, Media::EventStream, never);
    body.frame().await.unwrap().unwrap();
    drop(body);
    assert_eq!(log.dropped_at(), Some(Instant::now()));
}
