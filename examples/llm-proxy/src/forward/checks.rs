//! What is wrong with a head in such a way that what follows it may be understood otherwise elsewhere.

use http::{
    HeaderMap, Version,
    header::{HOST, TRANSFER_ENCODING},
    request,
};

use super::{ForwardError, headers};

/// A request of HTTP/1.1 names its host once (RFC 9112, 3.2), and its body is chunked at most.
pub(super) fn request(head: &request::Parts) -> Result<(), ForwardError> {
    if head.version == Version::HTTP_11 && head.headers.get_all(HOST).iter().count() != 1 {
        return Err(ForwardError::Host);
    }
    if is_coded(&head.headers) { Err(ForwardError::RequestCoding) } else { Ok(()) }
}

/// Whether the body is in a transfer coding that only we would know of: hyper undoes `chunked`, and the header, which tells of
/// the others, is for one connection (RFC 9112, 6.1).
pub(super) fn is_coded(headers: &HeaderMap) -> bool {
    let mut codings = headers::tokens(headers, &TRANSFER_ENCODING);
    codings.next().is_some_and(|coding| !coding.eq_ignore_ascii_case(b"chunked"))
        || codings.next().is_some()
}
