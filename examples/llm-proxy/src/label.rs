//! The headers that every response carries.

use http::{
    HeaderMap, HeaderName, HeaderValue, Response, StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE},
    request,
};
use tower_layer::Layer;
use tower_lifeline::{
    exchange::Exchange,
    replay::Replayed,
    wrap::{Guard, Plan, Wrap},
};

use crate::books::Asked;

#[cfg(test)]
mod tests;

pub(crate) const EXCHANGE_ID: HeaderName = HeaderName::from_static("x-exchange-id");
/// Without it nginx holds a stream back until it has ended.
const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// `hit`, `join` or `miss`.
const REPLAY: HeaderName = HeaderName::from_static("x-replay");

/// Names the exchange on every response, says whether it is a replay where there are any, and asks proxies not to buffer or
/// cache a stream.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LabelLayer {
    pub(crate) replays: bool,
}

impl<S> Layer<S> for LabelLayer {
    type Service = Wrap<S, Self>;

    fn layer(&self, inner: S) -> Self::Service {
        Wrap::new(inner, *self)
    }
}

impl Plan for LabelLayer {
    type Guard = Label;

    fn plan(&self, exchange: &Exchange, request: &request::Parts) -> Label {
        exchange.insert(Asked::of(request));
        Label { exchange: exchange.clone(), replays: self.replays }
    }
}

/// The status that the client was given: a fact of the exchange, once there is a head.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Given(pub(crate) StatusCode);

#[derive(Debug)]
pub(crate) struct Label {
    exchange: Exchange,
    replays: bool,
}

impl<B, E> Guard<B, E> for Label {
    type Body = B;

    fn wrap(self, mut response: Response<B>) -> Response<B> {
        self.exchange.insert(Given(response.status()));
        let event_stream = is_event_stream(response.headers());
        let headers = response.headers_mut();
        if let Ok(id) = HeaderValue::try_from(self.exchange.id().to_string()) {
            headers.insert(EXCHANGE_ID, id);
        }
        // What an upstream says of its own replays is not ours.
        headers.remove(REPLAY);
        if self.replays {
            // What can not be one is one that is not.
            let replayed = self.exchange.fact().unwrap_or(Replayed::Miss);
            headers.insert(REPLAY, HeaderValue::from_static(replayed.as_str()));
        }
        if event_stream {
            headers.entry(ACCEL_BUFFERING).or_insert(HeaderValue::from_static("no"));
            headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-cache"));
        }
        response
    }
}

/// By the content type alone: what was compressed must not be held back either.
fn is_event_stream(headers: &HeaderMap) -> bool {
    let value = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    let essence = value.split(|byte| *byte == b';').next().unwrap_or_default();
    essence.trim_ascii().eq_ignore_ascii_case(b"text/event-stream")
}
