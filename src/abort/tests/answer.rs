//! What is answered in place of a head that will never come.

use http::{Method, Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use testkit::{Script, ScriptError};
use tower::{Layer, ServiceExt, service_fn};

use super::*;
use crate::{
    abort::{AbortKind, AbortLayer, AbortReason},
    exchange::{Exchange, Outcome},
};

/// The answer to a call that was aborted before.
async fn answer(
    request: Request<()>,
    reason: AbortReason,
) -> Response<super::super::AbortBody<Script>> {
    let handle = AbortHandle::new();
    handle.abort(reason);
    let service = AbortLayer::new(move |_| handle.clone()).layer(service_fn(unreachable));
    service.oneshot(request).await.unwrap()
}

async fn unreachable(_: Request<()>) -> Result<Response<Script>, ScriptError> {
    panic!("the inner service is called")
}

#[tokio::test]
async fn it_is_503_with_the_reason_as_text() {
    let response = answer(Request::new(()), "maintenance".into()).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(response.headers()[header::CONTENT_TYPE], "text/plain; charset=utf-8");
    assert_eq!(response.body().size_hint().exact(), Some(21));
    assert!(!response.body().is_end_stream());
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "aborted: maintenance\n");
}

#[tokio::test]
async fn a_grpc_request_is_answered_with_trailers_only_and_the_code_of_the_kind() {
    let kinds = [
        (AbortKind::Requested, "1"),
        (AbortKind::Deadline, "4"),
        (AbortKind::Overload, "8"),
        (AbortKind::Shutdown, "14"),
        (AbortKind::Custom("quota".into()), "1"),
    ];
    for (kind, code) in kinds {
        let request = Request::builder()
            .method(Method::POST)
            .header("content-type", "application/grpc+proto");
        let reason = AbortReason::new(kind).with_text("50% \u{e9}");
        let response = answer(request.body(()).unwrap(), reason).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["grpc-status"], code);
        assert_eq!(response.headers()["grpc-message"], "50%25 %C3%A9");
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/grpc");
        assert!(response.body().is_end_stream());
        assert_eq!(response.body().size_hint().exact(), Some(0));
        assert!(response.into_body().frame().await.is_none());
    }
}

#[tokio::test]
async fn a_function_may_answer_and_is_told_the_exchange_and_the_reason() {
    let handle = AbortHandle::new();
    handle.abort(AbortKind::Overload);
    let layer = AbortLayer::new(move |_: &_| handle.clone()).answer(
        |exchange: &Exchange, reason: &AbortReason| {
            assert_eq!(exchange.cause().unwrap().outcome(), Outcome::Aborted);
            let response =
                Response::builder().status(429).header("x-exchange-id", exchange.id().to_string());
            response.body(Bytes::from(reason.text().to_owned())).unwrap()
        },
    );
    let mut request =
        Request::builder().header("content-type", "application/grpc").body(()).unwrap();
    let id = Exchange::of(&mut request).id().to_string();
    let response = layer.layer(service_fn(unreachable)).oneshot(request).await.unwrap();
    assert_eq!(
        (response.status().as_u16(), &response.headers()["x-exchange-id"]),
        (429, &id.parse().unwrap())
    );
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "overload");
}

// HTTP/2 knows no data in answer to HEAD, and hyper would send it (truths.md 1).
#[tokio::test]
async fn the_answer_to_head_has_no_body() {
    let request = Request::builder().method(Method::HEAD).body(()).unwrap();
    let response = answer(request, "maintenance".into()).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(response.headers()[header::CONTENT_LENGTH], "21");
    assert!(response.body().is_end_stream());
}
