//! When there is nothing to drain.

use testkit::drain;

use super::*;

/// Leaves, and asserts that the body went at once and nothing was drained.
async fn nothing_drained(stream: Stream, outcome: Outcome) -> Ending {
    let mut left = stream.leave();
    assert!(left.log.dropped_at().is_some(), "at once");
    let ending = left.ending().await;
    assert_eq!((ending.outcome, ending.drained), (outcome, None));
    ending
}

#[tokio::test]
async fn a_body_that_is_complete_by_its_length_or_its_flag_is_not_drained() {
    let by_length = || Script::new().data("ab").stall();
    let by_header = Response::builder().header("content-length", "2").body(by_length()).unwrap();
    let by_hint = Response::new(by_length().exact_size(2));
    let by_flag = Response::new(Script::new().data("ab").end().stall());
    for response in [by_header, by_hint, by_flag] {
        let mut stream = open_with(&layer(), Request::new(()), response).await;
        stream.read().await;
        nothing_drained(stream, Outcome::Completed).await;
    }
}

#[tokio::test]
async fn a_response_without_a_body_is_not_drained() {
    for (method, status) in [(Method::HEAD, 200), (Method::GET, 204), (Method::GET, 304)] {
        let request = Request::builder().method(method).body(()).unwrap();
        let response = Response::builder().status(status).body(Script::new().endless("x")).unwrap();
        let mut stream = open_with(&layer(), request, response).await;
        stream.read().await; // As hyper's h2 does.
        nothing_drained(stream, Outcome::Completed).await;
    }
}

#[tokio::test]
async fn a_body_that_nobody_began_to_read_is_discarded() {
    let stream = open(&layer(), Script::new().data("ab").data("c")).await;
    nothing_drained(stream, Outcome::Discarded).await;
}

#[tokio::test]
async fn a_body_that_was_read_to_its_end_is_gone_with_it() {
    let ended = [
        Script::new().data("ab"),
        Script::new().data("ab").trailers(HeaderMap::new()),
        Script::new().data("ab").error("boom"),
    ];
    for script in ended {
        let mut stream = open(&layer(), script.end().stall()).await;
        drain(&mut stream.body).await;
        assert!(stream.log.dropped_at().is_some());
        assert!(stream.body.is_end_stream());
        assert_eq!(stream.body.size_hint().exact(), Some(0));
        assert!(stream.body.frame().await.is_none(), "for ever");
        assert_eq!(stream.leave().ending().await.drained, None);
    }
}

#[tokio::test]
async fn a_body_that_was_aborted_is_not_drained() {
    let mut stream = open(&layer(), Script::new().data("ab").stall()).await;
    stream.read().await;
    assert!(stream.handle.abort("operator"));
    let mut left = stream.leave();
    let ending = left.ending().await;
    assert_eq!((ending.outcome, ending.drained), (Outcome::Aborted, None));
    assert!(left.log.dropped_at().is_some());
}

#[tokio::test]
async fn a_failure_that_somebody_recorded_is_not_drained() {
    let mut stream = open(&layer(), Script::new().data("ab").stall()).await;
    stream.read().await;
    stream.exchange.record(crate::exchange::Cause::Truncated);
    nothing_drained(stream, Outcome::Truncated).await;
}

#[tokio::test]
async fn the_request_and_the_head_choose_what_is_drained() {
    let layer = layer().when(|request| {
        let asked = request.uri.path() == "/billed";
        move |head| asked && head.status.is_success()
    });
    for (path, status, drained) in
        [("/billed", 200, true), ("/billed", 500, false), ("/", 200, false)]
    {
        let request = Request::builder().uri(path).body(()).unwrap();
        let script = Script::new().data("ab").data("c");
        let response = Response::builder().status(status).body(script).unwrap();
        let mut stream = open_with(&layer, request, response).await;
        stream.read().await;
        if drained {
            assert_eq!(stream.leave().drained().await, (1, DrainEnd::Completed));
        } else {
            nothing_drained(stream, Outcome::Disconnected).await;
        }
    }
}

#[tokio::test]
async fn a_tunnel_is_closed_with_its_client() {
    for (method, status) in [(Method::GET, 101), (Method::CONNECT, 200)] {
        let request = Request::builder().method(method).body(()).unwrap();
        let response =
            Response::builder().status(status).body(Script::new().data("raw").stall()).unwrap();
        let mut stream = open_with(&layer(), request, response).await;
        stream.read().await;
        nothing_drained(stream, Outcome::Completed).await;
    }
}

#[test]
fn without_a_runtime_the_body_is_dropped_with_its_reader() {
    let log = Log::new();
    let mut body = DetachBody::new(Script::new().data("ab").stall().log_into(&log), &layer());
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(std::pin::Pin::new(&mut body).poll_frame(&mut cx).is_ready());
    drop(body);
    assert!(log.dropped_at().is_some());
}

#[tokio::test]
async fn a_client_that_leaves_before_the_head_cancels_the_call() {
    let service = layer().layer(service_fn(|_: Request<()>| {
        std::future::pending::<Result<Response<Script>, ScriptError>>()
    }));
    let call = service.oneshot(Request::new(()));
    tokio::time::timeout(Duration::from_millis(1), call).await.unwrap_err();
}

#[tokio::test]
async fn an_error_of_the_service_is_handed_on_as_it_is() {
    let service = layer().layer(service_fn(|_: Request<()>| async {
        Err::<Response<Script>, _>(ScriptError::new("refused"))
    }));
    let error: ScriptError = service.oneshot(Request::new(())).await.unwrap_err();
    assert_eq!(error.to_string(), "refused");
}
