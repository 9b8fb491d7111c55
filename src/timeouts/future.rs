//! The response future with a limit on the head.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::Response;
use http_body::Body;

use super::{
    ChooseActivity, TimeoutsBody, body::Clocks, head_clock::HeadClock, watchdog::Watchdog,
};
use crate::{cut::CutFuture, head::is_tunnel_body};

/// The response future of [`Timeouts`](super::Timeouts).
#[must_use = "futures do nothing unless polled"]
pub struct TimeoutsFuture<F> {
    pub(super) inner: CutFuture<F, Watchdog>,
    pub(super) clocks: Option<Clocks>,
    pub(super) waiting: HeadClock,
    pub(super) choose: ChooseActivity,
}

impl<F, B, E> Future for TimeoutsFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body<Data = Bytes> + Send + 'static,
{
    type Output = Result<Response<TimeoutsBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        // The future first: when the head and its deadline come together the head wins.
        let mut polled = this.inner.poll(cx);
        let waiting = &mut this.waiting;
        if polled.is_pending()
            && this.clocks.as_ref().is_some_and(|clocks| clocks.lose_patience_with(waiting, cx))
        {
            polled = this.inner.poll(cx);
        }
        let Poll::Ready(result) = polled else { return Poll::Pending };
        let Some(mut clocks) = this.clocks.take() else { return Poll::Pending };
        Poll::Ready(result.map(|response| {
            let (head, body) = response.into_parts();
            clocks.activity = (this.choose)(&head);
            if is_tunnel_body(this.inner.method(), &head) {
                clocks.tunnel();
            }
            Response::from_parts(head, TimeoutsBody::of(body, clocks))
        }))
    }
}

impl<F> fmt::Debug for TimeoutsFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TimeoutsFuture").finish_non_exhaustive()
    }
}
