//! Headers that pin nothing.

use bytes::BytesMut;
use http::{HeaderMap, HeaderValue};

/// What a field takes besides its text: its place in the table, and in the index of that.
const PER_FIELD: usize = 128;

/// A copy of its own. hyper's values are slices of the buffer that the head was read into.
pub(crate) fn compact(headers: &HeaderMap) -> HeaderMap {
    let mut text = BytesMut::with_capacity(headers.values().map(HeaderValue::len).sum());
    let mut copy = HeaderMap::with_capacity(headers.keys_len());
    for (name, value) in headers {
        text.extend_from_slice(value.as_bytes());
        // Never fails: it was a value before.
        if let Ok(mut own) = HeaderValue::from_maybe_shared(text.split().freeze()) {
            own.set_sensitive(value.is_sensitive());
            // The name, unlike the value, is always an allocation of its own.
            copy.append(name.clone(), own);
        }
    }
    copy
}

/// The memory that such a copy takes, about.
pub(crate) fn memory(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| PER_FIELD + name.as_str().len() + value.len()).sum()
}
