//! What stands around the layer: a retry, whoever reports, whoever aborts, a client that leaves.

use std::{future::Ready, pin::pin, task::Context, task::Waker};

use testkit::Log;
use tokio::sync::mpsc;
use tower::{ServiceBuilder, retry::Policy};

use super::*;
use crate::{
    abort::{AbortHandle, AbortLayer},
    exchange::Outcome,
    finalize::{Ending, FinalizeLayer},
    tee::{Limit, TeeLayer},
};

/// Tries again whatever is answered 502.
#[derive(Clone)]
struct On502(usize);

impl<B, E> Policy<Request<()>, Response<B>, E> for On502 {
    type Future = Ready<()>;

    fn retry(
        &mut self,
        _: &mut Request<()>,
        result: &mut Result<Response<B>, E>,
    ) -> Option<Self::Future> {
        let failed = result.as_ref().is_ok_and(|response| response.status() == 502);
        self.0 = self.0.checked_sub(usize::from(failed))?;
        failed.then(|| std::future::ready(()))
    }

    fn clone_request(&mut self, request: &Request<()>) -> Option<Request<()>> {
        Some(request.clone())
    }
}

type Endings = mpsc::UnboundedReceiver<Ending>;

fn finalize<M>() -> (FinalizeLayer<impl Fn(&http::request::Parts) -> Hook + Clone, M>, Endings) {
    let (ended, endings) = mpsc::unbounded_channel();
    let layer = FinalizeLayer::new(move |_: &http::request::Parts| -> Hook {
        let ended = ended.clone();
        Box::new(move |ending| drop(ended.send(ending)))
    });
    (layer, endings)
}

type Hook = Box<dyn FnOnce(Ending) + Send>;

#[tokio::test]
async fn a_retry_outside_makes_a_failed_start_good_and_the_end_is_reported_once() {
    for failing in [
        Script::new().data(ERROR).stall(),
        Script::new().data(PING).error("x"),
        Script::new().data(PING),
    ] {
        let (finalize, mut endings) = finalize();
        let service = ServiceBuilder::new()
            .layer(finalize)
            .layer(tower::retry::RetryLayer::new(On502(3)))
            .layer(FirstFrameLayer::by_media())
            .service(upstream([failing, Script::new().data("data: a\n\n")], "text/event-stream"));
        let response = service.oneshot(Request::new(())).await.unwrap();
        assert_eq!(drain(response.into_body()).await.data, "data: a\n\n");
        let ending = endings.recv().await.unwrap();
        assert_eq!((ending.outcome, ending.status), (Outcome::Completed, Some(StatusCode::OK)));
        assert!(endings.recv().await.is_none());
    }
}

#[cfg(feature = "final-frame")]
#[tokio::test]
async fn what_a_layer_inside_recorded_of_the_failed_start_does_not_spoil_the_retry() {
    let (finalize, mut endings) = finalize();
    // In this order the failure has become an error event, and its cause was recorded.
    let service = ServiceBuilder::new()
        .layer(finalize)
        .layer(tower::retry::RetryLayer::new(On502(1)))
        .layer(FirstFrameLayer::by_media())
        .layer(crate::final_frame::FinalFrameLayer::by_media())
        .service(upstream(
            [Script::new().data(PING).error("reset"), Script::new().data("data: a\n\n")],
            "text/event-stream",
        ));
    let response = service.oneshot(Request::new(())).await.unwrap();
    assert_eq!(drain(response.into_body()).await.data, "data: a\n\n");
    assert_eq!(endings.recv().await.unwrap().outcome, Outcome::Completed);
}

#[tokio::test]
async fn without_a_retry_the_answer_is_what_ends() {
    let (finalize, mut endings) = finalize();
    let service = ServiceBuilder::new()
        .layer(finalize)
        .layer(FirstFrameLayer::by_media())
        .layer(TeeLayer::recording(Limit::first(1000)))
        .service(upstream([Script::new().data(PING).error("reset")], "text/event-stream"));
    let response = service.oneshot(Request::new(())).await.unwrap();
    assert!(drain(response.into_body()).await.error.is_none());
    let ending = endings.recv().await.unwrap();
    assert_eq!(
        (ending.outcome, ending.status),
        (Outcome::Completed, Some(StatusCode::BAD_GATEWAY))
    );
}

#[tokio::test]
async fn a_failure_after_the_head_is_a_failure() {
    let (finalize, mut endings) = finalize();
    let service = ServiceBuilder::new()
        .layer(finalize)
        .layer(tower::retry::RetryLayer::new(On502(1)))
        .layer(FirstFrameLayer::by_media())
        .service(upstream(
            [Script::new().data("data: a\n\n").pending().error("reset")],
            "text/event-stream",
        ));
    let body = drain(service.oneshot(Request::new(())).await.unwrap().into_body()).await;
    assert_eq!(
        (body.data.as_ref(), body.error.unwrap().to_string()),
        (&b"data: a\n\n"[..], "reset".into())
    );
    assert_eq!(endings.recv().await.unwrap().outcome, Outcome::Failed);
}

/// A call whose head is held back.
fn held_back(log: &Log) -> Script {
    Script::new().data(PING).stall().log_into(log)
}

#[tokio::test]
async fn a_client_that_leaves_while_the_head_is_held_back_releases_the_upstream() {
    let (log, (finalize, mut endings)) = (Log::new(), finalize());
    let service = ServiceBuilder::new()
        .layer(finalize)
        .layer(FirstFrameLayer::by_media())
        .service(upstream([held_back(&log)], "text/event-stream"));
    let mut call = Box::pin(service.oneshot(Request::new(())));
    assert!(call.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    assert!(log.dropped_at().is_none());
    drop(call);
    assert!(log.dropped_at().is_some());
    let ending = endings.recv().await.unwrap();
    assert_eq!((ending.outcome, ending.status), (Outcome::Disconnected, None));
}

#[tokio::test]
async fn an_abort_while_the_head_is_held_back_releases_the_upstream_and_is_answered_by_its_layer() {
    let (log, handle, (finalize, mut endings)) = (Log::new(), AbortHandle::new(), finalize());
    let service = ServiceBuilder::new()
        .layer(AbortLayer::new({
            let handle = handle.clone();
            move |_: &http::request::Parts| handle.child()
        }))
        .layer(finalize)
        .layer(FirstFrameLayer::by_media())
        .service(upstream([held_back(&log)], "text/event-stream"));
    let mut call = pin!(service.oneshot(Request::new(())));
    assert!(call.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    assert!(handle.abort("stop"));
    log.dropped().await;
    assert_eq!(call.await.unwrap().status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(endings.recv().await.unwrap().outcome, Outcome::Aborted);
}

#[tokio::test]
async fn an_abort_inside_is_not_forgiven() {
    let handle = AbortHandle::new();
    let (finalize, mut endings) = finalize();
    let service = ServiceBuilder::new()
        .layer(finalize)
        .layer(FirstFrameLayer::by_media())
        .layer(AbortLayer::new({
            let handle = handle.clone();
            move |_: &http::request::Parts| handle.clone()
        }))
        .service(upstream([Script::new().data(PING).stall()], "text/event-stream"));
    let mut call = pin!(service.oneshot(Request::new(())));
    assert!(call.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    assert!(handle.abort("stop"));
    let response = call.await.unwrap();
    assert_eq!(response.status(), StatusCode::BAD_GATEWAY);
    drop(drain(response.into_body()).await);
    assert_eq!(endings.recv().await.unwrap().outcome, Outcome::Aborted);
}
