//! What the content type says of how a stream is made up.

use http::{HeaderMap, HeaderValue, header};

use crate::head::{essence, is_encoded};

/// What the content type promises.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::usage) enum Medium {
    Events,
    Lines,
    Json,
    Frames,
    /// It says nothing, or what servers say that do not know better.
    #[default]
    Unclear,
    /// Nothing that has usage.
    Other,
}

impl Medium {
    /// Reads the headers. Bytes with a content coding can not be read.
    pub(in crate::usage) fn of(headers: &HeaderMap) -> Self {
        if is_encoded(headers) {
            return Self::Other;
        }
        let value = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
        Self::of_type(value.unwrap_or_default())
    }

    pub(in crate::usage) fn of_type(value: &[u8]) -> Self {
        let essence = essence(value).to_ascii_lowercase();
        match &essence[..] {
            b"text/event-stream" => Self::Events,
            b"application/x-ndjson" | b"application/ndjson" | b"application/jsonl" => Self::Lines,
            b"application/vnd.amazon.eventstream" => Self::Frames,
            b"application/json" | b"text/json" => Self::Json,
            b"" | b"text/plain" | b"application/octet-stream" => Self::Unclear,
            other if other.ends_with(b"+json") => Self::Json,
            _ => Self::Other,
        }
    }
}
