//! What a decoder reads.

use bytes::Bytes;

use super::failure::{is_failure, tells_failure};

/// What was read from a stream of events.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Decoded {
    /// An event.
    Event(DecodedEvent),
    /// An event is larger than the limit. Said once, when that is known; its rest is skipped.
    TooLarge,
}

/// An event as a client sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodedEvent {
    // Text, checked when it was read.
    pub(super) event_type: Bytes,
    pub(super) data: Bytes,
    pub(super) last_event_id: Bytes,
}

impl DecodedEvent {
    /// The type: `message` where the stream named none.
    pub fn event_type(&self) -> &str {
        if self.event_type.is_empty() { "message" } else { text(&self.event_type) }
    }

    /// The data, its lines joined by LF. As it came over the wire: text by the standard, but not checked to be UTF-8. One
    /// line that lies in one chunk is not copied.
    pub const fn data(&self) -> &Bytes {
        &self.data
    }

    /// Takes the data.
    pub fn into_data(self) -> Bytes {
        self.data
    }

    /// The last id that the stream has given so far, with this event or before; empty if none.
    pub fn last_event_id(&self) -> &str {
        text(&self.last_event_id)
    }

    /// Whether this is a heartbeat: an event of the type `ping`, as Anthropic sends it.
    pub fn is_ping(&self) -> bool {
        *self.event_type == *b"ping"
    }

    /// Whether this tells of a failure, in one of the ways that providers of language models do.
    ///
    /// The type is `error` or `response.failed`; or the data is a JSON object that has one of these for its own `type`, or
    /// a member `error` of its own in which something is: not `null`, `false`, `0`, `""`, `{}` or `[]`. Members of inner objects
    /// are not meant. JSON-RPC is: an object with a member `jsonrpc` answers one call of many.
    ///
    /// ```
    /// use tower_lifeline::sse::{Decoded, Decoder};
    ///
    /// let mut decoder = Decoder::new();
    /// let mut is_error = |event: &'static str| {
    ///     let decoded = decoder.decode(&mut event.into());
    ///     matches!(decoded, Some(Decoded::Event(event)) if event.is_error())
    /// };
    /// assert!(is_error("data: {\"error\":{\"message\":\"Overloaded\",\"code\":529}}\n\n"));
    /// assert!(!is_error("data: {\"choices\":[{\"delta\":{\"content\":\"\\\"error\\\":\"}}],\"error\":null}\n\n"));
    /// ```
    pub fn is_error(&self) -> bool {
        is_failure(&self.event_type) || tells_failure(&self.data)
    }
}

/// Reads bytes that are known to be text.
pub(super) fn text(bytes: &Bytes) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}
