//! What the layers ask: which heartbeat, which handle, which limits, which last frame.

use std::time::Duration;

use bytes::Bytes;
use http::{
    HeaderName, HeaderValue, Response, StatusCode,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, COOKIE, PROXY_AUTHORIZATION},
    request, response,
};
use tower_lifeline::{
    Media,
    abort::{AbortHandle, AbortKind, AbortReason, AbortRegistry},
    detach::DrainLimits,
    early_head::accepts_event_stream,
    exchange::Exchange,
    final_frame::{Failure, Final},
    keepalive::Heartbeat,
    replay::{MakeKey, MemoryStore, ReplayLayer, RequestKey},
    tee::{Budget, Limit, RequestRecording},
    timeouts::{Limits, TimedOut},
};

use crate::{asks::asks_for_stream, books::Books, options::Options, reply};

#[cfg(test)]
mod tests;

/// Of a request's body; a client that asks for a stream further behind is taken for one that does not.
const BEGINNING: usize = 64 * 1024;

/// What must be the same besides method, path, query and body for an answer to be served again.
const EQUAL: [HeaderName; 10] = [
    AUTHORIZATION,
    PROXY_AUTHORIZATION,
    HeaderName::from_static("x-api-key"),
    HeaderName::from_static("x-goog-api-key"),
    // Azure's two, and AWS's.
    HeaderName::from_static("api-key"),
    HeaderName::from_static("ocp-apim-subscription-key"),
    HeaderName::from_static("x-amz-security-token"),
    COOKIE,
    ACCEPT,
    CONTENT_TYPE,
];

/// The heartbeat that the clients of a dialect survive, by path and content type.
pub(crate) fn heartbeat(
    request: &request::Parts,
) -> impl FnOnce(&response::Parts) -> Heartbeat + use<> {
    let path = request.uri.path();
    let anthropic = path.ends_with("/v1/messages");
    let gemini = path.ends_with(":streamGenerateContent");
    move |head| match Media::of(&head.headers) {
        Media::EventStream if anthropic => Heartbeat::anthropic_ping(),
        Media::EventStream if gemini => Heartbeat::blank_line(),
        _ => Heartbeat::by_media(head),
    }
}

/// `off` is a time that no stream lives to see.
pub(crate) fn never_if_off(time: Option<Duration>) -> Duration {
    time.unwrap_or(Duration::MAX)
}

/// How long the client may take to read on. Apart from the others, which hold in a drain too: who stops reading is drained.
pub(crate) fn limit_on_client(options: &Options) -> Limits {
    Limits::new().unread(options.unread_timeout)
}

/// How long each part of an exchange may take.
pub(crate) fn limits_on_upstream(options: &Options) -> Limits {
    Limits::new()
        .head(options.head_timeout)
        .first_frame(options.first_frame_timeout)
        .idle(options.idle_timeout)
        .total(options.total_timeout)
}

/// How much is read after the client left.
pub(crate) fn drain_limits(options: &Options) -> DrainLimits {
    DrainLimits::new()
        .time(never_if_off(options.drain))
        .bytes(options.drain_bytes.map_or(u64::MAX, |bytes| bytes as u64))
        .streams(options.drain_streams.unwrap_or(usize::MAX))
}

/// What of a request is kept, where somebody wants to know whether it asks for a stream.
pub(crate) fn beginning(early_head: Option<Duration>) -> Limit {
    Limit::first(if early_head.is_some() { BEGINNING } else { 0 })
}

/// Whether a request asks for an event stream: its `Accept` says so, or the beginning of its body does once it is there.
///
/// What a client of Ollama's asks for in its body are lines of JSON, and a head of the wrong kind would break it.
pub(crate) fn streams(request: &request::Parts) -> impl FnMut() -> bool + use<> {
    let accepts = accepts_event_stream(&request.headers);
    let lines = ["/api/chat", "/api/generate"].iter().any(|end| request.uri.path().ends_with(end));
    let exchange = Exchange::get(&request.extensions).filter(|_| !lines);
    move || {
        let body = exchange.as_ref().and_then(Exchange::fact::<RequestRecording>);
        accepts || body.is_some_and(|RequestRecording(body)| asks_for_stream(&body.to_bytes()))
    }
}

/// An event of the type `error` for SSE; everything else is cut, so that no half of an answer passes for a whole one.
pub(crate) fn final_frame(failure: &Failure<'_>) -> Final {
    match failure.media {
        Media::EventStream => Final::sse_error(failure),
        _ => Final::Error,
    }
}

/// Each exchange is aborted by its id.
pub(crate) fn handle(
    registry: &AbortRegistry<String>,
) -> impl Fn(&request::Parts) -> AbortHandle + Clone + use<> {
    let registry = registry.clone();
    move |request| {
        let exchange = Exchange::get(&request.extensions).unwrap_or_default();
        registry.handle(exchange.id().to_string())
    }
}

/// 503 in the shape of all our errors, for what was aborted before its head. Clients retry a 5xx by themselves; what somebody
/// stopped is to stay stopped, but another replica may well answer what was lost to a shutdown.
pub(crate) fn aborted(
    books: &Books,
) -> impl Fn(&Exchange, &AbortReason) -> Response<Bytes> + Send + Sync + use<> {
    let books = books.clone();
    move |exchange, reason| {
        books.turned_away(exchange, reason);
        let code = reason.kind().as_str();
        let mut response = reply::refusal(StatusCode::SERVICE_UNAVAILABLE, reason.text(), code);
        if *reason.kind() != AbortKind::Shutdown {
            response.headers_mut().insert("x-should-retry", HeaderValue::from_static("false"));
        }
        response
    }
}

/// 504 in the same shape, for what hit a limit before its head.
pub(crate) fn timed_out(_: &Exchange, error: &TimedOut) -> Response<Bytes> {
    reply::refusal(StatusCode::GATEWAY_TIMEOUT, &error.to_string(), error.limit().as_str())
}

/// The answers that are served again, and whom to. `off`: nobody.
pub(crate) fn replay(
    options: &Options,
    captured: &Budget,
) -> ReplayLayer<MemoryStore, impl MakeKey + Clone + use<>> {
    let bytes = |limit: Option<usize>| limit.unwrap_or(usize::MAX);
    let time = options.replay.unwrap_or_default();
    let store = MemoryStore::new(bytes(options.capture_total) as u64, time);
    let (on, equal) = (options.replay.is_some(), RequestKey::of_headers(EQUAL));
    let key = move |request: &request::Parts, body: &[Bytes]| {
        if on { equal.key(request, body) } else { None }
    };
    let layer = ReplayLayer::new(store, key).answer_limit(bytes(options.capture));
    let layer = layer.within(captured).coalesce();
    // What has no key is not to wait for its body.
    if on { layer } else { layer.request_limit(0) }
}

/// What all recordings together may hold.
pub(crate) fn capture_total(bytes: Option<usize>) -> Budget {
    Budget::new(bytes.unwrap_or(usize::MAX))
}

/// What one recording may hold, as long as there is room in `total`.
pub(crate) fn capture(bytes: Option<usize>, total: &Budget) -> Limit {
    Limit::first(bytes.unwrap_or(usize::MAX)).within(total)
}
