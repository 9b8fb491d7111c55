//! What the layers ask: which heartbeat, which handle, which last frame.

use std::time::Duration;

use bytes::Bytes;
use http::{Response, StatusCode, request, response};
use tower_lifeline::{
    Media,
    abort::{AbortHandle, AbortReason, AbortRegistry},
    exchange::Exchange,
    final_frame::{Failure, Final},
    keepalive::Heartbeat,
    tee::{Budget, Limit},
};

use crate::{books::Books, reply};

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

/// `off` is an interval that no stream lives to see.
pub(crate) fn interval(keepalive: Option<Duration>) -> Duration {
    keepalive.unwrap_or(Duration::MAX)
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

/// 503 in the shape of all our errors, for what was aborted before its head.
pub(crate) fn answer(
    books: &Books,
) -> impl Fn(&Exchange, &AbortReason) -> Response<Bytes> + Send + Sync + use<> {
    let books = books.clone();
    move |exchange, reason| {
        books.turned_away(exchange, reason);
        reply::refusal(StatusCode::SERVICE_UNAVAILABLE, reason.text(), reason.text())
    }
}

pub(crate) fn capture(bytes: Option<usize>, total: Option<usize>) -> Limit {
    let limit = Limit::first(bytes.unwrap_or(usize::MAX));
    match total {
        Some(total) => limit.within(&Budget::new(total)),
        None => limit,
    }
}
