//! The headers that every response carries.

use http::{
    HeaderMap, HeaderName, HeaderValue, Response, StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE},
    request,
};
use tower_layer::Layer;
use tower_lifeline::{
    exchange::Exchange,
    wrap::{Guard, Plan, Wrap},
};

use crate::books::Asked;

#[cfg(test)]
mod tests;

const EXCHANGE_ID: HeaderName = HeaderName::from_static("x-exchange-id");
/// Without it nginx holds a stream back until it has ended.
const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// Names the exchange on every response, and asks proxies not to buffer or cache a stream.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LabelLayer;

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
        Label(exchange.clone())
    }
}

/// The status that the client was given: a fact of the exchange, once there is a head.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Given(pub(crate) StatusCode);

#[derive(Debug)]
pub(crate) struct Label(Exchange);

impl<B, E> Guard<B, E> for Label {
    type Body = B;

    fn wrap(self, mut response: Response<B>) -> Response<B> {
        self.0.insert(Given(response.status()));
        let event_stream = is_event_stream(response.headers());
        let headers = response.headers_mut();
        if let Ok(id) = HeaderValue::try_from(self.0.id().to_string()) {
            headers.insert(EXCHANGE_ID, id);
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
