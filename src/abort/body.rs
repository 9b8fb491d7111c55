//! The body that can be aborted.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::{AbortHandle, future::hold, handle::Binding};
use crate::{
    cut::{CutBody, Reset, Slot},
    error::BoxError,
    exchange::Exchange,
};

/// A body that can be aborted at any moment, polled or not. See the [module](super) for what happens when.
pub struct AbortBody<B> {
    inner: CutBody<B, Binding>,
}

impl<B: Body + Send + 'static> AbortBody<B> {
    /// Lets `handle` abort `body`.
    ///
    /// ```
    /// use http_body_util::{BodyExt, Full};
    /// use tower_lifeline::abort::{AbortBody, AbortHandle, Aborted};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() {
    /// let handle = AbortHandle::new();
    /// let body = AbortBody::new(Full::<bytes::Bytes>::from("never read"), &handle);
    /// assert!(handle.abort("not wanted"));
    ///
    /// let error = body.collect().await.unwrap_err();
    /// assert_eq!(error.downcast_ref::<Aborted>().unwrap().reason().text(), "not wanted");
    /// # }
    /// ```
    pub fn new(body: B, handle: &AbortHandle) -> Self {
        let slot = Slot::new();
        let hold = hold(&Exchange::new(), handle, &slot);
        // Where it comes too late the slot refuses the body, which is dropped here; the first poll tells why.
        drop(slot.put(Box::pin(body)));
        Self { inner: CutBody::live(slot, hold, Reset::DEFAULT) }
    }
}

impl<B> AbortBody<B> {
    pub(super) const fn of(inner: CutBody<B, Binding>) -> Self {
        Self { inner }
    }
}

impl<B> Body for AbortBody<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Pin::new(&mut self.inner).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl<B> fmt::Debug for AbortBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AbortBody").finish_non_exhaustive()
    }
}
