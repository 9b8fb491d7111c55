//! A start that failed, and what is answered for it.

use http::HeaderMap;
use testkit::{Event, Log};

use super::*;
use crate::{
    exchange::{Cause, Exchange},
    timeouts::{Limit, tests::hit},
};

/// Tells which of the failures it was, and that the upstream was gone by then.
fn telling(log: &Log) -> FirstFrameLayer<fn(&response::Parts) -> Begin> {
    let log = log.clone();
    FirstFrameLayer::by_media().answer(move |failed| {
        assert!(log.dropped_at().is_some(), "the upstream is still held");
        Response::new(match failed {
            FailedStart::InBand(data) => data.clone(),
            FailedStart::Body(error) => error.to_string().into(),
            FailedStart::Ended => "ended".into(),
        })
    })
}

async fn failure(body: Script, content_type: &'static str) -> String {
    let log = body.log();
    let answer = told(call(&telling(&log), body, content_type).await).await.1;
    assert_eq!(log.count(|event| *event == Event::PollAfterEnd), 0);
    answer
}

#[tokio::test]
async fn each_failure_is_told_with_what_is_known_of_it_after_the_upstream_is_released() {
    let events = "text/event-stream";
    let begun = Script::new().data(": hi\n\n").pending();
    assert_eq!(failure(begun.data(ERROR).stall(), events).await, "{\"type\":\"error\"}");
    assert_eq!(failure(Script::new().data(PING).error("reset"), events).await, "reset");
    assert_eq!(failure(Script::new().data(PING).pending().end(), events).await, "ended");
    assert_eq!(failure(Script::new().pending().trailers(HeaderMap::new()), events).await, "ended");
    assert_eq!(failure(Script::new().pending().data("no event at all"), events).await, "ended");
    assert_eq!(failure(Script::new().pending().error("reset"), "text/plain").await, "reset");
}

#[tokio::test]
async fn an_event_that_lacks_its_blank_line_at_the_end_counts() {
    let events = "text/event-stream";
    let error = Script::new().pending().data("data: {\"error\":{\"code\":529}}");
    assert_eq!(failure(error, events).await, "{\"error\":{\"code\":529}}");
    let response = sse(Script::new().pending().data("data: [DONE]")).await;
    assert_eq!(told(response).await, (200, "data: [DONE]".into()));
}

#[tokio::test]
async fn a_clean_end_without_a_byte_is_a_response_where_any_byte_begins() {
    let layer = FirstFrameLayer::by_media();
    let response = call(&layer, Script::new().pending().end(), "text/plain").await;
    assert_eq!(told(response).await, (200, String::new()));
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", 5.into());
    let body = Script::new().pending().trailers(trailers.clone());
    let response = call(&layer, body, "application/grpc").await;
    assert_eq!(response.status(), 200);
    assert_eq!(read(response).await.trailers, Some(trailers));
}

#[tokio::test]
async fn a_clean_end_without_a_byte_is_a_failure_where_bytes_were_announced() {
    let body = Script::new().pending().end().exact_size(10);
    assert_eq!(failure(body, "text/plain").await, "ended");
    let service = service_fn(|_: Request<()>| async {
        let response = Response::builder().header(header::CONTENT_LENGTH, 3);
        Ok::<_, ScriptError>(response.body(Script::new().pending().end()).unwrap())
    });
    let response = FirstFrameLayer::by_media().layer(service).oneshot(Request::new(())).await;
    assert_eq!(response.unwrap().status(), 502);
}

#[tokio::test]
async fn a_predicate_of_ones_own_gives_all_that_was_read_and_fails_what_ends_before_it_says_begun()
{
    let layer = FirstFrameLayer::new(|_: &response::Parts| {
        Begin::when(|so_far| if so_far.ends_with(b"!") { Verdict::Failed } else { Verdict::Wait })
    });
    let layer = layer.answer(|failed| match failed {
        FailedStart::InBand(data) => Response::new(data.clone()),
        other => Response::new(other.to_string().into()),
    });
    let body = Script::new().data("no").data(" way!").stall();
    assert_eq!(told(call(&layer, body, "text/plain").await).await.1, "no way!");
    let body = Script::new().data("so");
    let ended = told(call(&layer, body, "text/plain").await).await.1;
    assert_eq!(ended, "the upstream's response ended before it began");
}

#[tokio::test]
async fn by_default_the_answer_is_502_with_a_text_that_tells_nothing_of_the_upstream() {
    let response = sse(Script::new().error("10.0.0.7 refused")).await;
    assert_eq!(response.headers()[header::CONTENT_TYPE], "text/plain; charset=utf-8");
    assert!(response.headers().get(header::CONTENT_LENGTH).is_none());
    assert_eq!(response.body().size_hint().exact(), Some(46));
    let text = "the upstream failed before its response began\n";
    assert_eq!(told(response).await, (502, text.into()));
    let text = "the upstream sent an error in place of its response\n";
    assert_eq!(told(sse(Script::new().data(ERROR)).await).await, (502, text.into()));
}

#[tokio::test]
async fn a_grpc_request_is_answered_by_a_status_in_the_head() {
    let layer = FirstFrameLayer::by_media();
    let request = Request::builder().header(header::CONTENT_TYPE, "application/grpc+proto");
    let service = layer.layer(upstream([Script::new().pending().error("x")], "application/grpc"));
    let response = service.oneshot(request.body(()).unwrap()).await.unwrap();
    assert_eq!(
        (response.status(), &response.headers()["grpc-status"]),
        (StatusCode::OK, &"14".parse().unwrap())
    );
    assert!(response.body().is_end_stream());
}

#[tokio::test]
async fn a_failed_start_leaves_no_cause_unless_it_was_an_abort() {
    for (cause, stays) in [
        (Cause::failed(&std::io::Error::other("x")), false),
        (Cause::Truncated, false),
        (hit(Limit::Idle), false),
        (Cause::Panicked("x".into()), false),
        (Cause::Aborted("stop".into()), true),
        (Cause::Disconnected, true),
    ] {
        let mut request = Request::new(());
        let exchange = Exchange::of(&mut request);
        exchange.record(cause.clone());
        let service =
            FirstFrameLayer::by_media().layer(upstream([Script::new().error("x")], "a/b"));
        assert_eq!(service.oneshot(request).await.unwrap().status(), 502);
        assert_eq!(exchange.cause().is_some(), stays, "{cause:?}");
    }
    let exchange = Exchange::new();
    exchange.settle(Cause::Truncated, true);
    exchange.forgive();
    assert!(exchange.cause().is_some()); // It was reported.
}

// The same status as the limit has before the head.
#[tokio::test(start_paused = true)]
async fn a_time_limit_inside_is_answered_with_504() {
    for (media, status) in [("text/event-stream", 504), ("application/json", 504)] {
        let limits = crate::timeouts::Limits::new().first_frame(Duration::from_secs(1));
        let stack = tower::ServiceBuilder::new()
            .layer(FirstFrameLayer::by_media())
            .layer(crate::timeouts::TimeoutsLayer::new(limits))
            .service(upstream([Script::new().stall()], media));
        let response = stack.oneshot(Request::new(())).await.unwrap();
        assert_eq!(response.status(), status);
    }
}
