//! Who is waited for before the head: the service, or a client whose request is unfinished.

use std::{
    convert::Infallible,
    future::{pending, poll_fn},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::Poll,
};

use http::{Request, Response, StatusCode};
use http_body_util::{Empty, Full};
use testkit::{Log, drain};
use tokio::time::{sleep, timeout};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};

use super::*;
use crate::{
    exchange::{Exchange, Outcome},
    timeouts::TimeoutsLayer,
    upload::{UploadBody, UploadLayer},
};

const MS: Duration = Duration::from_millis(1);

type Upload = Request<UploadBody<Script>>;
type Answer = Result<Response<Full<Bytes>>, Infallible>;

/// An upload of so many bytes, one each second, the first after one.
fn slow(bytes: usize) -> Script {
    (0..bytes).fold(Script::new(), |script, _| script.sleep(SECOND).data("x"))
}

/// Reads the whole request, takes so long, and answers.
async fn reads_then_takes(request: Upload, time: Duration) -> Answer {
    let body = drain(request.into_body()).await.data;
    sleep(time).await;
    Ok(Response::new(Full::new(body)))
}

/// Sends a request through limits to a service. Tells the status, and when it came.
async fn through<F>(
    limits: Limits,
    body: Script,
    service: impl Fn(Upload) -> F + Clone + Send + 'static,
) -> (u16, Duration)
where
    F: Future<Output = Answer> + Send + 'static,
{
    let start = Instant::now();
    let service = ServiceBuilder::new()
        .layer(TimeoutsLayer::new(limits))
        .layer(UploadLayer::new())
        .service(service_fn(service));
    let answer = timeout(3600 * SECOND, service.oneshot(Request::new(body))).await;
    (answer.expect("it waits for ever").unwrap().status().as_u16(), start.elapsed())
}

#[tokio::test(start_paused = true)]
async fn a_slow_upload_is_not_the_services_and_its_time_begins_when_it_has_the_whole() {
    let limits = || Limits::new().head(800 * MS);
    for (takes, expect) in [
        (Duration::ZERO, (200, 2 * SECOND)),
        (700 * MS, (200, 2700 * MS)),
        (900 * MS, (504, 2800 * MS)),
    ] {
        let seen =
            through(limits(), slow(2), move |request| reads_then_takes(request, takes)).await;
        assert_eq!(seen, expect, "{takes:?}");
        // The same when another task reads it.
        let seen = through(limits(), slow(2), move |request| async move {
            tokio::spawn(reads_then_takes(request, takes)).await.unwrap()
        });
        assert_eq!(seen.await, expect, "{takes:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn without_the_layer_the_time_counts_from_the_call() {
    let start = Instant::now();
    let layer = TimeoutsLayer::new(Limits::new().head(800 * MS).upload(100 * MS));
    let service = layer.layer(service_fn(|request: Request<Script>| async {
        drain(request.into_body()).await;
        Answer::Ok(Response::new(Full::default()))
    }));
    let response = service.oneshot(Request::new(slow(2))).await.unwrap();
    assert_eq!((response.status().as_u16(), start.elapsed()), (504, 800 * MS));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_stops_in_the_middle_of_its_request_is_answered_408_and_the_call_is_dropped()
{
    let (log, start) = (Log::new(), Instant::now());
    let service = ServiceBuilder::new()
        .layer(TimeoutsLayer::new(Limits::new().head(SECOND).upload(5 * SECOND)))
        .layer(UploadLayer::new())
        .service(service_fn(|request: Upload| reads_then_takes(request, SECOND)));
    let mut request = Request::new(slow(2).stall().log_into(&log));
    let exchange = Exchange::of(&mut request);
    let response = service.oneshot(request).await.unwrap();
    assert_eq!(start.elapsed(), 7 * SECOND);
    assert_eq!(response.status(), StatusCode::REQUEST_TIMEOUT);
    assert_eq!(response.headers()["connection"], "close");
    assert!(log.dropped_at().is_some());
    let seen = drain(response.into_body()).await;
    assert_eq!(seen.data, "upload timeout: nothing of the request for 5s\n");
    let cause = exchange.cause().unwrap();
    assert_eq!((cause.outcome(), cause.reason()), (Outcome::TimedOut, Some("upload")));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_sends_a_little_now_and_then_is_waited_for_however_long_it_takes() {
    let limits = Limits::new().head(MS).upload(1001 * MS);
    let seen = through(limits, slow(600), |request| reads_then_takes(request, Duration::ZERO));
    assert_eq!(seen.await, (200, 600 * SECOND));
}

#[tokio::test(start_paused = true)]
async fn empty_frames_are_nothing_of_a_request() {
    let body = (0..60).fold(Script::new(), |script, _| script.sleep(100 * MS).data(""));
    let limits = Limits::new().upload(SECOND);
    let seen = through(limits, body, |request| reads_then_takes(request, Duration::ZERO));
    assert_eq!(seen.await, (408, SECOND));
}

#[tokio::test(start_paused = true)]
async fn a_service_that_does_not_take_what_there_is_is_waited_for() {
    let limits = || Limits::new().head(3 * SECOND).upload(MS);
    // Not at all.
    let seen = through(limits(), slow(9), |request: Upload| async {
        let _held = request;
        pending().await
    });
    assert_eq!(seen.await, (504, 3 * SECOND));
    // No more of it.
    let seen = through(limits(), Script::new().data("a").data("b"), |request: Upload| async {
        let mut body = request.into_body();
        sleep(2 * SECOND).await;
        body.frame().await.unwrap().unwrap();
        pending().await
    });
    assert_eq!(seen.await, (504, 5 * SECOND));
    // Slowly, but it does.
    let body = (0..9).fold(Script::new(), |script, _| script.data("x"));
    let seen = through(limits(), body, |request: Upload| async {
        let mut body = request.into_body();
        loop {
            sleep(2 * SECOND).await;
            if body.frame().await.is_none() {
                return Ok(Response::new(Full::default()));
            }
        }
    });
    assert_eq!(seen.await, (200, 20 * SECOND));
}

#[tokio::test(start_paused = true)]
async fn the_time_begins_at_the_call_without_a_body_and_when_the_rest_is_dropped_or_breaks_off() {
    let limits = || Limits::new().head(3 * SECOND).upload(60 * SECOND);
    let never = |request: Upload| async move {
        drain(request.into_body()).await;
        pending().await
    };
    assert_eq!(through(limits(), Script::new(), never).await, (504, 3 * SECOND));
    assert_eq!(through(limits(), slow(2).error("gone"), never).await, (504, 5 * SECOND));
    let drops = |request: Upload| async move {
        let mut body = request.into_body();
        body.frame().await.unwrap().unwrap();
        let _ = timeout(10 * SECOND, body.frame()).await;
        drop(body);
        pending().await
    };
    let seen = through(limits(), slow(1).sleep(3600 * SECOND).data("x"), drops).await;
    assert_eq!(seen, (504, 14 * SECOND));
}

#[tokio::test(start_paused = true)]
async fn one_limit_holds_without_the_other() {
    let reads = |request| reads_then_takes(request, 10 * SECOND);
    let stops = || slow(1).sleep(3600 * SECOND);
    assert_eq!(through(Limits::new().upload(SECOND), stops(), reads).await, (408, 2 * SECOND));
    assert_eq!(through(Limits::new().upload(1001 * MS), slow(3), reads).await, (200, 13 * SECOND));
    assert_eq!(through(Limits::new().head(SECOND), slow(3), reads).await, (504, 4 * SECOND));
    let start = Instant::now();
    let none = through(Limits::new(), slow(3), reads).await;
    assert_eq!(none, (200, start.elapsed()));
}

#[tokio::test(start_paused = true)]
async fn the_total_limit_counts_while_the_client_is_waited_for_too() {
    let limits = Limits::new().head(SECOND).upload(2 * SECOND).total(5 * SECOND);
    let seen = through(limits, slow(60), |request| reads_then_takes(request, SECOND)).await;
    assert_eq!(seen, (504, 5 * SECOND));
}

#[tokio::test(start_paused = true)]
async fn limits_of_nothing_are_hit_at_once_and_are_no_busy_loop() {
    let reads = |request| reads_then_takes(request, SECOND);
    assert_eq!(through(Limits::new().upload(Duration::ZERO), slow(1), reads).await.0, 408);
    let limits = Limits::new().upload(Duration::ZERO);
    assert_eq!(through(limits, Script::new(), reads).await, (200, SECOND));
}

#[tokio::test(start_paused = true)]
async fn what_an_inner_service_watches_for_itself_counts() {
    // It reads ahead of its upstream, which takes two seconds for each frame.
    let limits = Limits::new().head(3 * SECOND).upload(SECOND);
    let seen = through(limits, slow(1), |request: Upload| async {
        let exchange = Exchange::get(request.extensions()).unwrap();
        let ahead = drain(request.into_body()).await;
        assert!(ahead.error.is_none());
        let mut body = UploadBody::new(Script::new().data("a").data("b").data("c"), &exchange);
        while body.frame().await.is_some() {
            sleep(2 * SECOND).await;
        }
        Ok(Response::new(Full::default()))
    });
    assert_eq!(seen.await, (200, 7 * SECOND));
}

#[tokio::test(start_paused = true)]
async fn each_attempt_has_its_own_time() {
    let limits = || TimeoutsLayer::new(Limits::new().head(3 * SECOND).upload(2 * SECOND));
    let attempt = ServiceBuilder::new().layer(limits()).layer(UploadLayer::new()).service(
        service_fn(|request: Upload| async {
            drain(request.into_body()).await;
            pending::<Answer>().await
        }),
    );
    let mut request = Request::new(());
    let exchange = Exchange::of(&mut request);
    for _ in 0..2 {
        let start = Instant::now();
        let mut request = Request::new(slow(4));
        request.extensions_mut().insert(exchange.clone());
        let response = attempt.clone().oneshot(request).await.unwrap();
        assert_eq!((response.status().as_u16(), start.elapsed()), (504, 7 * SECOND));
    }
}

#[tokio::test(start_paused = true)]
async fn a_wait_costs_few_polls() {
    let polls = Arc::new(AtomicUsize::new(0));
    let counted = polls.clone();
    let mut service = TimeoutsLayer::new(Limits::new().head(20 * 60 * SECOND).upload(60 * SECOND))
        .layer(UploadLayer::new().layer(service_fn(move |request: Upload| {
            tokio::spawn(drain(request.into_body()));
            let polls = counted.clone();
            poll_fn(move |_| {
                polls.fetch_add(1, Ordering::Relaxed);
                Poll::<Result<Response<Empty<Bytes>>, Infallible>>::Pending
            })
        })));
    let response = service.call(Request::new(slow(100))).await.unwrap();
    assert_eq!(response.status(), 504);
    // Once for each minute that it waits, and at the end.
    assert!(polls.load(Ordering::Relaxed) <= 26, "{polls:?}");
}

#[tokio::test(start_paused = true)]
async fn before_a_client_that_expects_to_be_asked_is_asked_no_limit_counts() {
    for (sends, expect) in
        [(slow(2), (200, 62 * SECOND)), (Script::new().stall(), (408, 63 * SECOND))]
    {
        let layer = TimeoutsLayer::new(Limits::new().head(SECOND).upload(3 * SECOND));
        let service = layer.layer(service_fn(|mut request: Request<Script>| async {
            let exchange = Exchange::of(&mut request);
            let body = UploadBody::expecting(request.into_body(), &exchange);
            sleep(60 * SECOND).await;
            drain(body).await;
            Answer::Ok(Response::new(Full::default()))
        }));
        let start = Instant::now();
        let response = service.oneshot(Request::new(sends)).await.unwrap();
        assert_eq!((response.status().as_u16(), start.elapsed()), expect);
    }
}
