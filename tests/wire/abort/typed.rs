//! The error of an aborted body says why, to whoever finds it, however it is wrapped.

use std::{
    error::Error,
    sync::{Arc, Mutex},
};

use axum::{Router, body::Body, routing::get};
use http_body_util::{BodyExt, combinators::UnsyncBoxBody};
use testkit::{Script, drain};
use tokio::{
    sync::mpsc::{UnboundedSender, unbounded_channel},
    time::timeout,
};
use tower::ServiceBuilder;
use tower_lifeline::{
    Media,
    abort::{AbortBody, AbortHandle, AbortKind, AbortLayer, AbortReason, Aborted},
    error::BoxError,
    exchange::Outcome,
    final_frame::{Final, FinalFrameBody},
    finalize::{Ending, FinalizeBody, FinalizeLayer, Finalizer},
};

use crate::{
    reader::{Reader, Wire},
    server::{Front, LIMIT, Server},
    stage::sse,
};

/// Finds the reason among an error and its sources.
fn reason(error: &(dyn Error + 'static)) -> Option<AbortReason> {
    let mut link = Some(error);
    while let Some(error) = link {
        if let Some(aborted) = error.downcast_ref::<Aborted>() {
            return Some(aborted.reason().clone());
        }
        link = error.source();
    }
    None
}

fn aborted_body() -> (AbortBody<Script>, AbortReason) {
    let reason = AbortReason::new(AbortKind::Custom("budget".into())).with_text("too expensive");
    let handle = AbortHandle::new();
    let body = AbortBody::new(Script::new().data("data: one\n\n").stall(), &handle);
    assert!(handle.abort(reason.clone()));
    (body, reason)
}

#[tokio::test]
async fn an_aborted_bodys_error_is_downcast_to_its_reason_through_axum_and_boxes() {
    let (body, expected) = aborted_body();
    let error = drain(body).await.error.unwrap();
    assert_eq!(*error.downcast::<Aborted>().unwrap().reason(), expected);

    let (body, expected) = aborted_body();
    let error = drain(Body::new(body)).await.error.unwrap();
    assert_eq!(reason(&error), Some(expected.clone()));
    assert_eq!(*error.into_inner().downcast::<Aborted>().unwrap().reason(), expected);

    let (body, expected) = aborted_body();
    let body = UnsyncBoxBody::new(Body::new(body).map_err(BoxError::from));
    let error = drain(UnsyncBoxBody::new(body.map_err(axum::Error::new))).await.error.unwrap();
    assert_eq!(reason(&error), Some(expected));

    // A final frame that says "pass it on" passes on the very same.
    let (body, expected) = aborted_body();
    let body = FinalFrameBody::new(body, Media::EventStream, |_| Final::Error);
    let error = drain(body).await.error.unwrap();
    assert_eq!(*error.downcast::<Aborted>().unwrap().reason(), expected);
}

#[tokio::test]
async fn a_hook_that_shares_nothing_with_the_abort_knows_it_by_the_error() {
    let (body, expected) = aborted_body();
    let ending = Arc::new(Mutex::new(None));
    let told = ending.clone();
    let body =
        FinalizeBody::new(Body::new(body), move |ending| *told.lock().unwrap() = Some(ending));
    drain(body).await.error.unwrap();
    let ending = ending.lock().unwrap().take().unwrap();
    assert_eq!((ending.outcome, ending.reason()), (Outcome::Aborted, Some(expected.text())));
}

/// Tells what the error is that the hook was shown.
#[derive(Clone)]
struct Shown(UnboundedSender<Option<AbortReason>>);

impl Finalizer for Shown {
    fn on_error(&mut self, error: &(dyn Error + 'static)) {
        let _ = self.0.send(reason(error));
    }

    fn on_end(self, _: Ending) {}
}

#[tokio::test]
async fn a_hook_around_a_whole_axum_app_is_shown_the_abort_of_a_route_inside() {
    for wire in [Wire::H1(Front::Axum), Wire::H2(Front::Axum)] {
        let handle = AbortHandle::new();
        let given = handle.clone();
        let (show, mut shown) = unbounded_channel();
        let shows = Shown(show);
        let app = Router::new()
            .route(
                "/",
                get(|| async { sse(Body::new(Script::new().data("data: one\n\n").stall())) }),
            )
            .layer(AbortLayer::new(move |_| given.clone()));
        let stack =
            ServiceBuilder::new().layer(FinalizeLayer::with(move |_| shows.clone())).service(app);
        let server = Server::start(wire.front(), stack).await;
        let mut reader = Reader::get(wire, &server).await;
        reader.read_to("data: one\n\n").await;
        handle.abort("stop");
        let shown = timeout(LIMIT, shown.recv()).await.unwrap().unwrap();
        assert_eq!(
            shown.map(|reason| reason.text().to_owned()).as_deref(),
            Some("stop"),
            "{wire:?}"
        );
    }
}
