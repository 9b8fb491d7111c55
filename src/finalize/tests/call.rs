//! Calls that end before there is a body.

use std::{
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::time::timeout;
use tower::Service;

use super::*;
use crate::exchange::{Cause, Exchange, Outcome};

#[tokio::test]
async fn an_error_of_the_service_goes_to_the_caller_and_is_told_without_a_status() {
    let (layer, mut told) = telling();
    let service = layer.layer(service_fn(|_: Request<()>| async {
        Err::<Response<Script>, _>(ScriptError::new("refused"))
    }));
    let Err(error) = service.oneshot(get()).await else { panic!("it fails") };
    assert_eq!(error.to_string(), "refused");
    let ending = only(&mut told);
    assert_eq!((ending.outcome, ending.status), (Outcome::Failed, None));
    assert_eq!(ending.error().unwrap().messages(), ["refused", "root of refused"]);
    assert_eq!((ending.time_to_head, ending.bytes), (None, 0));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_before_the_head_is_disconnected_whether_or_not_the_call_was_polled() {
    let (layer, mut told) = telling();
    let mut service = layer.layer(service_fn(|_: Request<()>| async {
        pending::<()>().await;
        Ok::<_, ScriptError>(Response::new(Script::new()))
    }));
    let call = service.ready().await.unwrap_or_else(|error| panic!("{error}")).call(get());
    drop(call);
    assert_eq!(only(&mut told).outcome, Outcome::Disconnected);
    assert!(timeout(Duration::from_secs(3), service.oneshot(get())).await.is_err());
    let ending = only(&mut told);
    assert_eq!((ending.outcome, ending.elapsed), (Outcome::Disconnected, Duration::from_secs(3)));
    assert_eq!((ending.status, ending.time_to_head), (None, None));
}

#[tokio::test]
async fn a_panic_of_the_service_is_told_and_goes_on() {
    let (layer, mut told) = telling();
    let service = layer.layer(service_fn(|request: Request<()>| async move {
        assert_eq!(request.uri().path(), "/other", "boom");
        Ok::<_, ScriptError>(Response::new(Script::new()))
    }));
    assert!(tokio::spawn(service.oneshot(get())).await.is_err_and(|error| error.is_panic()));
    let ending = only(&mut told);
    assert_eq!(ending.outcome, Outcome::Panicked);
    assert!(ending.reason().unwrap().contains("boom"));
}

#[tokio::test]
async fn a_handler_that_answers_a_failure_itself_says_what_really_happened() {
    let (layer, mut told) = telling();
    let service = layer.layer(service_fn(|request: Request<()>| async move {
        let exchange = Exchange::get(request.extensions()).unwrap();
        exchange.record(Cause::failed(&ScriptError::new("upstream")));
        Ok::<_, ScriptError>(Response::builder().status(502).body(Script::new()).unwrap())
    }));
    drop(service.oneshot(get()).await);
    let ending = only(&mut told);
    assert_eq!((ending.outcome, ending.status.unwrap().as_u16()), (Outcome::Failed, 502));
    assert_eq!(ending.error().unwrap().to_string(), "upstream: root of upstream");
}

#[tokio::test]
async fn the_outer_closure_sees_each_request_before_the_inner_service_is_called() {
    let calls = Arc::new(AtomicUsize::new(0));
    let seen = Arc::new(Mutex::new(Vec::new()));
    let layer = FinalizeLayer::new({
        let (calls, seen) = (calls.clone(), seen.clone());
        move |request: &Parts| {
            let path = request.uri.path().to_owned();
            seen.lock()
                .unwrap()
                .push(format!("{path} after {} calls", calls.load(Ordering::SeqCst)));
            let seen = seen.clone();
            move |ending: Ending| seen.lock().unwrap().push(format!("{path} {}", ending.outcome))
        }
    });
    let service = layer.layer(service_fn(|_: Request<()>| {
        calls.fetch_add(1, Ordering::SeqCst);
        async { Ok::<_, ScriptError>(Response::new(Script::new())) }
    }));
    for path in ["/a", "/b"] {
        drop(service.clone().oneshot(Request::get(path).body(()).unwrap()).await);
    }
    let expect = ["/a after 0 calls", "/a completed", "/b after 1 calls", "/b completed"];
    assert_eq!(*seen.lock().unwrap(), expect);
}
