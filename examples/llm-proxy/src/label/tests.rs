use std::convert::Infallible;

use http::{HeaderMap, Request, Response, StatusCode};
use tower::{Layer, ServiceExt, service_fn};
use tower_lifeline::exchange::Exchange;

use super::LabelLayer;

/// The headers that a client gets where the upstream sent these.
async fn labelled(status: StatusCode, sent: &[(&'static str, &'static str)]) -> HeaderMap {
    let headers: HeaderMap =
        sent.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
    let service = LabelLayer { replays: false }.layer(service_fn(move |_: Request<()>| {
        let mut response = Response::new(());
        *response.status_mut() = status;
        *response.headers_mut() = headers.clone();
        async { Ok::<_, Infallible>(response) }
    }));
    let mut request = Request::new(());
    let id = Exchange::of(&mut request).id().to_string();
    let response = service.oneshot(request).await.unwrap();
    assert_eq!(response.status(), status);
    let mut headers = response.headers().clone();
    let named: Vec<_> = headers.get_all("x-exchange-id").iter().collect();
    assert_eq!(named, [&id], "every response names its exchange, once");
    headers.remove("x-exchange-id");
    headers
}

fn values<'a>(headers: &'a HeaderMap, name: &str) -> Vec<&'a str> {
    headers.get_all(name).iter().map(|value| value.to_str().unwrap()).collect()
}

#[tokio::test]
async fn every_response_names_its_exchange_even_where_the_upstream_named_one() {
    for status in [StatusCode::OK, StatusCode::NO_CONTENT, StatusCode::BAD_GATEWAY] {
        labelled(status, &[]).await;
        labelled(status, &[("x-exchange-id", "the upstream's")]).await;
    }
}

#[tokio::test]
async fn an_event_stream_is_marked_as_one_not_to_be_buffered_or_cached() {
    for content_type in
        ["text/event-stream", "text/event-stream; charset=utf-8", "Text/Event-Stream"]
    {
        let headers = labelled(StatusCode::OK, &[("content-type", content_type)]).await;
        assert_eq!(values(&headers, "x-accel-buffering"), ["no"], "{content_type}");
        assert_eq!(values(&headers, "cache-control"), ["no-cache"], "{content_type}");
    }
}

#[tokio::test]
async fn what_the_upstream_said_of_its_event_stream_stays() {
    let sse = ("content-type", "text/event-stream");
    let headers = labelled(StatusCode::OK, &[sse, ("cache-control", "no-store")]).await;
    assert_eq!(values(&headers, "cache-control"), ["no-store"]);
    assert_eq!(values(&headers, "x-accel-buffering"), ["no"]);
    let headers = labelled(StatusCode::OK, &[sse, ("x-accel-buffering", "yes")]).await;
    assert_eq!(values(&headers, "x-accel-buffering"), ["yes"]);
    assert_eq!(values(&headers, "cache-control"), ["no-cache"]);
}

#[tokio::test]
async fn an_encoded_event_stream_is_one_too() {
    let sent = [("content-type", "text/event-stream"), ("content-encoding", "gzip")];
    let headers = labelled(StatusCode::OK, &sent).await;
    assert_eq!(values(&headers, "x-accel-buffering"), ["no"]);
    assert_eq!(values(&headers, "cache-control"), ["no-cache"]);
}

#[tokio::test]
async fn whatever_is_no_event_stream_gets_no_other_header() {
    for content_type in
        ["application/json", "application/x-ndjson", "text/event-stream-ish", "text/plain"]
    {
        let sent = ("content-type", content_type);
        let headers = labelled(StatusCode::OK, &[sent]).await;
        assert_eq!(headers.len(), 1, "{headers:?}");
    }
    assert!(labelled(StatusCode::OK, &[]).await.is_empty());
}

#[tokio::test]
async fn what_an_upstream_says_of_replays_does_not_pass_as_ours() {
    let headers = labelled(StatusCode::OK, &[("x-replay", "hit"), ("x-replay", "join")]).await;
    assert_eq!(values(&headers, "x-replay"), [""; 0]);
}
