use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};
use testkit::{Script, drain};
use tower::{Layer, ServiceExt, service_fn};
use tower_lifeline::{
    Media,
    abort::{AbortBody, AbortHandle, AbortRegistry},
    early_head::AsksForStream,
    exchange::Exchange,
    final_frame::FinalFrameBody,
    keepalive::{Heartbeat, IdleKeepaliveBody},
    tee::{TeeBody, TeeRequestLayer},
    timeouts::{self, TimedOut},
};

use super::{drain_limits, final_frame, handle, heartbeat, never_if_off, streams, timed_out};
use crate::{options::Options, testing::soon};

fn chosen(path: &str, content_type: &str) -> Heartbeat {
    let request = Request::get(path).body(()).unwrap().into_parts().0;
    let response = Response::builder().header("content-type", content_type).body(()).unwrap();
    heartbeat(&request)(&response.into_parts().0)
}

#[test]
fn the_heartbeat_is_the_one_that_the_clients_of_the_path_survive() {
    let sse = "text/event-stream";
    for (path, content_type, expected) in [
        ("/v1/messages", sse, Heartbeat::anthropic_ping()),
        ("/v1/messages?beta=true", sse, Heartbeat::anthropic_ping()),
        ("/anthropic/v1/messages", "Text/Event-Stream; charset=utf-8", Heartbeat::anthropic_ping()),
        ("/v1/messages/batches", sse, Heartbeat::comment()),
        ("/v1beta/models/g:streamGenerateContent?alt=sse", sse, Heartbeat::blank_line()),
        ("/v1/chat/completions", sse, Heartbeat::comment()),
        ("/v1/responses", sse, Heartbeat::comment()),
        ("/", sse, Heartbeat::comment()),
        ("/api/chat", "application/x-ndjson", Heartbeat::space()),
        ("/v1/messages", "application/x-ndjson", Heartbeat::space()),
        ("/v1/messages", "application/json", Heartbeat::none()),
        ("/v1beta/models/g:streamGenerateContent", "application/json", Heartbeat::none()),
        ("/v1/chat/completions", "application/json", Heartbeat::none()),
        ("/grpc.Service/Method", "application/grpc", Heartbeat::none()),
        ("/", "application/octet-stream", Heartbeat::none()),
    ] {
        assert_eq!(chosen(path, content_type), expected, "{path} {content_type}");
    }
}

#[tokio::test(start_paused = true)]
async fn off_means_no_heartbeat_however_long_the_silence() {
    let silence = Duration::from_secs(10 * 365 * 24 * 60 * 60);
    for (keepalive, then) in [(None, "data: 2\n\n"), (Some(silence / 2), ": keep-alive\n")] {
        let script = Script::new().data("data: 1\n\n").sleep(silence).data("data: 2\n\n");
        let mut body =
            IdleKeepaliveBody::new(script, never_if_off(keepalive), Heartbeat::comment());
        for expected in ["data: 1\n\n", then] {
            let frame = body.frame().await.unwrap().unwrap();
            assert_eq!(frame.into_data().unwrap(), expected, "{keepalive:?}");
        }
    }
}

/// What is left of a body of this medium when it is aborted, and whether it ended cleanly.
async fn last_of(media: Media, begun: &'static str) -> (Bytes, bool) {
    let aborter = AbortHandle::new();
    let body = AbortBody::new(Script::new().data(begun).stall(), &aborter);
    let body = tokio::spawn(drain(FinalFrameBody::new(body, media, final_frame)));
    tokio::task::yield_now().await;
    assert!(aborter.abort("stop"));
    let read = soon(body).await.unwrap();
    (read.data, read.error.is_none())
}

#[tokio::test(start_paused = true)]
async fn only_an_event_stream_is_told_in_band_all_else_is_cut() {
    let (data, clean) = last_of(Media::EventStream, "data: 1\n\ndata: tw").await;
    let error = r#"{"type":"error","error":{"type":"aborted","message":"stop","code":"aborted"}}"#;
    assert_eq!(data, format!("data: 1\n\nevent: error\ndata: {error}\n\n"));
    assert!(clean);
    for media in [Media::Ndjson, Media::Other, Media::Grpc] {
        let (_, clean) = last_of(media, "").await;
        assert!(!clean, "{media:?}");
    }
    assert_eq!(last_of(Media::Ndjson, "{\"a\":1}\n").await.0, "{\"a\":1}\n");
}

#[test]
fn an_exchange_is_aborted_by_the_id_that_its_client_was_told() {
    let registry = AbortRegistry::new();
    let handle = handle(&registry);
    let mut request = Request::new(());
    let id = Exchange::of(&mut request).id().to_string();
    let other = {
        let mut request = Request::new(());
        Exchange::of(&mut request);
        handle(&request.into_parts().0)
    };
    let own = handle(&request.into_parts().0);
    assert_eq!(registry.abort(&id, "stop"), Some(true));
    assert_eq!(own.reason().unwrap().text(), "stop");
    assert!(!other.is_aborted());
}

#[test]
fn no_heartbeat_is_chosen_without_a_content_type() {
    let request = Request::get("/v1/messages").body(()).unwrap().into_parts().0;
    let head = Response::new(()).into_parts().0;
    assert_eq!(head.headers, HeaderMap::new());
    assert_eq!(heartbeat(&request)(&head), Heartbeat::none());
}

#[test]
fn a_drain_without_a_limit_has_none() {
    let read = |options: &[&str]| {
        let options = Options::read([&["llm-proxy"], options].concat()).unwrap();
        let limits = drain_limits(&options);
        (limits.time, limits.bytes, limits.streams)
    };
    let given = read(&["--drain=7s", "--drain-bytes=8B", "--drain-streams=9"]);
    assert_eq!(given, (Duration::from_secs(7), 8, 9));
    let off = read(&["--drain=off", "--drain-bytes=off", "--drain-streams=off"]);
    assert_eq!(off, (Duration::MAX, u64::MAX, usize::MAX));
}

#[test]
fn a_limit_that_was_hit_before_the_head_is_a_504_or_408_of_the_shape_of_all_errors() {
    use timeouts::Limit;
    for (limit, status, message, close) in [
        (Limit::Head, 504, "head timeout: no response head for 1.5s", None),
        (Limit::Total, 504, "total timeout: not finished in 1.5s", None),
        (Limit::Upload, 408, "upload timeout: nothing of the request for 1.5s", Some("close")),
    ] {
        let error = TimedOut::new(limit, Duration::from_millis(1500));
        let response = timed_out(&Exchange::new(), &error);
        assert_eq!(response.status(), status);
        let connection = response.headers().get("connection").map(|value| value.to_str().unwrap());
        assert_eq!(connection, close);
        let expected = format!(
            r#"{{"error":{{"code":"{limit}","message":"{message}","type":"timeout"}},"type":"error"}}"#
        );
        let body: serde_json::Value = serde_json::from_slice(&response.into_body()).unwrap();
        assert_eq!(body.to_string(), expected);
    }
}

/// Whether a request with this `Accept` is taken for one that asks for a stream, before its body is there and after.
async fn asks(path: &str, accept: &str, body: &str) -> [bool; 2] {
    let seen = Arc::new(Mutex::new(None));
    let service = TeeRequestLayer::new(AsksForStream::sink).layer(service_fn({
        let seen = seen.clone();
        move |request: Request<TeeBody<Full<Bytes>, _>>| {
            let (head, body) = request.into_parts();
            let mut asks = streams(&head);
            let seen = seen.clone();
            async move {
                let before = asks();
                body.collect().await.unwrap();
                *seen.lock().unwrap() = Some([before, asks()]);
                Ok::<_, std::convert::Infallible>(Response::new(()))
            }
        }
    }));
    let body = Full::new(Bytes::copy_from_slice(body.as_bytes()));
    service
        .oneshot(Request::post(path).header("accept", accept).body(body).unwrap())
        .await
        .unwrap();
    seen.lock().unwrap().take().unwrap()
}

#[tokio::test]
async fn a_request_asks_for_a_stream_by_its_body_or_its_accept() {
    let stream = r#"{"stream": true}"#;
    let sse = "text/event-stream";
    for path in ["/v1/chat/completions", "/v1/messages", "/", "/v1/models/x:generateContent"] {
        assert_eq!(asks(path, sse, "").await, [true, true]);
        assert_eq!(asks(path, "application/json", stream).await, [false, true]);
        assert_eq!(asks(path, "*/*", r#"{"stream": false}"#).await, [false, false]);
        // MCP: the server has the choice.
        assert_eq!(asks(path, "application/json, text/event-stream", "{}").await, [false, false]);
    }
}

#[tokio::test]
async fn a_stream_of_another_kind_is_none_whatever_the_request_says() {
    let stream = r#"{"stream": true}"#;
    for path in [
        "/api/chat",
        "/ollama/api/generate",
        "/model/anthropic.claude/converse-stream",
        "/model/anthropic.claude/invoke-with-response-stream",
        "/api/pull",
        "/ollama/api/create/",
        "/model/amazon.nova-sonic/invoke-with-bidirectional-stream",
    ] {
        assert_eq!(asks(path, "text/event-stream", stream).await, [false, false], "{path}");
    }
}

#[tokio::test]
async fn gemini_is_asked_for_a_stream_of_events_in_the_query() {
    let path = "/v1beta/models/gemini:streamGenerateContent";
    for (query, expect) in [
        ("", false),
        ("?alt=json", false),
        ("?key=alt=sse", false),
        ("?alt=sse", true),
        ("?key=k&alt=sse", true),
        ("?$alt=sse", true),
    ] {
        let target = format!("{path}{query}");
        assert_eq!(asks(&target, "*/*", "{}").await, [expect, expect], "{target}");
    }
    // Without it, it is an array of JSON.
    assert_eq!(asks(path, "text/event-stream", "{}").await, [false, false]);
}
