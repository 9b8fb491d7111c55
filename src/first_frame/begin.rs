//! When a stream has begun.

use std::fmt;

use bytes::Bytes;
use http::response;

use super::FailedStart;
use crate::{
    head::Media,
    sse::{Decoded, Decoder, Joined},
};

/// What a predicate says of the beginning of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// It can not be told yet.
    Wait,
    /// The stream has begun: the head may go out.
    Begun,
    /// The stream tells of a failure.
    Failed,
}

/// Tells when the stream of one response has begun.
pub struct Begin(Kind);

enum Kind {
    AnyByte,
    // Boxed for its size.
    Event(Box<Decoder>),
    Own { predicate: Box<Predicate>, so_far: Option<Joined> },
}

type Predicate = dyn FnMut(&[u8]) -> Verdict + Send;

impl Begin {
    /// Begins with the first byte.
    pub const fn any_byte() -> Self {
        Self(Kind::AnyByte)
    }

    /// Begins with the first server-sent event that is neither a ping nor an error; comments are no events. An error is what
    /// [`DecodedEvent::is_error`](crate::sse::DecodedEvent::is_error) says. Should the stream end in an event that lacks its
    /// blank line, that one counts too.
    pub fn event() -> Self {
        Self(Kind::Event(Box::default()))
    }

    /// [`event`](Self::event) for server-sent events, [`any_byte`](Self::any_byte) for everything else.
    pub fn by_media(head: &response::Parts) -> Self {
        match Media::of(&head.headers) {
            Media::EventStream => Self::event(),
            Media::Ndjson | Media::Grpc | Media::Other => Self::any_byte(),
        }
    }

    /// Begins when `predicate` says so. After each frame it is called with all bytes so far, so that it makes no difference
    /// where they were cut.
    ///
    /// ```
    /// use tower_lifeline::first_frame::{Begin, FirstFrameLayer, Verdict};
    ///
    /// // A model that is overloaded often says so after `message_start`.
    /// let layer = FirstFrameLayer::new(|_head| Begin::when(|so_far| {
    ///     let has = |name: &str| so_far.windows(name.len()).any(|window| window == name.as_bytes());
    ///     match (has("event: content_block_start\n"), has("event: error\n")) {
    ///         (true, _) => Verdict::Begun,
    ///         (false, true) => Verdict::Failed,
    ///         (false, false) => Verdict::Wait,
    ///     }
    /// }));
    /// # let _ = tower_layer::Layer::layer(&layer, ());
    /// ```
    pub fn when(predicate: impl FnMut(&[u8]) -> Verdict + Send + 'static) -> Self {
        Self(Kind::Own { predicate: Box::new(predicate), so_far: None })
    }

    /// Looks at the next chunk. `None`: wait.
    pub(super) fn see(&mut self, chunk: &Bytes) -> Option<Result<(), FailedStart>> {
        match &mut self.0 {
            Kind::AnyByte => (!chunk.is_empty()).then_some(Ok(())),
            Kind::Event(decoder) => {
                let mut chunk = chunk.clone();
                std::iter::from_fn(|| decoder.decode(&mut chunk)).find_map(judge)
            }
            Kind::Own { predicate, so_far } => {
                match so_far {
                    Some(so_far) => so_far.push(chunk),
                    None => *so_far = Some(Joined::new(chunk.clone())),
                }
                let bytes = so_far.as_ref().map_or(&[][..], Joined::as_slice);
                match predicate(bytes) {
                    Verdict::Wait => None,
                    Verdict::Begun => Some(Ok(())),
                    Verdict::Failed => {
                        let bytes = so_far.take().map_or_else(Bytes::new, Joined::into_bytes);
                        Some(Err(FailedStart::InBand(bytes)))
                    }
                }
            }
        }
    }

    /// What a clean end means after all this was seen.
    pub(super) fn end(&mut self) -> Result<(), FailedStart> {
        match &mut self.0 {
            Kind::AnyByte => Ok(()),
            Kind::Event(decoder) => {
                decoder.finish().and_then(judge).unwrap_or(Err(FailedStart::Ended))
            }
            Kind::Own { .. } => Err(FailedStart::Ended),
        }
    }
}

fn judge(decoded: Decoded) -> Option<Result<(), FailedStart>> {
    match decoded {
        Decoded::Event(event) if event.is_ping() => None,
        Decoded::Event(event) if event.is_error() => {
            Some(Err(FailedStart::InBand(event.into_data())))
        }
        Decoded::Event(_) | Decoded::TooLarge => Some(Ok(())),
    }
}

impl fmt::Debug for Begin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.0 {
            Kind::AnyByte => "any_byte",
            Kind::Event(_) => "event",
            Kind::Own { .. } => "when",
        };
        f.debug_tuple("Begin").field(&format_args!("{kind}")).finish()
    }
}
