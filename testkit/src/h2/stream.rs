use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use h2::client::ResponseFuture;
use h2::{Reason, RecvStream, SendStream};
use http::HeaderMap;
use http::response::Parts;
use tokio::time::timeout;

/// Is a request that was sent and has no head yet. To drop it resets the stream with CANCEL.
#[derive(Debug)]
pub struct H2Call {
    head: ResponseFuture,
    stream: SendStream<Bytes>,
}

/// Reads a response body frame by frame. To drop it before the end resets the stream with CANCEL.
#[derive(Debug)]
pub struct H2Body {
    frames: RecvStream,
    stream: SendStream<Bytes>,
    held: usize,
}

/// Says what came next.
#[derive(Debug, PartialEq, Eq)]
pub enum H2Next {
    Data(Bytes),
    Trailers(HeaderMap),
    /// Says that the stream ended in order; after trailers as well.
    End,
    /// Says that the stream was reset for this reason, by either side.
    Reset(Reason),
    /// Says that the connection is lost.
    Gone(String),
    TimedOut,
}

impl H2Call {
    pub(super) fn new(head: ResponseFuture, stream: SendStream<Bytes>) -> Self {
        Self { head, stream }
    }

    /// Sends a piece of the request's body; what the server does not take yet is kept and sent when it does.
    pub fn send(&mut self, data: impl Into<Bytes>, last: bool) -> Result<(), H2Next> {
        self.stream.send_data(data.into(), last).map_err(H2Next::failed)
    }

    /// Waits for the response head.
    pub async fn head(self, limit: Duration) -> Result<(Parts, H2Body), H2Next> {
        let (head, frames) = within(limit, self.head).await?.into_parts();
        Ok((head, H2Body { frames, stream: self.stream, held: 0 }))
    }

    /// Resets the stream before it has a head.
    pub fn reset(mut self, reason: Reason) {
        self.stream.send_reset(reason);
    }
}

impl H2Body {
    /// Waits for what comes next, and gives the window of it (and of all that was held) back.
    pub async fn next(&mut self, limit: Duration) -> H2Next {
        let next = self.next_held(limit).await;
        self.release();
        next
    }

    /// Waits for what comes next without giving its window back, so that the server soon can not send.
    pub async fn next_held(&mut self, limit: Duration) -> H2Next {
        let frames = &mut self.frames;
        let next = timeout(limit, async {
            match frames.data().await {
                Some(Ok(data)) => H2Next::Data(data),
                Some(Err(error)) => H2Next::failed(error),
                None => match frames.trailers().await {
                    Ok(Some(trailers)) => H2Next::Trailers(trailers),
                    Ok(None) => H2Next::End,
                    Err(error) => H2Next::failed(error),
                },
            }
        });
        let next = next.await.unwrap_or(H2Next::TimedOut);
        if let H2Next::Data(data) = &next {
            self.held += data.len();
        }
        next
    }

    /// Reads on until something other than data comes; the limit is for each frame.
    pub async fn rest(&mut self, limit: Duration) -> (Vec<u8>, H2Next) {
        let mut bytes = Vec::new();
        loop {
            match self.next(limit).await {
                H2Next::Data(data) => bytes.extend_from_slice(&data),
                end => return (bytes, end),
            }
        }
    }

    /// Gives all window that was held back.
    pub fn release(&mut self) {
        // It fails only when the stream is over.
        let _ = self.frames.flow_control().release_capacity(std::mem::take(&mut self.held));
    }

    /// Resets the stream.
    pub fn reset(mut self, reason: Reason) {
        self.stream.send_reset(reason);
    }
}

impl H2Next {
    pub(super) fn failed(error: h2::Error) -> Self {
        match error.reason() {
            Some(reason) if error.is_reset() => Self::Reset(reason),
            _ => Self::Gone(error.to_string()),
        }
    }
}

pub(super) async fn within<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, h2::Error>>,
) -> Result<T, H2Next> {
    match timeout(limit, work).await {
        Ok(done) => done.map_err(H2Next::failed),
        Err(_) => Err(H2Next::TimedOut),
    }
}
