//! The bodies of an exchange, which know whether it is over.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Buf;
use http_body::{Body, Frame, SizeHint};
use pin_project::{pin_project, pinned_drop};

use super::Lease;
use crate::flag::Flag;

/// The body of a request that is watched by [`CloseUnfinished`](super::CloseUnfinished).
#[derive(Debug)]
#[pin_project]
pub struct RequestBody<B> {
    #[pin]
    inner: B,
    /// Of what was announced.
    left: Option<u64>,
    written: Arc<Flag>,
}

impl<B: Body> RequestBody<B> {
    pub(super) fn new(inner: B, length: Option<u64>, written: Arc<Flag>) -> Self {
        let left = length.or_else(|| inner.size_hint().exact());
        written.tell(|| left == Some(0) || inner.is_end_stream());
        Self { inner, left, written }
    }
}

impl<B: Body> Body for RequestBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let mut this = self.project();
        let frame = ready!(this.inner.as_mut().poll_frame(cx));
        let data = match &frame {
            Some(Ok(frame)) => frame.data_ref(),
            Some(Err(_)) => return Poll::Ready(frame),
            None => None,
        };
        if let (Some(data), Some(left)) = (data, this.left.as_mut()) {
            *left = left.saturating_sub(data.remaining() as u64);
        }
        let over = frame.as_ref().is_none_or(|frame| frame.as_ref().is_ok_and(Frame::is_trailers));
        let left = *this.left;
        this.written.tell(|| over || left == Some(0) || this.inner.is_end_stream());
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        let ended = self.inner.is_end_stream();
        self.written.tell(|| ended); // Whoever asks believes it and polls no more.
        ended
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// The body of a response that is watched by [`CloseUnfinished`](super::CloseUnfinished).
// The field order is the drop order: hyper may give a connection to the next request as soon as it knows that nobody reads.
#[derive(Debug)]
#[pin_project(PinnedDrop)]
pub struct ResponseBody<B: Body> {
    lease: Option<Lease>,
    #[pin]
    inner: B,
}

#[pinned_drop]
impl<B: Body> PinnedDrop for ResponseBody<B> {
    fn drop(self: Pin<&mut Self>) {
        let this = self.project();
        // A flag that came true since the last poll.
        if let Some(lease) = this.lease.take_if(|_| this.inner.is_end_stream()) {
            lease.finish();
        }
    }
}

impl<B: Body> ResponseBody<B> {
    pub(super) fn new(inner: B, mut lease: Option<Lease>) -> Self {
        if let Some(lease) = lease.take_if(|_| inner.is_end_stream()) {
            lease.finish();
        }
        Self { lease, inner }
    }
}

impl<B: Body> Body for ResponseBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let mut this = self.project();
        let frame = ready!(this.inner.as_mut().poll_frame(cx));
        match &frame {
            Some(Ok(_)) if !this.inner.is_end_stream() => {}
            Some(Err(_)) => drop(this.lease.take()),
            Some(Ok(_)) | None => {
                if let Some(lease) = this.lease.take() {
                    lease.finish();
                }
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
