//! A request body on its way to the upstream, always read to its end.
//!
//! hyper notices that an HTTP/1 client has left only once it has read the whole request. An upstream may answer, or
//! stall, without reading it, so a task of its own reads ahead of the upstream, and reads on when the upstream has
//! dropped the rest: each within a bound. Beyond the bounds, only a failed write tells that the client has left.
//!
//! An upload that breaks off after the answer has begun is kept from the upstream until the answer is over: it would
//! take the answer with it, and the upstream would be blamed. A client that left is noticed at its socket.
//!
//! Before there is an answer, what the upstream has had is kept too, within a bound: the request may have to be sent
//! once more.

use std::{future::poll_fn, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body::Body;
use tokio::time::timeout;
use tower::BoxError;
use tower_lifeline::exchange::Exchange;

pub(super) use self::{body::Upload, budget::Budget, failed::UploadFailed};
use self::{
    buffer::Buffer,
    read::{Task, read_ahead},
};
use super::answer::Begun;

mod body;
mod budget;
mod buffer;
mod failed;
mod pieces;
mod read;
mod state;
#[cfg(test)]
mod tests;

/// So many bytes may wait for the upstream.
const READ_AHEAD: usize = 4 * 1024 * 1024;

/// A body that turns out to be none does so within this time, or too late.
const MOMENT: Duration = Duration::from_millis(20);

/// How a request body is read.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Terms {
    /// What the upstream has had is kept.
    pub(super) keep: bool,
    /// The client sends nothing before it is told that its body is wanted.
    pub(super) expects: bool,
}

/// What of a request body is here: to be dropped when there is an answer.
#[derive(Debug)]
pub(super) struct Source {
    buffer: Option<Arc<Buffer>>,
    length: Option<u64>,
    exchange: Exchange,
}

impl Source {
    /// Must be called within a runtime.
    pub(super) fn new<B>(body: B, begun: Begun, budget: &Budget, terms: Terms) -> (Self, Upload)
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let exchange = begun.exchange().clone();
        let source = if body.is_end_stream() {
            Self { buffer: None, length: Some(0), exchange }
        } else {
            let length = body.size_hint().exact();
            let buffer = Buffer::new(budget.clone(), length, terms.keep, terms.expects);
            let buffer = Arc::new(buffer);
            tokio::spawn(read_ahead(body, begun, Task(Arc::clone(&buffer))));
            Self { buffer: Some(buffer), length, exchange }
        };
        let upload = source.upload(0);
        (source, upload)
    }

    fn upload(&self, reader: u32) -> Upload {
        Upload::new(self.buffer.clone(), reader, self.length, &self.exchange)
    }

    /// The body once more, from its start; `None` if that is no longer there. The one before is cut off.
    pub(super) fn again(&self) -> Option<Upload> {
        let reader = match &self.buffer {
            Some(buffer) => buffer.restart()?,
            None => 0,
        };
        Some(self.upload(reader))
    }

    /// A body without data if it shows within a moment that this is none.
    pub(super) async fn proved_empty(&mut self) -> Option<Upload> {
        let buffer = self.buffer.as_ref()?;
        let empty = timeout(MOMENT, poll_fn(|cx| buffer.poll_proved_empty(cx))).await;
        if !empty.unwrap_or(false) {
            return None;
        }
        (self.buffer, self.length) = (None, Some(0));
        Some(self.upload(0))
    }

    /// Asks a client for its body that waits to be asked.
    pub(super) fn ask(&self) {
        self.asker()();
    }

    /// Does so later.
    pub(super) fn asker(&self) -> impl Fn() + Send + Sync + use<> {
        let buffer = self.buffer.clone();
        move || {
            if let Some(buffer) = &buffer {
                buffer.open();
            }
        }
    }

    /// There is an answer. Whether that was before the client was asked for its body, which it is not any more.
    pub(super) fn answered(&self) -> bool {
        self.buffer.as_ref().is_some_and(|buffer| buffer.spare())
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        if let Some(buffer) = &self.buffer {
            buffer.no_repeat();
        }
    }
}
