//! Which headers pass: all that are for the other end, none that are for this connection (RFC 9110, 7.6.1).

use http::{
    HeaderMap, HeaderName, HeaderValue, Method,
    header::{
        ACCEPT_ENCODING, CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, HOST, PROXY_AUTHENTICATE,
        PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING, UPGRADE,
    },
};

use crate::upstream::Protocol;

#[cfg(test)]
mod tests;

const HOP_BY_HOP: [HeaderName; 8] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Removes what was meant for one connection only.
pub(super) fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> =
        tokens(headers, &CONNECTION).filter_map(|name| HeaderName::from_bytes(name).ok()).collect();
    // RFC 9112, 6.3: beside a Transfer-Encoding a Content-Length means nothing and must not be passed on.
    if headers.contains_key(TRANSFER_ENCODING) {
        headers.remove(CONTENT_LENGTH);
    }
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

/// Turns a client's request headers into those for the upstream.
pub(super) fn make_upstream(headers: &mut HeaderMap, protocol: Protocol) {
    let takes_trailers =
        tokens(headers, &TE).any(|coding| coding.eq_ignore_ascii_case(b"trailers"));
    strip_hop_by_hop(headers);
    if takes_trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
        if protocol == Protocol::Http1 {
            headers.insert(CONNECTION, HeaderValue::from_static("te"));
        }
    }
    // The client puts the upstream's own in its place.
    headers.remove(HOST);
    join_cookies(headers);
}

/// Asks for an answer as it is, where the client would take it in a coding: in one nobody between them can read what it costs
/// or put a heartbeat into it.
pub(super) fn ask_uncoded(headers: &mut HeaderMap) {
    if headers.contains_key(ACCEPT_ENCODING) {
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    }
}

/// Says that there is no body where one is usual (RFC 9110, 8.6): some servers answer 411 otherwise, some wait for it.
pub(super) fn announce_no_body(headers: &mut HeaderMap, method: &Method) {
    if [Method::POST, Method::PUT, Method::PATCH].contains(method) {
        headers.entry(CONTENT_LENGTH).or_insert(HeaderValue::from_static("0"));
    }
}

/// Whether the client waits to be told that its body is wanted.
pub(super) fn expects_continue(headers: &HeaderMap) -> bool {
    headers.get(EXPECT).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

/// HTTP/2 may split a cookie over several fields, which nobody else understands (RFC 9113, 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let crumbs: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if crumbs.len() > 1
        && let Ok(whole) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..]))
    {
        headers.insert(COOKIE, whole);
    }
}

/// The members of a comma-separated header.
pub(super) fn tokens<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
) -> impl Iterator<Item = &'a [u8]> {
    headers
        .get_all(name)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
}
