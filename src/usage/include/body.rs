//! The body without the chunk that the client did not ask for.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;

use super::strip::Strip;
use crate::aligned::{Aligned, OnError};

/// A body without the chunk that the client did not ask for. See [`IncludeUsageLayer`](super::IncludeUsageLayer) for what
/// happens when.
#[pin_project]
pub struct IncludeUsageBody<B: Body>(#[pin] Aligned<B, Strip>);

impl<B: Body<Data = Bytes>> IncludeUsageBody<B> {
    /// Takes the chunk out of `body`. That it is an event stream is for the caller to know.
    pub fn new(body: B) -> Self {
        Self(Aligned::new(body, Some(Strip::default()), OnError::HandOn))
    }

    pub(super) const fn untouched(body: B) -> Self {
        Self(Aligned::new(body, None, OnError::HandOn))
    }
}

impl<B: Body<Data = Bytes>> Body for IncludeUsageBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        self.project().0.poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}

impl<B: Body> fmt::Debug for IncludeUsageBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IncludeUsageBody").finish_non_exhaustive()
    }
}
