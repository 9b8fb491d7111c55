//! What is sent while nothing else is.

use bytes::Bytes;
use http::response;

use crate::head::Media;

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
///
/// A heartbeat is for one media type. On a response of another the layer stands aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    pub(super) media: Media,
    /// Before the first event, where that is something else.
    pub(super) early: Option<Bytes>,
    pub(super) bytes: Bytes,
}

const COMMENT: &[u8] = b": keep-alive\n";

impl Heartbeat {
    /// Sends nothing.
    pub const fn none() -> Self {
        Self { media: Media::Other, early: None, bytes: Bytes::new() }
    }

    /// An SSE comment, `: keep-alive`, as the HTML standard advises.
    pub const fn comment() -> Self {
        Self::events(Bytes::from_static(COMMENT))
    }

    /// Anthropic's `ping` event. Before the first event, which must be `message_start`, a comment in its place.
    pub const fn anthropic_ping() -> Self {
        let ping = Bytes::from_static(b"event: ping\ndata: {\"type\":\"ping\"}\n\n");
        let early = Some(Bytes::from_static(COMMENT));
        Self { media: Media::EventStream, early, bytes: ping }
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
        Self { media: Media::EventStream, early: None, bytes }
    }

    /// Bytes of your own between NDJSON records.
    pub const fn lines(bytes: Bytes) -> Self {
        Self { media: Media::Ndjson, early: None, bytes }
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
