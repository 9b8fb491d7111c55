//! The one transparent body, and the one place where the end of a body is found.

use std::{
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Buf;
use http::{Method, Response, response};
use http_body::{Body, Frame, SizeHint};
use pin_project::{pin_project, pinned_drop};
use tokio::task::coop;

use crate::{
    contain::{contain, message},
    exchange::Outcome,
    flag::{Flag, poll_flagged},
    head::{Framing, is_bare_tunnel, is_tunnel_body},
    wrap::Guard,
};

/// How a body ended, as seen from inside of it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum End {
    /// `None`, trailers, the end-of-stream flag, or every announced byte.
    Completed,
    /// A clean end with fewer bytes than announced.
    Truncated,
    /// The body's error, which was shown before and goes on to the reader.
    Failed,
    /// The body panicked; it was dropped, and the panic goes on.
    Panicked(Arc<str>),
    /// Dropped by the reader before the end.
    Dropped,
    /// Dropped before anyone had read from it.
    Unread,
}

/// Is told how it ended.
pub trait Ends {
    /// Sees the end, once. The inner body is gone by then, except at an end-of-stream flag.
    fn end(self, end: End);
}

/// Sees what passes through a [`Watched`] body.
pub trait Watch<D, E>: Ends {
    /// Sees a frame before it is handed on.
    fn frame(&mut self, frame: &Frame<D>);

    /// Sees the error of the body before it is handed on; the end follows.
    fn error(&mut self, error: &E);
}

/// Sees what becomes of the call before there is a body.
pub trait Await<E>: Ends {
    /// Sees the head of the response.
    fn head(&mut self, head: &response::Parts);

    /// Whether what passes through a tunnel is seen too. If not, its end is told at the head.
    fn follows_tunnels(&self) -> bool {
        false
    }

    /// Sees the error of the service before it is handed on; the end follows.
    fn failed(&mut self, error: &E);
}

/// A watch that waits for the response head. Dropped before it: the client left.
#[derive(Debug)]
pub struct Awaiting<W: Ends> {
    method: Method,
    watch: Option<W>,
}

impl<W: Ends> Awaiting<W> {
    pub(crate) const fn new(method: Method, watch: W) -> Self {
        Self { method, watch: Some(watch) }
    }
}

impl<B, E, W> Guard<B, E> for Awaiting<W>
where
    B: Body,
    W: Watch<B::Data, B::Error> + Await<E>,
{
    type Body = Watched<B, W>;

    fn wrap(mut self, response: Response<B>) -> Response<Watched<B, W>> {
        let (head, body) = response.into_parts();
        let mut framing = Framing::of(&self.method, &head, &body);
        let mut watch = self.watch.take();
        if let Some(watch) = &mut watch {
            watch.head(&head);
        }
        let mut over = is_bare_tunnel(&self.method, &head);
        if is_tunnel_body(&self.method, &head) {
            framing = Framing::OPEN;
            over = watch.as_ref().is_some_and(|watch| !watch.follows_tunnels());
        }
        let mut body = Watched::watch(body, framing, watch);
        if over {
            body.seen.end(End::Completed);
        }
        Response::from_parts(head, body)
    }

    fn failed(mut self, error: &E) {
        if let Some(mut watch) = self.watch.take() {
            watch.failed(error);
            watch.end(End::Failed);
        }
    }

    fn panicked(mut self, message: Arc<str>) {
        if let Some(watch) = self.watch.take() {
            watch.end(End::Panicked(message));
        }
    }
}

impl<W: Ends> Drop for Awaiting<W> {
    fn drop(&mut self) {
        if let Some(watch) = self.watch.take() {
            watch.end(End::Dropped);
        }
    }
}

/// A body that hands everything on unchanged: frames, trailers, errors, `size_hint` and `is_end_stream`.
// The field order is the drop order: the upstream is released, and whatever watches further in has spoken, before this
// one does.
#[derive(Debug)]
#[pin_project(PinnedDrop)]
pub struct Watched<B: Body, W: Ends> {
    #[pin]
    inner: Option<B>,
    seen: Seen<W>,
}

impl<B: Body, W: Ends> Watched<B, W> {
    /// `None` for the watch: nothing is watched, as after the end.
    pub(crate) const fn watch(inner: B, framing: Framing, watch: Option<W>) -> Self {
        let seen =
            Seen { framing, bytes: 0, polled: false, flag: Flag::new(), panicked: None, watch };
        Self { inner: Some(inner), seen }
    }
}

#[derive(Debug)]
struct Seen<W: Ends> {
    framing: Framing,
    bytes: u64,
    polled: bool,
    /// What a reader was told of the end of the stream.
    flag: Flag,
    /// It panicked when it was dropped and asked for that.
    panicked: Option<Arc<str>>,
    watch: Option<W>,
}

impl<W: Ends> Seen<W> {
    fn end(&mut self, end: End) {
        if let Some(watch) = self.watch.take() {
            watch.end(end);
        }
    }

    fn see<D: Buf, E>(&mut self, frame: &Frame<D>)
    where
        W: Watch<D, E>,
    {
        self.bytes += frame.data_ref().map_or(0, |data| data.remaining() as u64);
        if let Some(watch) = &mut self.watch {
            watch.frame(frame);
        }
    }

    fn clean_end(&mut self) {
        let short = !self.framing.no_body && self.framing.expected.is_some_and(|n| self.bytes < n);
        self.end(if short { End::Truncated } else { End::Completed });
    }
}

impl<W: Ends> Drop for Seen<W> {
    fn drop(&mut self) {
        // hyper drops a body without having seen `None` once the announced length is met, and without a single poll
        // where no body is sent (truths.md 1). At the length itself nothing is reported: trailers may follow.
        let all_there =
            self.framing.no_body || self.framing.expected.is_some_and(|n| self.bytes >= n);
        if let Some(message) = self.panicked.take() {
            return self.end(End::Panicked(message));
        }
        if self.flag.is_set() {
            return self.clean_end();
        }
        self.end(match (all_there, self.polled) {
            (true, _) => End::Completed,
            (false, true) => End::Dropped,
            (false, false) => End::Unread,
        });
    }
}

#[pinned_drop]
impl<B: Body, W: Ends> PinnedDrop for Watched<B, W> {
    /// Asks for the flag while the body is still there: it may have come true since the last poll.
    fn drop(self: Pin<&mut Self>) {
        let this = self.project();
        if let (Some(inner), true) = (this.inner.as_ref().get_ref(), this.seen.watch.is_some()) {
            let told = contain(|| this.seen.flag.tell(|| inner.is_end_stream()));
            this.seen.panicked = told.err();
        }
    }
}

impl<B: Body, W: Watch<B::Data, B::Error>> Body for Watched<B, W> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let mut this = self.project();
        let Some(inner) = this.inner.as_mut().as_pin_mut() else {
            return Poll::Ready(None);
        };
        let budget = ready!(coop::poll_proceed(cx));
        this.seen.polled = true;
        let (polled, flagged) = match catch_unwind(AssertUnwindSafe(|| poll_flagged(inner, cx))) {
            Ok(polled) => ready!(polled),
            Err(payload) => {
                // Not unwinding here, so that neither the body's Drop nor the watch's end can abort the process.
                let _ = contain(|| this.inner.set(None));
                this.seen.end(End::Panicked(message(&*payload)));
                resume_unwind(payload)
            }
        };
        budget.made_progress();
        let ended = match &polled {
            Some(Ok(frame)) => {
                this.seen.see(frame);
                if flagged {
                    // The inner body stays: it is its reader who decides to believe the flag (http-body#142).
                    this.seen.clean_end();
                }
                frame.is_trailers()
            }
            Some(Err(error)) => {
                if let Some(watch) = &mut this.seen.watch {
                    watch.error(error);
                }
                true
            }
            None => true,
        };
        if ended {
            let _ = contain(|| this.inner.set(None));
            match &polled {
                Some(Err(_)) => this.seen.end(End::Failed),
                _ => this.seen.clean_end(),
            }
        }
        Poll::Ready(polled)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(|inner| self.seen.flag.tell(|| inner.is_end_stream()))
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl End {
    /// The outcome that this end means when nothing else is known.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Completed => Outcome::Completed,
            Self::Truncated => Outcome::Truncated,
            Self::Failed => Outcome::Failed,
            Self::Panicked(_) => Outcome::Panicked,
            Self::Dropped => Outcome::Disconnected,
            Self::Unread => Outcome::Discarded,
        }
    }
}
