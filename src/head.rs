//! What the head of a response says about its body. Every layer that asks such a question asks it here.

#[cfg(test)]
mod tests;

use http::{HeaderMap, HeaderValue, Method, StatusCode, header, response};
use http_body::Body;

/// The media types that a layer knows how to end or to keep alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Media {
    /// `text/event-stream`.
    EventStream,
    /// `application/x-ndjson` and its other spellings: one JSON value on each line.
    Ndjson,
    /// `application/grpc`, with any suffix. Not grpc-web, whose trailers are part of the body.
    Grpc,
    /// Anything else.
    Other,
}

impl Media {
    /// Reads the content type. A response with a content coding is [`Media::Other`]: its bytes are not the media's.
    pub fn of(headers: &HeaderMap) -> Self {
        let value = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
        let essence = essence(value.unwrap_or_default());
        let is = |name: &str| essence.eq_ignore_ascii_case(name.as_bytes());
        if is("application/grpc") || starts_with(essence, b"application/grpc+") {
            // gRPC compresses messages, not the body, so Content-Encoding says nothing here.
            Media::Grpc
        } else if is_encoded(headers) {
            Media::Other
        } else if is("text/event-stream") {
            Media::EventStream
        } else if is("application/x-ndjson") || is("application/ndjson") || is("application/jsonl")
        {
            Media::Ndjson
        } else {
            Media::Other
        }
    }
}

/// The type and subtype of a content type, without its parameters.
pub(crate) fn essence(content_type: &[u8]) -> &[u8] {
    content_type.split(|b| *b == b';').next().unwrap_or_default().trim_ascii()
}

fn starts_with(value: &[u8], prefix: &[u8]) -> bool {
    value.len() >= prefix.len() && value[..prefix.len()].eq_ignore_ascii_case(prefix)
}

pub(crate) fn is_encoded(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(header::CONTENT_ENCODING).iter();
    codings.any(|coding| !coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"identity"))
}

/// How long the body is, and whether there is one at all (truths.md, "how to tell the end").
#[derive(Clone, Copy, Debug)]
pub(crate) struct Framing {
    /// No body is sent, whatever the body says: RFC 9110 6.4.1.
    pub(crate) no_body: bool,
    /// The number of bytes after which the response is complete.
    pub(crate) expected: Option<u64>,
}

impl Framing {
    /// Of a body that goes on until it ends.
    pub(crate) const OPEN: Self = Self { no_body: false, expected: None };

    /// Reads a body that comes without a head.
    pub(crate) fn of_body<B: Body>(body: &B) -> Self {
        let expected = body.size_hint().exact();
        let no_body = body.is_end_stream() || expected == Some(0);
        Self { no_body, expected }
    }

    /// Reads a body with its head.
    pub(crate) fn of<B: Body>(method: &Method, head: &response::Parts, body: &B) -> Self {
        let of_body = Self::of_body(body);
        let expected = of_body.expected.or_else(|| content_length(&head.headers));
        let no_body = of_body.no_body || expected == Some(0) || forbids_body(method, head.status);
        Self { no_body, expected }
    }
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.trim().parse().ok()
}

/// Tells whether no body is sent, whatever the body says: RFC 9110 6.4.1.
pub(crate) fn forbids_body(method: &Method, status: StatusCode) -> bool {
    *method == Method::HEAD
        || status.is_informational()
        || status == StatusCode::NO_CONTENT
        || status == StatusCode::NOT_MODIFIED
        || is_tunnel(method, status)
}

/// Tells whether the connection becomes something else after this head: 101, or 2xx to CONNECT.
pub(crate) fn is_tunnel(method: &Method, status: StatusCode) -> bool {
    status == StatusCode::SWITCHING_PROTOCOLS || (*method == Method::CONNECT && status.is_success())
}

/// The mark, in the extensions of a response head, of a tunnel whose bytes are the body of the response. See
/// [`tunnel`](crate::tunnel).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tunnel;

/// Tells whether the connection becomes something else whose bytes are the body.
pub(crate) fn is_tunnel_body(method: &Method, head: &response::Parts) -> bool {
    is_tunnel(method, head.status) && head.extensions.get::<Tunnel>().is_some()
}

/// Tells whether the connection becomes something else that the body knows nothing of.
pub(crate) fn is_bare_tunnel(method: &Method, head: &response::Parts) -> bool {
    is_tunnel(method, head.status) && !is_tunnel_body(method, head)
}

/// Tells whether bytes may be added to the body or left out of it (protocol.md 1d): not where a length, a digest, a
/// range or a signature speaks of exactly these bytes, and not where there is no body.
pub(crate) fn is_malleable<B: Body>(method: &Method, head: &response::Parts, body: &B) -> bool {
    let expected = Framing::of(method, head, body).expected;
    let sized = expected.is_some() || head.headers.contains_key(header::CONTENT_LENGTH);
    !sized && is_unbound(method, head, body)
}

/// The same, where a length can be taken away.
pub(crate) fn is_unbound<B: Body>(method: &Method, head: &response::Parts, body: &B) -> bool {
    !Framing::of(method, head, body).no_body
        && head.status != StatusCode::RESET_CONTENT
        && head.status != StatusCode::PARTIAL_CONTENT
        && !head.headers.contains_key(header::CONTENT_RANGE)
        && !is_signed(&head.headers)
}

/// Tells whether something speaks of exactly these bytes: a digest or a signature.
pub(crate) fn is_signed(headers: &HeaderMap) -> bool {
    let names = ["content-digest", "repr-digest", "digest", "signature"];
    names.iter().any(|name| headers.contains_key(*name))
}
