//! What counts as progress.

use std::fmt;

use bytes::Bytes;
use http::response;

use crate::{head::Media, sse::Pulse};

/// Says which frames of a response are progress, for the idle limit.
///
/// A provider that is stuck often goes on sending comments or pings; a limit that they reset never fires.
#[must_use]
pub struct Activity(Kind);

enum Kind {
    AnyByte,
    Events(Pulse),
    Own(Box<dyn FnMut(&Bytes) -> bool + Send>),
}

impl Activity {
    /// Any byte. An empty frame is none.
    pub const fn any_byte() -> Self {
        Self(Kind::AnyByte)
    }

    /// Any byte of the data of a server-sent event, unless the event is called `ping`. Comments, blank lines and fields
    /// without data are none.
    pub const fn events() -> Self {
        Self(Kind::Events(Pulse::new()))
    }

    /// [`events`](Self::events) for `text/event-stream` without a content coding, [`any_byte`](Self::any_byte) for all else.
    pub fn by_media(head: &response::Parts) -> Self {
        match Media::of(&head.headers) {
            Media::EventStream => Self::events(),
            _ => Self::any_byte(),
        }
    }

    /// What a function says of each data frame.
    pub fn when(progresses: impl FnMut(&Bytes) -> bool + Send + 'static) -> Self {
        Self(Kind::Own(Box::new(progresses)))
    }

    pub(crate) fn sees(&mut self, data: &Bytes) -> bool {
        match &mut self.0 {
            Kind::AnyByte => !data.is_empty(),
            Kind::Events(pulse) => pulse.feed(data),
            Kind::Own(progresses) => progresses(data),
        }
    }
}

impl fmt::Debug for Activity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Kind::AnyByte => "Activity::any_byte",
            Kind::Events(_) => "Activity::events",
            Kind::Own(_) => "Activity::when",
        })
    }
}
