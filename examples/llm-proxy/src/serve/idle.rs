//! What a connection is doing, and when it is closed because it does nothing.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::watch,
    time::Instant,
};

/// What every HTTP/2 connection begins with (RFC 9113, 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What is going on, and since when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// The client is to send its first request, or has begun another one, and no whole head is there.
    Head(Instant),
    /// So many exchanges are under way.
    Busy(usize),
    /// There is no exchange, and none has begun.
    Idle(Instant),
}

/// What is to be done with a connection that stays as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Close {
    /// Nobody can have asked for anything.
    Now,
    /// After what may have begun in this moment.
    Gracefully,
}

impl State {
    /// When it has lasted too long.
    pub(super) fn deadline(
        self,
        head: Duration,
        idle: Option<Duration>,
    ) -> Option<(Instant, Close)> {
        match self {
            Self::Head(since) => Some((since + head, Close::Now)),
            Self::Busy(_) => None,
            Self::Idle(since) => Some((since + idle?, Close::Gracefully)),
        }
    }
}

/// Is told what happens on a connection.
#[derive(Debug, Clone)]
pub(super) struct Activity {
    state: watch::Sender<State>,
    /// Whether hyper has bytes of HTTP/1 that it did not use up: it asks for no more before.
    behind: Arc<AtomicBool>,
}

impl Activity {
    /// Of a connection that is new.
    pub(super) fn new() -> Self {
        let state = watch::Sender::new(State::Head(Instant::now()));
        Self { state, behind: Arc::default() }
    }

    pub(super) fn watch(&self) -> watch::Receiver<State> {
        self.state.subscribe()
    }

    /// A whole request head is there. The exchange is over when what is returned, and all that holds it, is dropped.
    pub(super) fn begin(&self) -> Underway {
        self.state.send_modify(|state| {
            *state = match *state {
                State::Busy(exchanges) => State::Busy(exchanges + 1),
                State::Head(_) | State::Idle(_) => State::Busy(1),
            }
        });
        Underway(self.clone())
    }

    fn end(&self) {
        // What is behind the request is the beginning of the next one.
        let behind = self.behind.load(Ordering::Relaxed);
        self.state.send_modify(|state| {
            *state = match *state {
                State::Busy(exchanges) if exchanges > 1 => State::Busy(exchanges - 1),
                _ if behind => State::Head(Instant::now()),
                _ => State::Idle(Instant::now()),
            }
        });
    }

    /// The client speaks HTTP/2, which needs no request to be alive: it answers PINGs.
    fn opened(&self) {
        self.change(|state| matches!(state, State::Head(_)).then(|| State::Idle(Instant::now())));
    }

    /// A byte of a request of HTTP/1 is there.
    fn request_begins(&self) {
        self.behind.store(true, Ordering::Relaxed);
        self.change(|state| matches!(state, State::Idle(_)).then(|| State::Head(Instant::now())));
    }

    /// All of HTTP/1 that came is used up.
    fn used_up(&self) {
        self.behind.store(false, Ordering::Relaxed);
    }

    fn change(&self, to: impl FnOnce(State) -> Option<State>) {
        self.state.send_if_modified(|state| match to(*state) {
            Some(next) => {
                *state = next;
                true
            }
            None => false,
        });
    }
}

/// An exchange, from its request head to the end of the response.
#[derive(Debug)]
pub(super) struct Underway(Activity);

impl Drop for Underway {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// The body of a response; the exchange lasts as long as it.
#[pin_project]
#[derive(Debug)]
pub(super) struct Answer<B> {
    #[pin]
    pub(super) body: B,
    pub(super) exchange: Underway,
}

impl<B: Body> Body for Answer<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        self.project().body.poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A connection whose first bytes are looked at, and of which it is known when others come.
#[derive(Debug)]
pub(super) struct Observed<I> {
    io: I,
    activity: Activity,
    /// What is missing of the preface of HTTP/2; `None` for a client that speaks HTTP/1.
    preface: Option<&'static [u8]>,
}

impl<I> Observed<I> {
    pub(super) fn new(io: I, activity: Activity) -> Self {
        Self { io, activity, preface: Some(PREFACE) }
    }

    fn read(&mut self, bytes: &[u8]) {
        match self.preface {
            Some([]) => {}
            Some(missing) if bytes.starts_with(missing) => {
                self.preface = Some(&[]);
                self.activity.opened();
            }
            Some(missing) if missing.starts_with(bytes) => {
                self.preface = Some(&missing[bytes.len()..]);
            }
            Some(_) => {
                self.preface = None;
                self.activity.request_begins();
            }
            None => self.activity.request_begins(),
        }
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Observed<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let Poll::Ready(read) = Pin::new(&mut self.io).poll_read(cx, buffer) else {
            self.activity.used_up();
            return Poll::Pending;
        };
        let bytes = buffer.filled().get(before..).unwrap_or_default();
        if !bytes.is_empty() {
            self.read(bytes);
        }
        Poll::Ready(read)
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Observed<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
