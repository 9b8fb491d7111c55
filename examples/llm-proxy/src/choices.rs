//! What the layers ask: which heartbeat, which handle, which limits, which last frame.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Response, StatusCode, header::CONNECTION, request, response};
use tower_lifeline::{
    Media,
    abort::{AbortHandle, AbortKind, AbortReason, AbortRegistry},
    detach::DrainLimits,
    early_head::{WantsStream, asks_for_event_stream},
    exchange::Exchange,
    final_frame::{Failure, Final},
    keepalive::Heartbeat,
    replay::{Key, MakeKey, MemoryStore, ReplayLayer, RequestKey},
    tee::Budget,
    timeouts::{Limits, TimedOut},
    usage::Dialect,
};

use crate::{books::Books, heads::Size, options::Options, reply};

#[cfg(test)]
mod tests;

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
        .upload(options.upload_timeout)
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

/// What Ollama and Bedrock answer besides what is metered, and what may be a stream of theirs.
const OTHER_STREAMS: [&str; 8] = [
    "/api/create",
    "/api/embeddings",
    "/api/pull",
    "/api/push",
    "/api/show",
    "/async-invoke",
    "/invoke-with-bidirectional-stream",
    "/retrieveAndGenerateStream",
];

/// Whether a request asks for an event stream: by its body, or its `Accept`.
///
/// Ollama and Bedrock have streams of another kind, and a head of the wrong kind would break their clients; Gemini's have it
/// in the query.
pub(crate) fn streams(request: &request::Parts) -> impl FnMut() -> bool + use<> {
    let path = request.uri.path().trim_end_matches('/');
    let query = request.uri.query().unwrap_or_default();
    let by_address = match Dialect::detect(path, None) {
        Some(Dialect::Ollama | Dialect::BedrockConverse | Dialect::BedrockInvoke) => Some(false),
        Some(Dialect::Gemini) if path.ends_with("streamGenerateContent") => {
            Some(query.split('&').any(|pair| pair == "alt=sse" || pair == "$alt=sse"))
        }
        _ if OTHER_STREAMS.iter().any(|end| path.ends_with(end)) => Some(false),
        _ => None,
    };
    let mut asks = asks_for_event_stream(request);
    move || by_address.unwrap_or_else(|| asks.wants_stream())
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

/// 504 in the same shape, or 408, for what hit a limit before its head.
pub(crate) fn timed_out(_: &Exchange, error: &TimedOut) -> Response<Bytes> {
    let status = error.status();
    let mut answer = reply::refusal(status, &error.to_string(), error.limit().as_str());
    if status == StatusCode::REQUEST_TIMEOUT {
        // RFC 9110, 15.5.9: the rest of the request is not waited for. hyper leaves the field out of HTTP/2.
        answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    answer
}

/// The answers that are served again, and whom to.
pub(crate) fn replay(options: &Options, captured: &Budget) -> ReplayLayer<MemoryStore, Replays> {
    let bytes = |limit: Option<usize>| limit.unwrap_or(usize::MAX);
    let time = options.replay.unwrap_or_default();
    let store = MemoryStore::new(bytes(options.capture_total) as u64, time);
    let paths = options.replay_path.iter();
    let key = paths.fold(RequestKey::new(), |key, path| key.also(Method::POST, path));
    let key = options.replay_ignore.iter().cloned().fold(key, RequestKey::ignore);
    let layer = ReplayLayer::new(store, Replays(options.replay.map(|_| key)));
    let requests = Budget::new(bytes(options.upload_total));
    let layer = layer.requests_within(&requests);
    layer.answer_limit(bytes(options.capture)).within(captured).coalesce()
}

/// Which requests are equal. `off`: none.
#[derive(Clone, Debug)]
pub(crate) struct Replays(Option<RequestKey>);

impl MakeKey for Replays {
    fn may_have_key(&self, request: &request::Parts) -> bool {
        // The refusal of a head is for nobody else.
        let fits = || Size::of_request(request) == Size::Fits;
        self.0.as_ref().is_some_and(|key| key.may_have_key(request) && fits())
    }

    fn key(&self, request: &request::Parts, body: &[Bytes]) -> Option<Key> {
        self.0.as_ref()?.key(request, body)
    }
}
