//! What is not held back.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    task::{Context, Waker},
};

use testkit::Eos;

use super::*;

/// The response to a call, which must be there at once, though its body never gives anything.
fn at_once(media: &'static str, method: Method, status: u16, body: Script) -> Replayed {
    let body = Mutex::new(Some(body));
    let service = service_fn(|_: Request<()>| {
        let response = Response::builder().status(status).header("content-type", media);
        std::future::ready(Ok::<_, ScriptError>(
            response.body(body.lock().unwrap().take().unwrap()).unwrap(),
        ))
    });
    let request = Request::builder().method(method).body(()).unwrap();
    let mut call = pin!(FirstFrameLayer::by_media().layer(service).oneshot(request));
    match call.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(response) => response.unwrap(),
        Poll::Pending => panic!("{status} is held back"),
    }
}

#[test]
fn what_is_no_stream_that_may_fail_passes_at_once_and_its_body_is_not_polled() {
    for (method, status) in [
        (Method::GET, 101),
        (Method::CONNECT, 200),
        (Method::HEAD, 200),
        (Method::GET, 204),
        (Method::GET, 304),
        (Method::GET, 307),
        (Method::GET, 404),
        (Method::GET, 500),
    ] {
        let body = Script::new().stall();
        let log = body.log();
        assert_eq!(at_once("text/event-stream", method, status, body).status().as_u16(), status);
        assert_eq!(log.polls(), 0, "{status}");
    }
}

fn empties() -> [Script; 3] {
    [Script::new(), Script::new().stall().exact_size(0), Script::new().stall().eos(Eos::Always)]
}

#[test]
fn an_empty_body_passes_at_once_where_none_is_expected() {
    for body in empties() {
        let log = body.log();
        let hint = body.size_hint().exact();
        let response = at_once("application/json", Method::GET, 200, body);
        assert_eq!((response.body().size_hint().exact(), log.polls()), (hint, 0));
    }
}

// Whether the framing says so or the body: a failover must not depend on that.
#[test]
fn an_event_stream_that_is_empty_by_its_framing_did_not_begin() {
    for body in empties() {
        let log = body.log();
        assert_eq!(at_once("text/event-stream", Method::GET, 200, body).status(), 502);
        assert!(log.dropped_at().is_some());
    }
}

#[tokio::test]
async fn an_error_of_the_service_goes_on_to_the_caller() {
    let failing = service_fn(|_: Request<()>| async { Err::<Response<Script>, _>("refused") });
    let error =
        FirstFrameLayer::by_media().layer(failing).oneshot(Request::new(())).await.unwrap_err();
    assert_eq!(error, "refused");
}

#[tokio::test]
async fn a_panic_of_the_body_goes_on_to_the_caller() {
    let body = Script::new().data(PING).panic("boom");
    let log = body.log();
    let panicked = tokio::spawn(sse(body)).await.unwrap_err();
    assert_eq!(*panicked.into_panic().downcast::<String>().unwrap(), "boom");
    assert!(log.dropped_at().is_some());

    let later = Script::new().data("data: a\n\n").panic("later").data("more");
    let log = later.log();
    let mut body = sse(later).await.into_body();
    let mut poll = || Pin::new(&mut body).poll_frame(&mut Context::from_waker(Waker::noop()));
    assert!(poll().is_ready());
    assert!(catch_unwind(AssertUnwindSafe(&mut poll)).is_err());
    assert!(log.dropped_at().is_some()); // And nothing follows.
    assert!(matches!(poll(), Poll::Ready(None)));
}
