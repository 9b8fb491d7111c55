//! Each row of the module's table, the handle and its triggers, the registry, and the races between them.

use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http_body::{Body, Frame};

use super::{AbortHandle, Aborted};
use crate::error::BoxError;

mod answer;
mod body;
mod handle;
mod layer;
mod race;
mod registry;
mod sources;
mod trigger;
mod within;

/// The text of the reason for which a body was aborted.
fn reason(error: &BoxError) -> &str {
    error.downcast_ref::<Aborted>().unwrap_or_else(|| panic!("{error}")).reason().text()
}

type Polled<B> = Poll<Option<Result<Frame<<B as Body>::Data>, <B as Body>::Error>>>;

/// Polls a body by hand, where a waker does not matter.
fn poll<B: Body + Unpin>(body: &mut B) -> Polled<B> {
    std::pin::Pin::new(body).poll_frame(&mut Context::from_waker(Waker::noop()))
}

/// Reads what is ready of a body: its bytes, and the reason if it was aborted.
fn read<B: Body<Data = Bytes, Error = BoxError> + Unpin>(
    body: &mut B,
) -> (Vec<u8>, Option<String>) {
    let mut bytes = Vec::new();
    loop {
        match poll(body) {
            Poll::Ready(Some(Ok(frame))) => bytes.extend(frame.into_data().unwrap_or_default()),
            Poll::Ready(Some(Err(error))) => {
                assert!(matches!(poll(body), Poll::Ready(None)), "nothing follows an error");
                return (bytes, Some(reason(&error).to_owned()));
            }
            Poll::Ready(None) | Poll::Pending => return (bytes, None),
        }
    }
}
