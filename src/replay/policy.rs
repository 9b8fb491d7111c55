//! Which responses may be kept.

use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header, response};

use crate::head::{Framing, Media, is_encoded, is_tunnel};

/// The headers that are kept unless more are chosen, the content type first: what the body is, and what it takes to understand
/// or to pass on the answer. Nothing that tells of the one call that gave it.
pub(super) const KEPT: [HeaderName; 11] = [
    header::CONTENT_TYPE,
    header::CONTENT_LANGUAGE,
    header::CONTENT_DISPOSITION,
    header::CACHE_CONTROL,
    header::VARY,
    header::LOCATION,
    header::ALLOW,
    header::RETRY_AFTER,
    header::WWW_AUTHENTICATE,
    // Without it hyper sends no trailers over HTTP/1 (truths.md 1), and nginx holds a stream back.
    header::TRAILER,
    HeaderName::from_static("x-accel-buffering"),
];

/// Tells by the head whether an answer may be kept for another request that is equal.
pub(super) fn may_keep(method: &Method, head: &response::Parts, framing: &Framing) -> bool {
    head.status.is_success() && !framing.no_body && may_share(method, head)
}

/// Tells by the head whether an answer, be it a failure, may be given to another request that is equal.
pub(super) fn may_share(method: &Method, head: &response::Parts) -> bool {
    let headers = &head.headers;
    // These answer headers that a key may leave out.
    head.status != StatusCode::PARTIAL_CONTENT
        && head.status != StatusCode::PRECONDITION_FAILED
        && head.status != StatusCode::EXPECTATION_FAILED
        // 304 does, too; and the others say where to go in a header that is not kept.
        && !head.status.is_redirection()
        && !is_tunnel(method, head.status)
        // A session that was begun, a client of whom only the service knows, a coding that another may not read.
        && !headers.contains_key(header::SET_COOKIE)
        && !directives(headers).any(|said| said == "no-store" || said == "private")
        && !headers.get_all(header::VARY).iter().any(|vary| vary.as_bytes().contains(&b'*'))
        && !is_encoded(headers)
        // Its status is in the trailers.
        && Media::of(headers) != Media::Grpc
}

/// The names of the directives of `cache-control`, in lower case.
pub(super) fn directives(headers: &HeaderMap) -> impl Iterator<Item = String> {
    tokens(headers, &header::CACHE_CONTROL).map(|directive| {
        let name = directive.split(|b| *b == b'=').next().unwrap_or_default();
        String::from_utf8_lossy(name.trim_ascii()).to_ascii_lowercase()
    })
}

/// The members of a comma-separated header.
pub(super) fn tokens<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
) -> impl Iterator<Item = &'a [u8]> {
    let lines = headers.get_all(name).iter().map(HeaderValue::as_bytes);
    let tokens = lines.flat_map(|line| line.split(|b| *b == b',')).map(<[u8]>::trim_ascii);
    tokens.filter(|token| !token.is_empty())
}

/// Takes over the status, and the headers that are to be kept.
pub(super) fn kept_head(head: &response::Parts, names: &[HeaderName]) -> Response<()> {
    let mut kept = Response::new(());
    *kept.status_mut() = head.status;
    for name in names {
        for value in head.headers.get_all(name) {
            kept.headers_mut().append(name, value.clone());
        }
    }
    kept
}
