//! The response future that does not wait for ever.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use http::{HeaderValue, Response, header};
use http_body::Body;
use pin_project::pin_project;
use tokio::time::{Instant, Sleep, sleep};

use super::{EarlyHead, EarlyHeadBody};
use crate::exchange::Exchange;

/// The response future of [`EarlyHeadService`](super::EarlyHeadService).
#[pin_project] // Nothing is pinned in place: it is `Unpin`, whatever the closure is.
#[must_use = "futures do nothing unless polled"]
pub struct EarlyHeadFuture<F, W> {
    /// In a box from the start, so that it can move into the body. `None` when it has, or has ended.
    inner: Option<Pin<Box<F>>>,
    /// `None`: never early.
    asked: Option<W>,
    after: Duration,
    timer: Option<Pin<Box<Sleep>>>,
    exchange: Exchange,
}

impl<F, W> EarlyHeadFuture<F, W> {
    pub(super) fn new(inner: F, asked: Option<W>, after: Duration, exchange: Exchange) -> Self {
        let after = after.max(Duration::from_millis(1));
        Self { inner: Some(Box::pin(inner)), asked, after, timer: None, exchange }
    }
}

impl<F, W, B, E> Future for EarlyHeadFuture<F, W>
where
    F: Future<Output = Result<Response<B>, E>>,
    W: FnMut() -> bool,
    B: Body,
{
    type Output = Result<Response<EarlyHeadBody<F, B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let Some(inner) = this.inner else {
            return Poll::Pending; // Polled after its end, which futures may answer as they like.
        };
        if let Poll::Ready(result) = inner.as_mut().poll(cx) {
            *this.inner = None;
            *this.timer = None;
            return Poll::Ready(result.map(|response| response.map(EarlyHeadBody::in_time)));
        }
        let Some(asked) = this.asked else { return Poll::Pending };
        loop {
            let timer = this.timer.get_or_insert_with(|| Box::pin(sleep(*this.after)));
            // A future that has spent the budget would keep the timer from telling (truths.md 11), so the clock is asked.
            if timer.as_mut().poll(cx).is_pending() && Instant::now() < timer.deadline() {
                return Poll::Pending;
            }
            *this.timer = None;
            if asked() {
                break;
            }
        }
        let Some(inner) = this.inner.take() else { return Poll::Pending };
        let mut response = Response::new(EarlyHeadBody::waiting(inner, this.exchange.clone()));
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        let time_to_head = this.exchange.started().elapsed();
        this.exchange.insert(EarlyHead { status: response.status(), time_to_head });
        Poll::Ready(Ok(response))
    }
}

impl<F, W> fmt::Debug for EarlyHeadFuture<F, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EarlyHeadFuture").field("after", &self.after).finish_non_exhaustive()
    }
}
