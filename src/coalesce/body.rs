//! The body that gathers.

use std::{
    any::Any,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    pin::Pin,
    sync::{Mutex, PoisonError},
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;
use tokio::task::coop;

use crate::contain::contain;

/// Frames that are gathered at most: tiny ones shall not keep their reader waiting while they are counted.
pub(super) const FRAMES: usize = 64;

/// A body whose waiting frames come as one. See the [module](super) for what happens when.
#[pin_project]
pub struct CoalesceBody<B: Body> {
    #[pin]
    inner: Option<B>,
    limit: usize,
    /// Empty between two polls; kept for its memory.
    gathered: Gathered,
    /// What was read behind the gathered data.
    held: Option<Next<B::Error>>,
}

/// What the inner body gave.
enum Next<E> {
    Data(Bytes),
    /// Trailers, or a kind of frame that is not known yet.
    Other(Frame<Bytes>),
    Error(E),
    /// In a mutex only so that the body is `Sync` where its inner body is.
    Panic(Mutex<Box<dyn Any + Send>>),
}

/// Data that is to become one frame.
#[derive(Default)]
struct Gathered {
    frames: Vec<Bytes>,
    bytes: usize,
}

impl Gathered {
    /// Adds to it; an empty frame is only there as long as it is the only one.
    fn push(&mut self, data: Bytes) {
        if self.bytes == 0 {
            self.frames.clear();
        } else if data.is_empty() {
            return;
        }
        self.bytes += data.len();
        self.frames.push(data);
    }

    fn take(&mut self) -> Option<Bytes> {
        let bytes = std::mem::take(&mut self.bytes);
        if self.frames.len() < 2 {
            return self.frames.pop();
        }
        // Of just this size: a recording may keep it for long.
        let mut joined = Vec::with_capacity(bytes);
        for frame in self.frames.drain(..) {
            joined.extend_from_slice(&frame);
        }
        Some(joined.into())
    }
}

impl<B: Body<Data = Bytes>> CoalesceBody<B> {
    /// Gathers up to `bytes` of what waits in `body`; 0 gathers nothing.
    pub fn new(body: B, bytes: usize) -> Self {
        Self { inner: Some(body), limit: bytes, gathered: Gathered::default(), held: None }
    }

    /// What comes next: what is held, or what the inner body gives.
    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Next<B::Error>>> {
        let mut this = self.project();
        if this.held.is_some() {
            return Poll::Ready(this.held.take());
        }
        let Some(mut inner) = this.inner.as_mut().as_pin_mut() else { return Poll::Ready(None) };
        let budget = ready!(coop::poll_proceed(cx));
        // A panic must not take along the data that came before it.
        let polled = match catch_unwind(AssertUnwindSafe(|| inner.as_mut().poll_frame(cx))) {
            Ok(polled) => ready!(polled).map(|frame| frame.map(Frame::into_data)),
            Err(payload) => {
                let _ = contain(|| this.inner.set(None));
                return Poll::Ready(Some(Next::Panic(Mutex::new(payload))));
            }
        };
        budget.made_progress();
        let next = match polled {
            Some(Ok(Ok(data))) => return Poll::Ready(Some(Next::Data(data))),
            Some(Ok(Err(frame))) if !frame.is_trailers() => {
                return Poll::Ready(Some(Next::Other(frame)));
            }
            Some(Ok(Err(trailers))) => Some(Next::Other(trailers)),
            Some(Err(error)) => Some(Next::Error(error)),
            None => None,
        };
        let _ = contain(|| this.inner.set(None));
        Poll::Ready(next)
    }
}

impl<B: Body<Data = Bytes>> Body for CoalesceBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        for _ in 0..FRAMES {
            let next = self.as_mut().poll_next(cx);
            let this = self.as_mut().project();
            let (gathered, limit) = (this.gathered, *this.limit);
            match next {
                Poll::Ready(Some(Next::Data(data)))
                    if gathered.bytes == 0 || gathered.bytes + data.len() <= limit =>
                {
                    gathered.push(data);
                    if gathered.bytes >= limit {
                        break;
                    }
                }
                Poll::Pending if gathered.frames.is_empty() => return Poll::Pending,
                Poll::Pending => break,
                Poll::Ready(next) => {
                    *this.held = next;
                    break;
                }
            }
        }
        let this = self.project();
        if let Some(data) = this.gathered.take() {
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        Poll::Ready(match this.held.take() {
            Some(Next::Data(data)) => Some(Ok(Frame::data(data))),
            Some(Next::Other(frame)) => Some(Ok(frame)),
            Some(Next::Error(error)) => Some(Err(error)),
            Some(Next::Panic(payload)) => {
                resume_unwind(payload.into_inner().unwrap_or_else(PoisonError::into_inner))
            }
            None => None,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.held.is_none() && self.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let rest = match &self.inner {
            Some(inner) => inner.size_hint(),
            None => SizeHint::with_exact(0),
        };
        let Some(Next::Data(data)) = &self.held else { return rest };
        let held = data.len() as u64;
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower().saturating_add(held));
        if let Some(upper) = rest.upper().and_then(|upper| upper.checked_add(held)) {
            hint.set_upper(upper);
        }
        hint
    }
}

impl<B: Body> fmt::Debug for CoalesceBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CoalesceBody").field("limit", &self.limit).finish_non_exhaustive()
    }
}
