//! The meter where it is used: in a layer.

use std::convert::Infallible;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Channel};
use tower::{Layer, ServiceExt, service_fn};

use super::{
    super::*,
    samples::{line, sample},
};

#[tokio::test]
async fn a_report_can_be_read_while_the_response_streams() {
    let sample = sample("anthropic.sse");
    let (mut upstream, body) = Channel::<Bytes>::new(1);
    let body = std::sync::Mutex::new(Some(body));
    let service = service_fn(|_: Request<()>| {
        let response = Response::builder().header("content-type", sample.content_type);
        let response = response.body(body.lock().unwrap().take().unwrap()).unwrap();
        async { Ok::<_, Infallible>(response) }
    });
    let mut request = Request::post("/v1/messages").body(()).unwrap();
    let exchange = Exchange::of(&mut request);
    let response = TeeLayer::usage().layer(service).oneshot(request).await.unwrap();
    let mut body = response.into_body();
    let report = exchange.fact::<UsageReport>().unwrap();
    assert_eq!(report.usage().dialect, Some(Dialect::Anthropic));

    let end = sample.body.len() - 30; // In the middle of the last event.
    upstream.send_data(sample.body.slice(..end)).await.unwrap();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), sample.body[..end]);
    assert_eq!(report.usage().output_tokens, Some(26));
    assert_eq!(report.usage().terminator, Terminator::Missing);

    upstream.send_data(sample.body.slice(end..)).await.unwrap();
    drop(upstream);
    assert_eq!(body.collect().await.unwrap().to_bytes(), sample.body[end..]);
    let expected = "anthropic claude-test in 2311 out 26 cached 2000 written 300 thoughts 20 end_turn reported seen";
    assert_eq!(line(&report.usage()), expected);
}
