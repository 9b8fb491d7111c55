//! The body of a request as the upstream's connection sends it.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tower::BoxError;
use tower_lifeline::{exchange::Exchange, upload::UploadBody};

use super::buffer::Buffer;

/// What was read ahead is not the upstream's before it takes it: only here it is known what it has.
#[derive(Debug)]
pub(crate) struct Upload {
    /// As long as the client may still have to be asked.
    gate: Option<(Arc<Buffer>, u32)>,
    body: UploadBody<Reader>,
}

#[derive(Debug)]
struct Reader {
    /// `None` for a request without a body.
    source: Option<(Arc<Buffer>, u32)>,
    /// What is still to come, where it was announced.
    left: Option<u64>,
    /// Whether the end was handed out.
    ended: bool,
}

impl Upload {
    /// The `reader`-th body of this source.
    pub(super) fn new(
        buffer: Option<Arc<Buffer>>,
        reader: u32,
        length: Option<u64>,
        exchange: &Exchange,
    ) -> Self {
        let source = buffer.map(|buffer| (buffer, reader));
        let gate = source.clone().filter(|(buffer, _)| buffer.is_shut());
        let reader = Reader { ended: source.is_none(), source, left: length };
        let body = match &gate {
            Some(_) => UploadBody::expecting(reader, exchange),
            None => UploadBody::new(reader, exchange),
        };
        Self { gate, body }
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Some((buffer, reader)) = &self.gate {
            ready!(buffer.poll_open(cx, *reader));
            self.gate = None;
        }
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Body for Reader {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let (Some((buffer, number)), false) = (&self.source, self.ended) else {
            return Poll::Ready(None);
        };
        let next = ready!(buffer.poll_next(cx, *number));
        if let Some(Ok(frame)) = &next {
            let taken = frame.data_ref().map_or(0, Bytes::len) as u64;
            self.left = self.left.map(|left| left.saturating_sub(taken));
        } else {
            self.ended = true;
        }
        Poll::Ready(next)
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        if let Some((buffer, number)) = &self.source {
            buffer.leave(*number);
        }
    }
}
