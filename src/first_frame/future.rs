//! The response future that holds a head back.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{Method, Response, response};
use http_body::Body;
use pin_project::pin_project;
use tokio::{
    task::coop,
    time::{Instant, Sleep, sleep_until},
};

use super::{Begin, FailedStart, FirstFrameBody, Limits, answer::Answering, body::Held};
use crate::{
    error::BoxError,
    head::{Framing, forbids_body},
};

/// The response future of [`FirstFrame`](super::FirstFrame).
#[pin_project]
#[must_use = "futures do nothing unless polled"]
pub struct FirstFrameFuture<F, B, C> {
    #[pin]
    inner: Option<F>,
    holding: Option<Holding<B>>,
    method: Method,
    begin: C,
    limits: Limits,
    answering: Answering,
}

impl<F, B, C> FirstFrameFuture<F, B, C> {
    pub(super) const fn new(
        inner: F,
        method: Method,
        begin: C,
        limits: Limits,
        answering: Answering,
    ) -> Self {
        Self { inner: Some(inner), holding: None, method, begin, limits, answering }
    }
}

impl<F, B, C, E> Future for FirstFrameFuture<F, B, C>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
    C: Fn(&response::Parts) -> Begin,
{
    type Output = Result<Response<FirstFrameBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if let Some(inner) = this.inner.as_mut().as_pin_mut() {
            let result = ready!(inner.poll(cx));
            this.inner.set(None);
            let (head, body) = result?.into_parts();
            let framing = Framing::of(this.method, &head, &body);
            let aside = !head.status.is_success() || forbids_body(this.method, head.status);
            let mut begin = (!aside).then(|| (this.begin)(&head));
            let failed = match &mut begin {
                // Empty by its framing: the same as a body that ends at once.
                Some(begin) if framing.no_body => begin.end().err(),
                _ => None,
            };
            if let Some(failed) = failed {
                drop(body);
                let answer = this.answering.answer(&failed);
                return Poll::Ready(Ok(answer.map(FirstFrameBody::answer)));
            }
            let Some(begin) = begin.filter(|_| !framing.no_body) else {
                let body = FirstFrameBody::untouched(body);
                return Poll::Ready(Ok(Response::from_parts(head, body)));
            };
            *this.holding = Some(Holding {
                begin,
                head,
                body: Some(Box::pin(body)),
                held: Held::default(),
                expected: framing.expected,
                limit: this.limits.bytes,
                // In a time that no clock will reach there is no limit.
                due: Instant::now().checked_add(this.limits.time),
                timer: None,
            });
        }
        // Taken out for the poll: should it panic, nothing is left.
        let Some(mut holding) = this.holding.take() else {
            return Poll::Pending; // Polled after its end, which futures may answer as they like.
        };
        let Poll::Ready(begun) = holding.poll(cx) else {
            *this.holding = Some(holding);
            return Poll::Pending;
        };
        Poll::Ready(Ok(match begun {
            Ok(()) => {
                let body = FirstFrameBody::replay(holding.held, holding.body);
                Response::from_parts(holding.head, body)
            }
            Err(failed) => {
                drop(holding); // The upstream is released before anyone acts on the failure.
                this.answering.answer(&failed).map(FirstFrameBody::answer)
            }
        }))
    }
}

/// A head that is held back, with what its body gave.
struct Holding<B> {
    head: response::Parts,
    /// `None` once it has ended.
    body: Option<Pin<Box<B>>>,
    held: Held,
    begin: Begin,
    /// The bytes that the head announced.
    expected: Option<u64>,
    limit: usize,
    due: Option<Instant>,
    /// Made at the first pause.
    timer: Option<Pin<Box<Sleep>>>,
}

impl<B> Holding<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    /// Reads until it is known whether the stream has begun, or nobody waits any longer.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), FailedStart>> {
        // Ends within its byte limit, however ready the body is: a frame has a weight even when it is empty.
        while let Some(body) = &mut self.body {
            let budget = ready!(coop::poll_proceed(cx));
            let Poll::Ready(polled) = body.as_mut().poll_frame(cx) else { break };
            budget.made_progress();
            let frame = match polled {
                Some(Ok(frame)) => frame,
                Some(Err(error)) => return Poll::Ready(Err(FailedStart::Body(error.into()))),
                None => return Poll::Ready(self.end()),
            };
            let data = frame.data_ref();
            let verdict = data.and_then(|data| self.begin.see(data));
            if let (None, Some(data)) = (&verdict, data) {
                if self.held.has_room(data.len(), self.limit) {
                    self.held.wait(data);
                    continue;
                }
            }
            let ended = frame.is_trailers();
            self.held.last(frame);
            return Poll::Ready(if ended { self.end() } else { verdict.unwrap_or(Ok(())) });
        }
        let Some(due) = self.due else { return Poll::Pending };
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(due)));
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(Ok(()))
    }

    /// What the end means for a stream that had not begun.
    fn end(&mut self) -> Result<(), FailedStart> {
        self.body = None;
        self.begin.end()?;
        let truncated = self.expected.is_some_and(|expected| self.held.bytes() < expected);
        if truncated { Err(FailedStart::Ended) } else { Ok(()) }
    }
}

impl<F, B, C> fmt::Debug for FirstFrameFuture<F, B, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FirstFrameFuture")
            .field("holding", &self.holding.is_some())
            .finish_non_exhaustive()
    }
}
