//! The response future that can be cut: the one under `AbortFuture` and `TimeoutsFuture`.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Method, Request, Response, header::CONTENT_LENGTH, request::Parts};
use http_body::Body;

use super::{
    Slot,
    answer::{Answer, Answering},
    body::CutBody,
    error::Reset,
    hold::Hold,
};
use crate::{
    exchange::{Cause, Exchange},
    head::{Media, is_bare_tunnel},
};

/// A response future that may be taken away at any moment, polled or not.
#[derive(Debug)]
pub(crate) struct CutFuture<F, K> {
    slot: Arc<Slot<Pin<Box<F>>>>,
    hold: Option<Hold<K>>,
    method: Method,
    reset: Reset,
    answering: Answering,
}

impl<F, K> CutFuture<F, K> {
    /// Calls the service, unless it was cut before.
    pub(crate) fn call<A>(
        slot: Arc<Slot<Pin<Box<F>>>>,
        hold: Hold<K>,
        (exchange, answer, reset): (Exchange, Option<Answer>, Reset),
        (parts, body): (Parts, A),
        call: impl FnOnce(Request<A>) -> F,
    ) -> Self {
        let method = parts.method.clone();
        let grpc = Media::of(&parts.headers) == Media::Grpc;
        if hold.cause().is_none() {
            let future = call(Request::from_parts(parts, body));
            // Refused if the cut came during the call; then the future is dropped here.
            drop(slot.put(Box::pin(future)));
        }
        let answering = Answering { exchange, grpc, answer };
        Self { slot, hold: Some(hold), method, reset, answering }
    }

    fn answer<B>(&self, cause: Option<Cause>) -> Response<CutBody<B, K>> {
        // It is gone only when it was cut; the other cause stands for what can not be.
        let cause = cause.unwrap_or(Cause::Disconnected);
        let mut answer = self.answering.answer(&cause);
        if self.method == Method::HEAD && !answer.body().is_empty() {
            // Data in answer to HEAD is an error of the protocol in HTTP/2, and hyper would send it (truths.md 1).
            let length = std::mem::take(answer.body_mut()).len();
            answer.headers_mut().insert(CONTENT_LENGTH, length.into());
        }
        answer.map(CutBody::answer)
    }

    pub(crate) const fn method(&self) -> &Method {
        &self.method
    }

    /// Polls for the head.
    pub(crate) fn poll<B, E>(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Response<CutBody<B, K>>, E>>
    where
        F: Future<Output = Result<Response<B>, E>>,
        B: Body<Data = Bytes> + Send + 'static,
    {
        let Some(mut hold) = self.hold.take() else {
            return Poll::Pending; // Polled after its end, which futures may answer as they like.
        };
        let Some(mut future) = self.slot.take() else {
            return Poll::Ready(Ok(self.answer(hold.cause())));
        };
        let Poll::Ready(result) = future.as_mut().poll(cx) else {
            hold.alive();
            return match self.slot.put_and_wait(future, cx.waker()) {
                Ok(()) => {
                    self.hold = Some(hold);
                    Poll::Pending
                }
                Err(future) => {
                    drop(future);
                    Poll::Ready(Ok(self.answer(hold.cause())))
                }
            };
        };
        drop(future);
        let response = match result {
            Ok(response) => response,
            // An error that comes after a cut is that cut, whatever class it is of.
            Err(error) => {
                let released = hold.release();
                return Poll::Ready(
                    released.map_or_else(|cause| Ok(self.answer(Some(cause))), |()| Err(error)),
                );
            }
        };
        let (head, body) = response.into_parts();
        let body = if is_bare_tunnel(&self.method, &head) {
            hold.release().map(|()| CutBody::tunnel(body))
        } else {
            let slot = Slot::new();
            drop(slot.put(Box::pin(body))); // A new slot takes it.
            hold.swap(slot.clone()).map(|()| CutBody::live(slot, hold, self.reset))
        };
        Poll::Ready(Ok(match body {
            Ok(body) => Response::from_parts(head, body),
            Err(cause) => self.answer(Some(cause)),
        }))
    }
}
