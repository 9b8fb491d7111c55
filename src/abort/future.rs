//! The response future that can be aborted.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::Response;
use http_body::Body;

use super::{AbortBody, AbortHandle, handle::Binding};
use crate::{
    cut::{Cut, CutFuture, Hold},
    exchange::Exchange,
};

/// Lets the exchange and the handle reach a slot. If that comes too late the slot is cut, and the hold tells why.
pub(super) fn hold(
    exchange: &Exchange,
    handle: &AbortHandle,
    slot: &Arc<impl Cut + 'static>,
) -> Hold<Binding> {
    let mut hold = Hold::aborts(exchange, slot);
    match handle.bind(exchange.listener(), true) {
        Ok(binding) => hold.keep(binding),
        Err(reason) => {
            exchange.abort(reason);
        }
    }
    hold
}

/// The response future of [`Abort`](super::Abort).
#[must_use = "futures do nothing unless polled"]
pub struct AbortFuture<F> {
    pub(super) inner: CutFuture<F, Binding>,
}

impl<F, B, E> Future for AbortFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body<Data = Bytes> + Send + 'static,
{
    type Output = Result<Response<AbortBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let polled = self.get_mut().inner.poll(cx);
        polled.map(|result| result.map(|response| response.map(AbortBody::of)))
    }
}

impl<F> fmt::Debug for AbortFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AbortFuture").finish_non_exhaustive()
    }
}
