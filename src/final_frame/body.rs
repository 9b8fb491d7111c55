//! The body that ends with a final frame.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;
use tokio::time::{Sleep, sleep};

use super::{BodyPanicked, Failure, Final, FinalFrameLayer, MessageCut};
use crate::{
    align::{Align, DEFAULT_HOLD},
    aligned::{Aligned, OnError},
    contain::{contain, message},
    error::BoxError,
    exchange::{Cause, Exchange},
    head::Media,
};

/// How long an error waits, so that hyper can send what it was given before (truths.md 4: one yield saves it in h1, and
/// only a pause in h2).
const LINGER: Duration = Duration::from_millis(5);

/// A body whose unclean end gets a final frame. See the [module](super) for what happens when.
#[pin_project]
pub struct FinalFrameBody<B: Body, F> {
    #[pin]
    inner: Aligned<B>,
    /// `None`: nothing can be added to this body, an error is passed on.
    media: Option<Media>,
    exchange: Exchange,
    layer: FinalFrameLayer<F>,
    ending: Ending,
}

enum Ending {
    /// Not yet.
    Open,
    /// The error waits for what was sent before it.
    Lingering(Pin<Box<Sleep>>, Option<BoxError>),
    Ended,
}

impl<B, F> FinalFrameBody<B, F>
where
    B: Body<Data = Bytes>,
    F: Fn(&Failure<'_>) -> Final,
{
    /// Lets `choose` decide how `body`, which is made of `media`, ends when it ends uncleanly.
    pub fn new(body: B, media: Media, choose: F) -> Self {
        let media = body.size_hint().exact().is_none().then_some(media);
        Self::with(body, media, Exchange::new(), FinalFrameLayer::new(choose))
    }

    pub(super) fn with(
        body: B,
        media: Option<Media>,
        exchange: Exchange,
        layer: FinalFrameLayer<F>,
    ) -> Self {
        let align = media.map(|media| Align::new(media, DEFAULT_HOLD));
        let inner = Aligned::new(body, align, OnError::Hold);
        Self { inner, media, exchange, layer, ending: Ending::Open }
    }
}

type Polled = Poll<Option<Result<Frame<Bytes>, BoxError>>>;

impl<B, F> Body for FinalFrameBody<B, F>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
    F: Fn(&Failure<'_>) -> Final,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled {
        let mut this = self.as_mut().project();
        match this.ending {
            Ending::Open => {}
            Ending::Lingering(sleep, error) => {
                ready!(sleep.as_mut().poll(cx));
                let error = error.take();
                *this.ending = Ending::Ended;
                return Poll::Ready(error.map(Err));
            }
            Ending::Ended => return Poll::Ready(None),
        }
        let inner = this.inner.as_mut();
        let error = match catch_unwind(AssertUnwindSafe(|| inner.poll_frame(cx))) {
            Ok(polled) => match ready!(polled) {
                Some(Ok(frame)) => return Poll::Ready(Some(Ok(frame))),
                None => return Poll::Ready(None),
                Some(Err(error)) => error.into(),
            },
            Err(payload) => {
                let message = message(&*payload);
                // Before the body is dropped, so that whoever watches inside is told the same.
                this.exchange.record(Cause::Panicked(message.clone()));
                let _ = contain(|| this.inner.as_mut().release());
                if this.layer.propagate_panics {
                    *this.ending = Ending::Ended;
                    resume_unwind(payload);
                }
                let _ = contain(|| drop(payload)); // It is a value of the user's: its Drop could panic again.
                BodyPanicked::new(message).into()
            }
        };
        match self.as_mut().last(error) {
            Some(last) => Poll::Ready(last),
            None => self.poll_frame(cx), // It lingers.
        }
    }

    fn is_end_stream(&self) -> bool {
        match self.ending {
            Ending::Open => self.inner.is_end_stream(),
            Ending::Lingering(..) => false,
            Ending::Ended => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self.ending {
            Ending::Ended => SizeHint::with_exact(0),
            Ending::Open | Ending::Lingering(..) => self.inner.size_hint(),
        }
    }
}

impl<B, F> FinalFrameBody<B, F>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
    F: Fn(&Failure<'_>) -> Final,
{
    /// What follows an error; `None` if that is the error itself, which waits first.
    fn last(
        self: Pin<&mut Self>,
        error: BoxError,
    ) -> Option<Option<Result<Frame<Bytes>, BoxError>>> {
        let mut this = self.project();
        // For layers outside, which are not to take what follows for a clean end. The first cause stays.
        let failed = Cause::failed(&*error);
        this.exchange.record(failed.clone());
        let cause = this.exchange.cause().unwrap_or(failed);
        if this.media.is_some() && this.exchange.is_told() {
            *this.ending = Ending::Ended;
            return Some(None); // It was whole, or has told of its failure itself.
        }
        let align = this.inner.as_mut().align();
        let unterminated = align.as_ref().is_some_and(|align| align.is_unterminated());
        let between = unterminated || align.is_some_and(|align| align.may_insert());
        *this.ending = Ending::Ended; // Before foreign code runs: should it panic, nothing follows.
        let (last, error) = match *this.media {
            Some(media) if between => {
                let (exchange, cause) = (&*this.exchange, &cause);
                let failure = Failure { exchange, cause, error: &error, media, message: None };
                ((this.layer.choose)(&failure), error)
            }
            Some(Media::Grpc) => (Final::Error, MessageCut::new(error).into()),
            _ => (Final::Error, error),
        };
        match last {
            Final::End => Some(None),
            // The record before it has no line end of its own yet.
            Final::Data(data) if unterminated => {
                Some(Some(Ok(Frame::data([b"\n", &data[..]].concat().into()))))
            }
            Final::Data(data) => Some(Some(Ok(Frame::data(data)))),
            Final::Trailers(trailers) => Some(Some(Ok(Frame::trailers(trailers)))),
            Final::Error => {
                *this.ending = Ending::Lingering(Box::pin(sleep(LINGER)), Some(error));
                None
            }
        }
    }
}

impl<B: Body, F> fmt::Debug for FinalFrameBody<B, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FinalFrameBody").field("media", &self.media).finish_non_exhaustive()
    }
}
