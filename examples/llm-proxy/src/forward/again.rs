//! Whether a request that failed may be sent once more: only if that can not make the upstream do a thing twice.

use std::{error::Error, io};

use h2::Reason;
use http::{HeaderMap, Method};
use hyper_util::client::legacy::{self, connect::Connected};

use super::upload;
use crate::upstream::Protocol;

/// Whether a client may repeat such a request without knowing what became of it (RFC 9110, 9.2.2).
pub(super) fn is_repeatable(method: &Method, headers: &HeaderMap) -> bool {
    method.is_idempotent() || headers.contains_key("idempotency-key")
}

/// Whether a request that failed so may be sent once more.
///
/// | failure | may be sent once more |
/// |---|---|
/// | no connection could be made | no: it was not sent |
/// | its body broke off | no: the client's doing |
/// | nothing of it was written | yes |
/// | h2: REFUSED_STREAM; GOAWAY with a last stream below its own (RFC 9113, 8.7) | yes |
/// | h2: anything else, the end of its connection too | no |
/// | h1: the connection ended before the answer's head | if it is repeatable: that the connection is gone proves nothing |
/// | h1: what came is no answer | no |
pub(super) fn is_allowed(error: &legacy::Error, protocol: Protocol, repeatable: bool) -> bool {
    if error.is_connect() || find::<upload::UploadFailed>(error).is_some() {
        return false;
    }
    if let Some(error) = find::<h2::Error>(error) {
        // h2 fails those streams alone with a GOAWAY of the other side that are above its last one.
        return error.is_remote()
            && (error.is_go_away() || error.reason() == Some(Reason::REFUSED_STREAM));
    }
    let Some(failed) = find::<hyper::Error>(error) else {
        return false;
    };
    // hyper hands a request back, canceled, as long as it waits for its connection.
    if failed.is_canceled() || failed.is_closed() {
        return true;
    }
    // What ends an HTTP/2 connection is an error of the transport's, too, for hyper.
    let http2 = match protocol {
        Protocol::Http1 => false,
        Protocol::Http2 => true,
        Protocol::Tls => error.connect_info().is_none_or(Connected::is_negotiated_h2),
    };
    let ended = failed.is_incomplete_message() || find::<io::Error>(failed).is_some();
    repeatable && !http2 && ended
}

/// The first error of this type in the chain of causes.
pub(super) fn find<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    error.downcast_ref().or_else(|| find(error.source()?))
}
