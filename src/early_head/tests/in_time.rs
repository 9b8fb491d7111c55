//! Heads that come before the time, and requests that get none early.

use std::{
    future::{pending, poll_fn},
    pin::pin,
    task::Poll,
};

use http::{HeaderMap, Method};

use super::*;

#[tokio::test(start_paused = true)]
async fn a_head_in_time_and_its_body_are_handed_on_untouched() {
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", "1".parse().unwrap());
    let body = Script::new().data("abc").sleep(LATE).data("de").trailers(trailers).exact_size(5);
    let log = body.log();
    let answer = Response::builder().status(429).header("retry-after", "7").body(body).unwrap();
    let (request, exchange) = asking();
    let service = EarlyHeadLayer::new(AFTER).layer(answering(AFTER / 2, Ok(answer)));
    let response = service.oneshot(request).await.unwrap();
    assert_eq!(response.status(), 429);
    assert_eq!(response.headers()["retry-after"], "7");
    assert_eq!(response.headers().len(), 1);

    let mut body = response.into_body();
    assert_eq!((body.size_hint().exact(), body.is_end_stream()), (Some(5), false));
    let seen = drain(&mut body).await;
    assert_eq!(&seen.data[..], b"abcde");
    assert_eq!(seen.trailers.unwrap()["x-sum"], "1");
    assert!(log.dropped_at().is_some(), "the inner body is gone at the end");
    assert!(body.is_end_stream() && drain(&mut body).await.frames.is_empty());
    assert!(exchange.fact::<EarlyHead>().is_none() && exchange.cause().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_at_its_end_says_so() {
    let (request, _) = asking();
    let service = EarlyHeadLayer::new(AFTER).layer(answering(SECOND, sse(Script::new())));
    assert!(service.oneshot(request).await.unwrap().into_body().is_end_stream());
}

#[tokio::test(start_paused = true)]
async fn an_error_of_the_body_is_handed_on_and_nothing_follows() {
    let (request, exchange) = asking();
    let script = Script::new().data("a").error("boom").data("late");
    let service = EarlyHeadLayer::new(AFTER).layer(answering(SECOND, sse(script)));
    let mut body = service.oneshot(request).await.unwrap().into_body();
    let seen = drain(&mut body).await;
    assert!(seen.error.unwrap().is::<ScriptError>());
    assert!(body.frame().await.is_none());
    assert!(exchange.cause().is_none(), "it is for others to say");
}

#[tokio::test(start_paused = true)]
async fn at_the_same_moment_the_true_head_wins() {
    let (request, exchange) = asking();
    let answer = Response::builder().status(503).body(Script::new()).unwrap();
    let service = EarlyHeadLayer::new(AFTER).layer(answering(AFTER, Ok(answer)));
    assert_eq!(service.oneshot(request).await.unwrap().status(), 503);
    assert!(exchange.fact::<EarlyHead>().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_service_error_in_time_is_the_services_own() {
    let (request, exchange) = asking();
    let service =
        EarlyHeadLayer::new(AFTER).layer(answering(SECOND, Err(ScriptError::new("refused"))));
    let error: ScriptError = service.oneshot(request).await.unwrap_err();
    assert_eq!((error.to_string(), exchange.cause().is_none()), ("refused".into(), true));
}

#[tokio::test(start_paused = true)]
async fn a_tunnel_is_handed_on_untouched() {
    for (method, status) in [(Method::GET, 101), (Method::CONNECT, 200)] {
        let (mut request, _) = asking();
        *request.method_mut() = method;
        let body = Script::new().data("raw").exact_size(3);
        let answer = Response::builder().status(status).body(body).unwrap();
        let service = EarlyHeadLayer::new(AFTER).layer(answering(SECOND, Ok(answer)));
        let response = service.oneshot(request).await.unwrap();
        assert_eq!((response.status().as_u16(), response.headers().len()), (status, 0));
        assert_eq!(response.body().size_hint().exact(), Some(3));
        assert_eq!(drain(response.into_body()).await.data, "raw");
    }
}

#[tokio::test(start_paused = true)]
async fn head_and_connect_get_no_early_head_and_nobody_is_asked() {
    for method in [Method::HEAD, Method::CONNECT] {
        let (mut request, exchange) = asking();
        *request.method_mut() = method;
        let layer = EarlyHeadLayer::new(AFTER).when(|_| || panic!("asked"));
        let answer = Response::builder().status(404).body(Script::new()).unwrap();
        let response = layer.layer(answering(LATE, Ok(answer))).oneshot(request).await.unwrap();
        assert_eq!(response.status(), 404);
        assert!(exchange.fact::<EarlyHead>().is_none());
    }
}

/// A service that never answers, and holds this.
fn holding(
    log: &Log,
) -> impl Service<Request<()>, Response = Response<Script>, Error = ScriptError> + Clone + use<> {
    let log = log.clone();
    service_fn(move |_: Request<()>| {
        let held = Script::new().log_into(&log);
        async move {
            let _held = held;
            pending::<Answer>().await
        }
    })
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_before_the_time_takes_the_inner_future_with_it() {
    let ((request, exchange), log) = (asking(), Log::new());
    let call = EarlyHeadLayer::new(AFTER).layer(holding(&log)).oneshot(request);
    assert!(timeout(SECOND, call).await.is_err());
    assert_eq!(log.story(), [Event::Dropped { panicking: false }]);
    assert!(exchange.cause().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_panic_before_the_time_goes_on_to_the_caller() {
    let (request, _) = asking();
    let service = EarlyHeadLayer::new(AFTER).layer(service_fn(|request: Request<()>| async move {
        sleep(SECOND).await;
        assert_eq!(request.uri().path(), "/other", "boom");
        sse(Script::new())
    }));
    let call = tokio::spawn(async { service.oneshot(request).await.map(|_| ()) });
    assert!(call.await.is_err_and(|error| error.is_panic()));
}

#[tokio::test(start_paused = true)]
async fn polled_after_its_end_a_call_does_nothing() {
    let mut service = EarlyHeadLayer::new(AFTER).layer(answering(SECOND, sse(Script::new())));
    let mut call = pin!(service.ready().await.unwrap().call(asking().0));
    assert!(format!("{call:?}").starts_with("EarlyHeadFuture { after: 5s"));
    let body = call.as_mut().await.unwrap().into_body();
    assert!(format!("{body:?}").contains("streaming"));
    assert!(poll_fn(|cx| Poll::Ready(call.as_mut().poll(cx).is_pending())).await);
}

#[tokio::test(start_paused = true)]
async fn a_request_to_upgrade_has_no_early_head_and_one_that_only_offers_h2c_has() {
    for (upgrades, status) in [
        (&["websocket"][..], 101),
        (&["WebSocket"], 101),
        (&["h2c, websocket"], 101),
        (&["h2c", "foo/2"], 101),
        (&["h2c"], 200),
        (&[" H2C ,"], 200),
        (&[""], 200),
        (&[], 200),
    ] {
        let (mut request, _) = asking();
        for upgrade in upgrades {
            request.headers_mut().append(header::UPGRADE, upgrade.parse().unwrap());
        }
        let answer = Response::builder().status(101).body(Script::new()).unwrap();
        let service = EarlyHeadLayer::new(AFTER).layer(answering(LATE, Ok(answer)));
        let response = service.oneshot(request).await.unwrap();
        assert_eq!(response.status(), status, "{upgrades:?}");
    }
}
