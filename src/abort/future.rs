//! The response future that can be aborted.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Method, Response};
use http_body::Body;

use super::{
    AbortBody, AbortHandle, AbortReason, answer::Answering, error::Reset, handle::Binding,
};
use crate::{
    cut::{Cut, Slot},
    exchange::{Attached, Cause, Exchange},
    head::is_tunnel,
};

/// Keeps a slot in reach of its handle, until the response has ended.
#[derive(Debug)]
pub(super) struct Hold {
    /// Registered with the exchange, or the cause for which it came too late.
    attached: Result<Attached, Cause>,
    binding: Option<Binding>,
}

impl Hold {
    /// Registers the slot. If that comes too late the slot is cut, and [`cut`](Self::cut) tells why.
    pub(super) fn new(
        exchange: &Exchange,
        handle: &AbortHandle,
        slot: &Arc<impl Cut + 'static>,
    ) -> Self {
        let attached = exchange.attach(slot.clone());
        if attached.is_err() {
            slot.cut();
        }
        let binding = match handle.bind(exchange.listener(), true) {
            Ok(binding) => Some(binding),
            Err(reason) => {
                exchange.abort(reason);
                None
            }
        };
        Self { attached, binding }
    }

    fn swap(&self, slot: Arc<dyn Cut>) -> Result<(), Cause> {
        self.attached.as_ref().map_err(Clone::clone)?.swap(slot)
    }

    /// Ends the hold: an abort that comes now is too late. Refused, with the cause, when one came before.
    pub(super) fn release(&mut self) -> Result<(), Cause> {
        self.attached.as_mut().map_err(|cause| cause.clone())?.release()?;
        self.binding = None;
        Ok(())
    }

    /// Why it was cut, if it was.
    pub(super) fn cut(&self) -> Option<Cause> {
        match &self.attached {
            Ok(attached) => attached.cut(),
            Err(cause) => Some(cause.clone()),
        }
    }
}

/// The response future of [`Abort`](super::Abort).
pub struct AbortFuture<F> {
    pub(super) slot: Arc<Slot<Pin<Box<F>>>>,
    pub(super) hold: Option<Hold>,
    pub(super) method: Method,
    pub(super) reset: Reset,
    pub(super) answering: Answering,
}

impl<F, B, E> Future for AbortFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body<Data = Bytes> + Send + 'static,
{
    type Output = Result<Response<AbortBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let Some(mut hold) = this.hold.take() else {
            return Poll::Pending; // Polled after its end, which futures may answer as they like.
        };
        let Some(mut future) = this.slot.take() else {
            return Poll::Ready(Ok(this.answer(hold.cut())));
        };
        let Poll::Ready(result) = future.as_mut().poll(cx) else {
            return match this.slot.put_and_wait(future, cx.waker()) {
                Ok(()) => {
                    this.hold = Some(hold);
                    Poll::Pending
                }
                Err(future) => {
                    drop(future);
                    Poll::Ready(Ok(this.answer(hold.cut())))
                }
            };
        };
        drop(future);
        let response = match result {
            Ok(response) => response,
            // An error that comes after an abort is that abort, whatever class it is of.
            Err(error) => {
                let released = hold.release();
                return Poll::Ready(
                    released.map_or_else(|cause| Ok(this.answer(Some(cause))), |()| Err(error)),
                );
            }
        };
        let (head, body) = response.into_parts();
        let body = if is_tunnel(&this.method, head.status) {
            hold.release().map(|()| AbortBody::tunnel(body))
        } else {
            let slot = Slot::new();
            drop(slot.put(Box::pin(body))); // A new slot takes it.
            hold.swap(slot.clone()).map(|()| AbortBody::live(slot, hold, this.reset))
        };
        Poll::Ready(Ok(match body {
            Ok(body) => Response::from_parts(head, body),
            Err(cause) => this.answer(Some(cause)),
        }))
    }
}

impl<F> AbortFuture<F> {
    fn answer<B>(&self, cause: Option<Cause>) -> Response<AbortBody<B>> {
        let reason = match cause {
            Some(Cause::Aborted(reason)) => reason,
            other => AbortReason::from(other.map_or("aborted", |cause| cause.outcome().as_str())),
        };
        self.answering.answer(&reason).map(AbortBody::answer)
    }
}

impl<F> fmt::Debug for AbortFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AbortFuture").field("hold", &self.hold).finish_non_exhaustive()
    }
}
