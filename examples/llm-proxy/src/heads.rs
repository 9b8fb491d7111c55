//! How large the head of a request or a response may be, the same on HTTP/1 and HTTP/2.

use http::{HeaderMap, request, response};

#[cfg(test)]
mod tests;

/// What passes: so many bytes, as they would be in HTTP/1 ...
const BYTES: usize = 64 * 1024;
/// ... in so many fields.
const FIELDS: usize = 256;
/// What is answered at all. Beyond this it is as if hyper could not read it.
const MOST: usize = 128 * 1024;

/// hyper's own limits: all that is answered is read, and not much more.
pub(crate) const READ_BUFFER: usize = MOST + 32 * 1024;
/// hyper makes room for so many fields before it reads a head.
pub(crate) const READ_FIELDS: usize = 1024;
/// HTTP/2 counts 32 bytes more for each field (RFC 9113, 6.5.2).
pub(crate) const LIST: u32 = (MOST + 32 * READ_FIELDS) as u32;

/// How large a head is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Size {
    Fits,
    TooLarge,
    /// Not worth an answer.
    FarTooLarge,
}

impl Size {
    pub(crate) fn of_request(head: &request::Parts) -> Self {
        // The parts of the target are in pseudo-fields in HTTP/2, and in the first line and `host` in HTTP/1.
        let target = head.uri.path_and_query().map_or(1, |target| target.as_str().len());
        let host = head
            .uri
            .authority()
            .map_or(0, |authority| "host: \r\n".len() + authority.as_str().len());
        let line = head.method.as_str().len() + target + "  HTTP/1.1\r\n".len();
        Self::of(line + host, &head.headers)
    }

    pub(crate) fn of_response(head: &response::Parts) -> Self {
        Self::of("HTTP/1.1 200 \r\n".len(), &head.headers)
    }

    fn of(first_line: usize, headers: &HeaderMap) -> Self {
        let field = |name: &str, value: &[u8]| name.len() + value.len() + ": \r\n".len();
        let fields: usize =
            headers.iter().map(|(name, value)| field(name.as_str(), value.as_bytes())).sum();
        let bytes = first_line + fields + "\r\n".len();
        if bytes > MOST {
            Self::FarTooLarge
        } else if bytes > BYTES || headers.len() > FIELDS {
            Self::TooLarge
        } else {
            Self::Fits
        }
    }
}
