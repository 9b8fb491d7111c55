//! The body that can be aborted.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::task::coop;

use super::{
    AbortHandle,
    error::{Reset, cut_error},
    future::Hold,
};
use crate::{cut::Slot, error::BoxError, exchange::Exchange};

/// A body that can be aborted at any moment, polled or not. See the [module](super) for what happens when.
pub struct AbortBody<B> {
    state: State<B>,
}

enum State<B> {
    /// In the slot, from where it can be taken away.
    Live(Live<B>),
    /// Nothing to abort: a connection that became something else.
    Tunnel(Pin<Box<B>>),
    /// The answer to a call that was aborted before its head.
    Answer(Bytes),
    Ended,
}

struct Live<B> {
    slot: Arc<Slot<Pin<Box<B>>>>,
    hold: Hold,
    reset: Reset,
}

impl<B: Body + Send + 'static> AbortBody<B> {
    /// Lets `handle` abort `body`.
    ///
    /// ```
    /// use http_body_util::{BodyExt, Full};
    /// use tower_lifeline::abort::{AbortBody, AbortHandle, Aborted};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() {
    /// let handle = AbortHandle::new();
    /// let body = AbortBody::new(Full::<bytes::Bytes>::from("never read"), &handle);
    /// assert!(handle.abort("not wanted"));
    ///
    /// let error = body.collect().await.unwrap_err();
    /// assert_eq!(error.downcast_ref::<Aborted>().unwrap().reason().text(), "not wanted");
    /// # }
    /// ```
    pub fn new(body: B, handle: &AbortHandle) -> Self {
        let slot = Slot::new();
        let hold = Hold::new(&Exchange::new(), handle, &slot);
        // Where it comes too late the slot refuses the body, which is dropped here; the first poll tells why.
        drop(slot.put(Box::pin(body)));
        Self { state: State::Live(Live { slot, hold, reset: Reset::DEFAULT }) }
    }
}

impl<B> AbortBody<B> {
    pub(super) const fn live(slot: Arc<Slot<Pin<Box<B>>>>, hold: Hold, reset: Reset) -> Self {
        Self { state: State::Live(Live { slot, hold, reset }) }
    }

    pub(super) fn tunnel(body: B) -> Self {
        Self { state: State::Tunnel(Box::pin(body)) }
    }

    pub(super) const fn answer(bytes: Bytes) -> Self {
        Self { state: State::Answer(bytes) }
    }
}

type Polled = Option<Result<Frame<Bytes>, BoxError>>;

impl<B> Body for AbortBody<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Polled> {
        let (polled, ended) = match &mut self.state {
            State::Live(live) => ready!(live.poll(cx)),
            State::Tunnel(body) => {
                let polled = ready!(body.as_mut().poll_frame(cx));
                (polled.map(|frame| frame.map_err(Into::into)), false)
            }
            State::Answer(bytes) => {
                let bytes = std::mem::take(bytes);
                ((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))), true)
            }
            State::Ended => (None, false),
        };
        if ended {
            self.state = State::Ended;
        }
        Poll::Ready(polled)
    }

    fn is_end_stream(&self) -> bool {
        match &self.state {
            State::Live(live) => live.slot.peek(|body| B::is_end_stream(body)).unwrap_or(false),
            State::Tunnel(body) => body.is_end_stream(),
            State::Answer(bytes) => bytes.is_empty(),
            State::Ended => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.state {
            State::Live(live) => live.slot.peek(|body| B::size_hint(body)).unwrap_or_default(),
            State::Tunnel(body) => body.size_hint(),
            State::Answer(bytes) => SizeHint::with_exact(bytes.len() as u64),
            State::Ended => SizeHint::with_exact(0),
        }
    }
}

impl<B> Live<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    /// Polls the body; the flag says that nothing follows.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<(Polled, bool)> {
        let Some(mut body) = self.slot.take() else {
            return Poll::Ready((
                self.hold.cut().map(|cause| Err(cut_error(&cause, self.reset))),
                true,
            ));
        };
        let budget = coop::poll_proceed(cx);
        let polled = match &budget {
            Poll::Ready(_) => body.as_mut().poll_frame(cx),
            Poll::Pending => Poll::Pending,
        };
        let Poll::Ready(polled) = polled else {
            return match self.slot.put_and_wait(body, cx.waker()) {
                Ok(()) => Poll::Pending,
                // Cut while it was polled: the body is dropped here, and nobody else would wake us.
                Err(body) => {
                    drop(body);
                    self.poll(cx)
                }
            };
        };
        if let Poll::Ready(budget) = budget {
            budget.made_progress();
        }
        let ended = match &polled {
            Some(Ok(frame)) => frame.is_trailers(),
            Some(Err(_)) | None => true,
        };
        if ended || body.is_end_stream() {
            // Whoever aborts from here on is told that it is too late; whoever did before was told that it worked.
            if let Err(cause) = self.hold.release() {
                drop(body);
                return match polled {
                    // This frame came first. The error follows it.
                    Some(Ok(frame)) if frame.is_data() => Poll::Ready((Some(Ok(frame)), false)),
                    _ => Poll::Ready((Some(Err(cut_error(&cause, self.reset))), true)),
                };
            }
        }
        if ended {
            drop(body);
        } else {
            // Cut meanwhile: the frame is handed on, the next poll gives the error.
            drop(self.slot.put(body));
        }
        Poll::Ready((polled.map(|frame| frame.map_err(Into::into)), ended))
    }
}

impl<B> fmt::Debug for AbortBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AbortBody").finish_non_exhaustive()
    }
}
