//! A call under limits, from before its head to its end.

use std::{
    convert::Infallible,
    future::{pending, poll_fn},
    pin::pin,
    sync::{Arc, Mutex},
    task::Poll,
};

use http::{Method, Request, Response, StatusCode, request::Parts};
use testkit::{Log, ScriptError, drain};
use tokio::time::sleep;
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};

use super::*;
use crate::{
    abort::{AbortHandle, AbortLayer},
    exchange::{Exchange, Outcome},
    finalize::{Ending, FinalizeLayer},
    timeouts::TimeoutsLayer,
};

type Head = Result<Response<Script>, ScriptError>;

fn head(seconds: u32) -> TimeoutsLayer {
    TimeoutsLayer::new(Limits::new().head(seconds * SECOND))
}

/// A service that takes so long to answer, and whose future writes its drop into the log.
fn slow(
    seconds: u64,
    log: &Log,
) -> impl Service<Request<()>, Response = Response<Script>, Error = ScriptError, Future: Send>
+ Clone
+ Send
+ use<> {
    let log = log.clone();
    service_fn(move |_: Request<()>| {
        let held = Script::new().log_into(&log);
        async move {
            let _held = held;
            sleep(Duration::from_secs(seconds)).await;
            Head::Ok(Response::new(Script::new().data("late")))
        }
    })
}

#[tokio::test(start_paused = true)]
async fn without_a_head_in_time_the_answer_is_504_and_the_call_is_dropped() {
    let (log, start) = (Log::new(), Instant::now());
    let response = head(5).layer(slow(6, &log)).oneshot(Request::new(())).await.unwrap();
    assert_eq!(start.elapsed(), 5 * SECOND);
    assert_eq!(response.status(), StatusCode::GATEWAY_TIMEOUT);
    assert!(log.dropped_at().is_some());
    let seen = drain(response.into_body()).await;
    assert_eq!(seen.data, "head timeout: no response head for 5s\n");
}

#[tokio::test(start_paused = true)]
async fn a_head_in_time_or_at_the_very_deadline_is_handed_on() {
    for seconds in [4, 5] {
        let response = head(5).layer(slow(seconds, &Log::new())).oneshot(Request::new(())).await;
        let response = response.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        sleep(60 * SECOND).await;
        assert_eq!(drain(response.into_body()).await.data, "late");
    }
}

#[tokio::test(start_paused = true)]
async fn the_answer_can_be_ones_own() {
    let layer = head(5).answer(|exchange, timed_out| {
        assert_eq!(exchange.cause().unwrap().outcome(), Outcome::TimedOut);
        let mut response = Response::new(Bytes::from(timed_out.limit().as_str()));
        *response.status_mut() = StatusCode::IM_A_TEAPOT;
        response
    });
    let response = layer.layer(slow(6, &Log::new())).oneshot(Request::new(())).await.unwrap();
    assert_eq!(response.status(), StatusCode::IM_A_TEAPOT);
    assert_eq!(drain(response.into_body()).await.data, "head");
}

#[tokio::test(start_paused = true)]
async fn a_grpc_call_is_answered_with_deadline_exceeded() {
    let request = Request::builder().header("content-type", "application/grpc").body(()).unwrap();
    let response = head(5).layer(slow(6, &Log::new())).oneshot(request).await.unwrap();
    assert_eq!(
        (response.status(), &response.headers()["grpc-status"]),
        (StatusCode::OK, &"4".parse().unwrap())
    );
}

/// Seconds until a gRPC call with this `grpc-timeout` is cut, whose head comes after one second and nothing after it.
async fn grpc_cut(timeout: &str, own: Option<u64>) -> Option<f64> {
    let limits = Limits::new().total(own.map(Duration::from_secs));
    let layer = TimeoutsLayer::new(limits).grpc_timeout();
    let service = layer.layer(service_fn(|_: Request<()>| async {
        sleep(SECOND).await;
        Head::Ok(Response::new(Script::new().data("m").sleep(100 * SECOND)))
    }));
    let request = Request::builder().header("grpc-timeout", timeout).body(()).unwrap();
    let start = Instant::now();
    let seen = drain(service.oneshot(request).await.unwrap().into_body()).await;
    let error = seen.error.map(|error| limit(&error));
    assert!(error.is_none_or(|limit| limit == Limit::Total));
    error.map(|_| start.elapsed().as_secs_f64())
}

#[tokio::test(start_paused = true)]
async fn a_grpc_timeout_holds_over_the_whole_body_where_it_is_the_shorter_one() {
    let expect = [
        ("5S", None, Some(5.0)),
        ("2500m", None, Some(2.5)),
        ("2500000u", None, Some(2.5)),
        ("1M", None, Some(60.0)),
        ("1H", None, None),
        ("5S", Some(3), Some(3.0)),
        ("5S", Some(9), Some(5.0)),
        // Malformed: none.
        ("5", None, None),
        ("S", None, None),
        ("5s", None, None),
        ("123456789S", None, None),
        ("-5S", None, None),
        ("5\u{e9}S", None, None),
    ];
    for (timeout, own, cut) in expect {
        assert_eq!(grpc_cut(timeout, own).await, cut, "{timeout} {own:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_of_the_service_goes_on_to_the_caller() {
    let service = head(5)
        .layer(service_fn(|_: Request<()>| async { Head::Err(ScriptError::new("refused")) }));
    assert_eq!(service.oneshot(Request::new(())).await.unwrap_err().to_string(), "refused");
}

#[tokio::test(start_paused = true)]
async fn a_tunnel_has_no_limits() {
    let limits = Limits::new().first_frame(SECOND).idle(SECOND).total(SECOND).unread(SECOND);
    let service = TimeoutsLayer::new(limits).layer(service_fn(|_: Request<()>| async {
        Ok::<_, Infallible>(Response::new(Script::new().sleep(60 * SECOND).data("x")))
    }));
    let request = Request::builder().method(Method::CONNECT).body(()).unwrap();
    let body = service.oneshot(request).await.unwrap().into_body();
    sleep(60 * SECOND).await;
    assert_eq!(drain(body).await.data, "x");
}

#[tokio::test(start_paused = true)]
async fn the_media_type_decides_what_is_progress_unless_a_function_does() {
    let cut = async |layer: TimeoutsLayer| {
        let service = layer.layer(service_fn(|_: Request<()>| async {
            let script = (0..9).fold(Script::new(), |script, _| script.data(": c\n").sleep(SECOND));
            let response = Response::builder().header("content-type", "text/event-stream");
            Ok::<_, Infallible>(response.body(script).unwrap())
        }));
        drain(service.oneshot(Request::new(())).await.unwrap().into_body()).await.error.is_some()
    };
    let limits = Limits::new().idle(5 * SECOND);
    assert!(cut(TimeoutsLayer::new(limits.clone())).await);
    assert!(!cut(TimeoutsLayer::new(limits).activity(|_| Activity::any_byte())).await);
}

/// What Finalize says, inside or outside, of a call whose head comes after a second.
async fn ending(inside: bool, script: Script, limits: Limits, reads: bool) -> Ending {
    let endings = Arc::new(Mutex::new(Vec::new()));
    let told = endings.clone();
    let make_hook = move |_: &Parts| {
        let told = told.clone();
        move |ending| told.lock().unwrap().push(ending)
    };
    let script = Arc::new(Mutex::new(Some(script)));
    let service = service_fn(move |_: Request<()>| {
        let script = script.lock().unwrap().take().unwrap();
        async {
            sleep(SECOND).await;
            Head::Ok(Response::new(script))
        }
    });
    let timeouts = TimeoutsLayer::new(limits);
    let request = Request::new(());
    let body = if inside {
        let stack = ServiceBuilder::new()
            .layer(timeouts)
            .layer(FinalizeLayer::new(make_hook))
            .service(service);
        stack.oneshot(request).await.unwrap().into_body().boxed_unsync()
    } else {
        let stack = ServiceBuilder::new()
            .layer(FinalizeLayer::new(make_hook))
            .layer(timeouts)
            .service(service);
        stack.oneshot(request).await.unwrap().into_body().boxed_unsync()
    };
    if reads {
        drain(body).await;
    } else {
        sleep(3600 * SECOND).await;
        drop(body);
    }
    let mut endings = endings.lock().unwrap();
    assert_eq!(endings.len(), 1);
    endings.remove(0)
}

#[tokio::test(start_paused = true)]
async fn finalize_reports_each_limit_wherever_it_stands() {
    let stalls = || Script::new().data("x").stall();
    let silent = || Script::new().stall();
    let cases: [(_, fn() -> Script, _); 5] = [
        (Limits::new().head(Duration::from_millis(500)), silent, "head"),
        (Limits::new().first_frame(SECOND), silent, "first_frame"),
        (Limits::new().idle(SECOND), stalls, "idle"),
        (Limits::new().total(2 * SECOND), stalls, "total"),
        (Limits::new().total(Duration::from_millis(500)), silent, "total"),
    ];
    for (limits, script, reason) in cases {
        for inside in [true, false] {
            let ending = ending(inside, script(), limits.clone(), true).await;
            assert_eq!((ending.outcome, ending.reason()), (Outcome::TimedOut, Some(reason)));
        }
    }
    for inside in [true, false] {
        let ending = ending(inside, stalls(), Limits::new().unread(SECOND), false).await;
        assert_eq!((ending.outcome, ending.reason()), (Outcome::TimedOut, Some("unread")));
    }
}

#[tokio::test(start_paused = true)]
async fn inside_of_finalize_or_outside_a_limit_that_is_not_hit_changes_nothing() {
    let limits = Limits::new().head(9 * SECOND).idle(9 * SECOND).total(9 * SECOND).unread(SECOND);
    for inside in [true, false] {
        let ending = ending(inside, Script::new().data("x"), limits.clone(), true).await;
        assert_eq!((ending.outcome, ending.bytes), (Outcome::Completed, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_times_out_inside_of_an_abort_layer_is_cut_alone() {
    let (handle, log) = (AbortHandle::new(), Log::new());
    let mut request = Request::new(());
    let exchange = Exchange::of(&mut request);
    let calls = Arc::new(Mutex::new(0));
    let attempts = head(5).layer(service_fn({
        let (calls, log) = (calls.clone(), log.clone());
        move |_: Request<()>| {
            *calls.lock().unwrap() += 1;
            let first = *calls.lock().unwrap() == 1;
            let held = Script::new().log_into(&log);
            async move {
                if first {
                    let _held = held;
                    pending::<()>().await;
                }
                Head::Ok(Response::new(Script::new().data("second").stall()))
            }
        }
    }));
    let retrying = service_fn(move |request: Request<()>| {
        let attempts = attempts.clone();
        async move {
            let first = attempts.clone().oneshot(request.clone()).await?;
            assert_eq!(first.status(), StatusCode::GATEWAY_TIMEOUT);
            attempts.oneshot(request).await
        }
    });
    let given = handle.clone();
    let stack = AbortLayer::new(move |_| given.clone()).layer(retrying);
    let mut body = stack.oneshot(request).await.unwrap().into_body();
    assert!(log.dropped_at().is_some());
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "second");
    // What ended the first attempt is not the cause of the end, and the second is in reach of the handle.
    assert!(exchange.cause().is_none());
    assert!(handle.abort("stop"));
    assert!(body.frame().await.unwrap().unwrap_err().to_string().contains("stop"));
    assert_eq!(exchange.cause().unwrap().outcome(), Outcome::Aborted);
}

#[tokio::test(start_paused = true)]
async fn polled_after_its_end_a_call_does_nothing() {
    let mut service = head(5)
        .layer(service_fn(|_: Request<()>| async { Head::Ok(Response::new(Script::new())) }));
    assert!(format!("{service:?}").starts_with("Timeouts { inner: ServiceFn"));
    let mut call = pin!(service.ready().await.unwrap().call(Request::new(())));
    assert_eq!(format!("{call:?}"), "TimeoutsFuture { .. }");
    let _body = call.as_mut().await.unwrap();
    let again = poll_fn(|cx| Poll::Ready(call.as_mut().poll(cx).is_pending())).await;
    assert!(again);
}

// What Finalize reported within was the end of an attempt. The limits hold for the next.
#[tokio::test(start_paused = true)]
async fn a_limit_around_a_retry_holds_after_an_attempt_was_reported_within() {
    let calls = Arc::new(Mutex::new(0));
    let attempts =
        FinalizeLayer::new(|_: &Parts| drop::<Ending>).layer(service_fn(move |_: Request<()>| {
            *calls.lock().unwrap() += 1;
            let first = *calls.lock().unwrap() == 1;
            async move {
                if first {
                    return Err(ScriptError::new("refused"));
                }
                pending::<Head>().await
            }
        }));
    let retrying = service_fn(move |request: Request<()>| {
        let attempts = attempts.clone();
        async move {
            assert!(attempts.clone().oneshot(request.clone()).await.is_err());
            attempts.oneshot(request).await
        }
    });
    let limits = Limits::new().total(5 * SECOND);
    let start = Instant::now();
    let call = TimeoutsLayer::new(limits).layer(retrying).oneshot(Request::new(()));
    let response = tokio::time::timeout(3600 * SECOND, call).await.unwrap().unwrap();
    assert_eq!((response.status(), start.elapsed()), (StatusCode::GATEWAY_TIMEOUT, 5 * SECOND));
}
