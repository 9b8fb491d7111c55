//! The gRPC statuses that are made here, and where one message ends and the next begins.

#[cfg(test)]
mod tests;

use std::fmt::Write;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, header};

use crate::exchange::Cause;

/// The code that says best why a response was cut or failed.
pub(crate) const fn code(cause: &Cause) -> u16 {
    match cause {
        Cause::Aborted(reason) => reason.kind().grpc_code(),
        Cause::TimedOut(_) => 4,
        Cause::Panicked(_) => 13,
        _ => 14,
    }
}

/// The trailers that end a gRPC response with a status.
pub(crate) fn trailers(code: u16, message: &str) -> HeaderMap {
    let mut trailers = HeaderMap::with_capacity(2);
    trailers.insert("grpc-status", HeaderValue::from(code));
    if let Ok(message) = HeaderValue::try_from(percent_encoded(message)) {
        trailers.insert("grpc-message", message);
    }
    trailers
}

/// A response that is nothing but a status (gRPC over HTTP/2, "Trailers-Only").
pub(crate) fn trailers_only(code: u16, message: &str) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.headers_mut() = trailers(code, message);
    let grpc = HeaderValue::from_static("application/grpc");
    response.headers_mut().insert(header::CONTENT_TYPE, grpc);
    response
}

/// Encodes what the grammar of `grpc-message` demands and no more, since clients show the rest as it is; at most 1 KiB,
/// for the metadata of a response has 8 KiB in all (protocol.md 1e). Never cut in the middle of a character: a client that
/// can not decode the message takes the code for `UNKNOWN`.
fn percent_encoded(message: &str) -> String {
    let mut encoded = String::new();
    for char in message.chars() {
        if encoded.len() + 3 * char.len_utf8() > 1024 {
            break;
        }
        match char {
            ' '..='~' if char != '%' => encoded.push(char),
            _ => {
                for byte in char.encode_utf8(&mut [0; 4]).bytes() {
                    // Writing to a String does not fail.
                    let _ = write!(encoded, "%{byte:02X}");
                }
            }
        }
    }
    encoded
}

/// Follows the length-prefixed messages of a gRPC body: one flag byte, four bytes of length, the message.
#[derive(Debug, Default)]
pub(crate) struct Messages {
    prefix: [u8; 5],
    prefix_len: usize,
    /// Bytes of the message that are still to come.
    missing: u64,
}

impl Messages {
    pub(crate) fn feed(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.missing > 0 {
                let skipped = bytes.len().min(usize::try_from(self.missing).unwrap_or(usize::MAX));
                self.missing -= skipped as u64;
                bytes = &bytes[skipped..];
            } else {
                self.prefix[self.prefix_len] = bytes[0];
                self.prefix_len += 1;
                bytes = &bytes[1..];
            }
            if self.prefix_len == self.prefix.len() && self.missing == 0 {
                let [_, length @ ..] = self.prefix;
                self.missing = u64::from(u32::from_be_bytes(length));
                self.prefix_len = 0;
            }
        }
    }

    /// Whether the next byte would begin a message.
    pub(crate) const fn at_boundary(&self) -> bool {
        self.prefix_len == 0 && self.missing == 0
    }
}
