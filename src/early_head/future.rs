//! The response future that does not wait for ever.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use http::{HeaderValue, Response, header};
use http_body::Body;
use pin_project::pin_project;
use tokio::time::Instant;

use super::{EarlyHead, EarlyHeadBody, WantsStream};
use crate::{
    exchange::{Exchange, Upload},
    timer::Timer,
};

/// The response future of [`EarlyHeadService`](super::EarlyHeadService).
#[pin_project] // Nothing is pinned in place: it is `Unpin`, whatever the closure is.
#[must_use = "futures do nothing unless polled"]
pub struct EarlyHeadFuture<F, W> {
    /// In a box from the start, so that it can move into the body. `None` when it has, or has ended.
    inner: Option<Pin<Box<F>>>,
    /// `None`: never early.
    asked: Option<W>,
    after: Duration,
    /// When the wait began, or when it was asked last.
    since: Option<Instant>,
    timer: Timer,
    exchange: Exchange,
}

impl<F, W> EarlyHeadFuture<F, W> {
    pub(super) fn new(inner: F, asked: Option<W>, after: Duration, exchange: Exchange) -> Self {
        let after = after.max(Duration::from_millis(1));
        let (inner, timer) = (Some(Box::pin(inner)), Timer::default());
        Self { inner, asked, after, since: None, timer, exchange }
    }
}

impl<F, W, B, E> Future for EarlyHeadFuture<F, W>
where
    F: Future<Output = Result<Response<B>, E>>,
    W: WantsStream,
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
            *this.timer = Timer::default();
            return Poll::Ready(result.map(|response| response.map(EarlyHeadBody::in_time)));
        }
        let Some(asked) = this.asked else { return Poll::Pending };
        loop {
            let now = Instant::now();
            let since = *this.since.get_or_insert(now);
            let since = match this.exchange.upload() {
                Upload::Unwatched => Some(since),
                Upload::Given(given) => Some(since.max(given)),
                // The service can not answer yet. Nobody wakes this when that changes: it is looked at when the time has
                // passed, for whatever changes from now on is not due before that.
                Upload::Expected | Upload::Client(_) | Upload::Service(_) => None,
            };
            let Some(due) = since.unwrap_or(now).checked_add(*this.after) else {
                return Poll::Pending; // A time that no clock will reach.
            };
            if now < due {
                ready!(this.timer.poll(due, cx));
            } else if asked.wants_stream() {
                break;
            } else {
                *this.since = Some(now);
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
