use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use bytes::{Buf, Bytes};
use http::HeaderMap;
use http_body::{Body, Frame};

#[cfg(test)]
mod tests;

/// Holds what a body handed out up to its end: the frames, then either trailers, or an error, or neither.
#[derive(Debug)]
pub struct Collected<E> {
    /// Joins all frames.
    pub data: Bytes,
    pub frames: Vec<Bytes>,
    pub trailers: Option<HeaderMap>,
    pub error: Option<E>,
}

/// Is what one poll of a body gives.
pub type Polled<B> = Poll<Option<Result<Frame<<B as Body>::Data>, <B as Body>::Error>>>;

/// Polls once, with a waker of the test's own (see [`Wakes`](crate::Wakes)).
pub fn poll_body<B: Body>(body: Pin<&mut B>, waker: &Waker) -> Polled<B> {
    body.poll_frame(&mut Context::from_waker(waker))
}

/// Reads to the end as hyper does: to `None`, trailers or an error, whichever comes first. Asks for no hints.
pub async fn drain<B: Body>(body: B) -> Collected<B::Error> {
    let mut body = pin!(body);
    let (mut frames, mut trailers, mut error) = (Vec::new(), None, None);
    while let Some(next) = poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
        match next.map(Frame::into_data) {
            Ok(Ok(mut data)) => frames.push(data.copy_to_bytes(data.remaining())),
            Ok(Err(other)) => trailers = other.into_trailers().ok(),
            Err(cause) => error = Some(cause),
        }
        if trailers.is_some() || error.is_some() {
            break;
        }
    }
    Collected { data: frames.concat().into(), frames, trailers, error }
}
