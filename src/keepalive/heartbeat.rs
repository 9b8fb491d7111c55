//! What is sent while nothing else is.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use http::response;

use crate::{
    contain::contain,
    head::Media,
    sse::{Boundary, DecodedEvent},
};

/// The bytes that tell a client, and every proxy on the way, that the stream is alive.
///
/// No heartbeat is understood by every client, so it is the user's choice, by request and head. Which client survives
/// which was measured (usage_wire.md 1):
///
/// | heartbeat | for | notes |
/// |---|---|---|
/// | [`comment`](Self::comment) | SSE, the default | `: keep-alive` and ONE line end; two of them break openai-python when the stream has ids |
/// | [`anthropic_ping`](Self::anthropic_ping) | Anthropic Messages | an event that its clients know; the OpenAI and Vercel ones would take it for data |
/// | [`blank_line`](Self::blank_line) | Gemini | its clients fail at comments, or silently lose the text |
/// | [`space`](Self::space) | NDJSON, the default | white space before the next record; a blank line breaks ollama-python |
/// | [`none`](Self::none) | all else | gRPC has the PING of HTTP/2 |
/// | [`from_last_event`](Self::from_last_event) | SSE with a protocol of its own | says how far the stream has come |
///
/// A heartbeat is for one media type. On a response of another the layer stands aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    pub(super) media: Media,
    /// Before the first event, where that is something else.
    pub(super) early: Option<Bytes>,
    pub(super) bytes: Bytes,
    pub(super) compute: Option<Compute>,
}

/// A function of the last event; equal to its clones only.
#[derive(Clone)]
pub(super) struct Compute(Arc<OfLast>);

type OfLast = dyn Fn(Option<&DecodedEvent>) -> Bytes + Send + Sync;

impl Compute {
    /// The bytes; none if they could not stand between two events, or the function panics.
    pub(super) fn bytes(&self, last: Option<&DecodedEvent>) -> Bytes {
        let bytes = contain(|| (self.0)(last)).unwrap_or_default();
        let whole = Boundary::default().feed(&bytes) == Some(bytes.len());
        if whole { bytes } else { Bytes::new() }
    }
}

impl PartialEq for Compute {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Compute {}

impl fmt::Debug for Compute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Compute")
    }
}

const COMMENT: &[u8] = b": keep-alive\n";

impl Heartbeat {
    /// Sends nothing.
    pub const fn none() -> Self {
        Self { media: Media::Other, early: None, bytes: Bytes::new(), compute: None }
    }

    /// An SSE comment, `: keep-alive`, as the HTML standard advises.
    pub const fn comment() -> Self {
        Self::events(Bytes::from_static(COMMENT))
    }

    /// Anthropic's `ping` event. Before the first event, which must be `message_start`, a comment in its place.
    pub const fn anthropic_ping() -> Self {
        let ping = Bytes::from_static(b"event: ping\ndata: {\"type\":\"ping\"}\n\n");
        let early = Some(Bytes::from_static(COMMENT));
        Self { media: Media::EventStream, early, bytes: ping, compute: None }
    }

    /// A blank line between SSE events.
    pub const fn blank_line() -> Self {
        Self::events(Bytes::from_static(b"\n"))
    }

    /// A space before the next NDJSON record.
    pub const fn space() -> Self {
        Self::lines(Bytes::from_static(b" "))
    }

    /// Bytes of your own between SSE events: whole lines, with their line ends.
    pub const fn events(bytes: Bytes) -> Self {
        Self { media: Media::EventStream, early: None, bytes, compute: None }
    }

    /// Bytes of your own between NDJSON records.
    pub const fn lines(bytes: Bytes) -> Self {
        Self { media: Media::Ndjson, early: None, bytes, compute: None }
    }

    /// Bytes that a function makes of the last event that was handed on, `None` before the first: its id
    /// ([`DecodedEvent::last_event_id`]), or a number in its data.
    ///
    /// ```
    /// use tower_lifeline::keepalive::Heartbeat;
    ///
    /// let heartbeat = Heartbeat::from_last_event(|last| match last {
    ///     Some(event) => format!(": at {}\n", event.last_event_id()).into(),
    ///     None => ": not begun\n".into(),
    /// });
    /// ```
    ///
    /// The function runs when a heartbeat is due. Nothing is sent for bytes that are not whole comments or events, nor when it
    /// panics. Events larger than 64 KiB are not read.
    pub fn from_last_event<F>(compute: F) -> Self
    where
        F: Fn(Option<&DecodedEvent>) -> Bytes + Send + Sync + 'static,
    {
        Self { compute: Some(Compute(Arc::new(compute))), ..Self::events(Bytes::new()) }
    }

    /// The default for a response: a comment for SSE, a space for NDJSON, nothing for all else.
    pub fn by_media(head: &response::Parts) -> Self {
        match Media::of(&head.headers) {
            Media::EventStream => Self::comment(),
            Media::Ndjson => Self::space(),
            Media::Grpc | Media::Other => Self::none(),
        }
    }
}
