//! A head is early only for a service that has the whole request.

use std::future::pending;

use tower::ServiceBuilder;

use super::*;
use crate::upload::{UploadBody, UploadLayer};

type Upload = Request<UploadBody<Script>>;

/// An upload of so many seconds.
fn slow(seconds: usize) -> Script {
    (0..seconds).fold(Script::new(), |script, _| script.sleep(SECOND).data("x"))
}

/// Sends a request for a stream. Tells the status, and when it came.
async fn through<F>(body: Script, service: impl Fn(Upload) -> F + Clone) -> (u16, Duration)
where
    F: Future<Output = Answer>,
{
    let service = ServiceBuilder::new()
        .layer(EarlyHeadLayer::new(AFTER))
        .layer(UploadLayer::new())
        .service(service_fn(service));
    let request = Request::post("/").header(header::ACCEPT, "text/event-stream");
    let start = Instant::now();
    let response = service.oneshot(request.body(body).unwrap()).await.unwrap();
    (response.status().as_u16(), start.elapsed())
}

#[tokio::test(start_paused = true)]
async fn a_refusal_that_follows_a_slow_upload_keeps_its_status() {
    let refuses = |request: Upload| async {
        drain(request.into_body()).await;
        sleep(AFTER - SECOND).await;
        Ok(Response::builder().status(401).body(Script::new()).unwrap())
    };
    assert_eq!(through(slow(60), refuses).await, (401, 59 * SECOND + AFTER));
}

#[tokio::test(start_paused = true)]
async fn the_time_counts_from_when_the_service_has_the_whole_request() {
    let read = |request: Upload| async {
        drain(request.into_body()).await;
        pending().await
    };
    for seconds in [0, 1, 4, 5, 6, 60] {
        let expect = seconds * SECOND + AFTER;
        assert_eq!(through(slow(seconds as usize), read).await, (200, expect), "{seconds}");
        // The same when another task reads it.
        let spawned = |request: Upload| async {
            tokio::spawn(drain(request.into_body()));
            pending().await
        };
        assert_eq!(through(slow(seconds as usize), spawned).await, (200, expect), "{seconds}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_service_does_not_take_keeps_the_head_back_until_it_is_dropped() {
    let drops = |request: Upload| async {
        sleep(LATE).await;
        drop(request);
        pending().await
    };
    assert_eq!(through(slow(1), drops).await, (200, LATE + AFTER));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_expects_to_be_asked_keeps_the_head_back() {
    let service =
        EarlyHeadLayer::new(AFTER).layer(service_fn(|mut request: Request<Script>| async {
            let exchange = Exchange::of(&mut request);
            let body = UploadBody::expecting(request.into_body(), &exchange);
            sleep(LATE).await;
            drain(body).await;
            pending::<Answer>().await
        }));
    let request = Request::post("/").header(header::ACCEPT, "text/event-stream");
    let start = Instant::now();
    let response = service.oneshot(request.body(slow(1)).unwrap()).await.unwrap();
    assert_eq!((response.status().as_u16(), start.elapsed()), (200, LATE + SECOND + AFTER));
}
