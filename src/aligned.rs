//! A body that is read event by event: the part that all layers share that put bytes into a stream, or take them out.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;
use tokio::task::coop;

use crate::align::Align;

/// What becomes of the data of a body.
pub(crate) trait Shape {
    /// Takes a chunk, and returns the next one that may be handed on.
    fn push(&mut self, chunk: Bytes) -> Option<Bytes>;

    /// The next chunk that may be handed on.
    fn pop(&mut self) -> Option<Bytes>;

    /// Lets the unfinished event go out too: the stream has ended, as it did without us.
    fn finish(&mut self);

    /// Whether nothing is left to be handed on.
    fn is_empty(&self) -> bool;
}

/// Reads a body in whole events.
#[derive(Debug)]
#[pin_project]
pub(crate) struct Aligned<B: Body, S = Align> {
    #[pin]
    inner: Option<B>,
    /// `None`: every frame is handed on as it is, and nothing is ever put in between or taken out.
    align: Option<S>,
    /// Trailers or an error that wait until everything before them has gone out.
    last: Option<Result<Frame<Bytes>, B::Error>>,
    on_error: OnError,
}

/// What becomes of an unfinished event when the body fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnError {
    /// It goes out before the error, as it would without us.
    HandOn,
    /// It stays: somebody decides what follows.
    Hold,
}

impl<B: Body<Data = Bytes>, S> Aligned<B, S> {
    pub(crate) const fn new(inner: B, align: Option<S>, on_error: OnError) -> Self {
        Self { inner: Some(inner), align, last: None, on_error }
    }

    pub(crate) fn align(self: Pin<&mut Self>) -> Option<&mut S> {
        self.project().align.as_mut()
    }

    /// Drops the inner body.
    pub(crate) fn release(self: Pin<&mut Self>) {
        self.project().inner.set(None);
    }
}

impl<B: Body<Data = Bytes>, S: Shape> Body for Aligned<B, S> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let mut this = self.project();
        loop {
            let budget = ready!(coop::poll_proceed(cx));
            if let Some(chunk) = this.align.as_mut().and_then(Shape::pop) {
                budget.made_progress();
                return Poll::Ready(Some(Ok(Frame::data(chunk))));
            }
            let Some(inner) = this.inner.as_mut().as_pin_mut() else {
                return Poll::Ready(this.last.take());
            };
            let polled = ready!(inner.poll_frame(cx));
            budget.made_progress();
            let ended = match &polled {
                Some(Ok(frame)) => frame.is_trailers(),
                Some(Err(_)) | None => true,
            };
            if ended {
                this.inner.set(None);
            }
            let Some(align) = this.align else { return Poll::Ready(polled) };
            match polled.map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(chunk))) => {
                    if let Some(chunk) = align.push(chunk) {
                        return Poll::Ready(Some(Ok(Frame::data(chunk))));
                    }
                }
                Some(Ok(Err(frame))) if ended => {
                    align.finish();
                    *this.last = Some(Ok(frame));
                }
                // A kind of frame that is not known yet: it keeps its place as well as it can.
                Some(Ok(Err(frame))) => return Poll::Ready(Some(Ok(frame))),
                Some(Err(error)) => {
                    if *this.on_error == OnError::Hold {
                        return Poll::Ready(Some(Err(error)));
                    }
                    align.finish();
                    *this.last = Some(Err(error));
                }
                None => align.finish(),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.last.is_none()
            && self.align.as_ref().is_none_or(Shape::is_empty)
            && self.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    /// Exact only where nothing can be put in between or taken out.
    fn size_hint(&self) -> SizeHint {
        match (&self.align, &self.inner) {
            (None, Some(inner)) => inner.size_hint(),
            (None, None) => SizeHint::with_exact(0),
            (Some(_), _) => SizeHint::default(),
        }
    }
}
