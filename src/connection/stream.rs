//! The connection that can be closed from outside.

use std::{
    fmt,
    io::{self, ErrorKind, IoSlice},
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker, ready},
};

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use pin_project::pin_project;
use tower_service::Service;

use crate::cut::lock;

/// Makes connections that [`CloseUnfinishedLayer`](super::CloseUnfinishedLayer) can close. See the [module](super).
#[derive(Clone, Copy, Debug)]
pub struct ClosableConnector<C> {
    inner: C,
}

impl<C> ClosableConnector<C> {
    /// Wraps each connection that `inner` makes.
    pub const fn new(inner: C) -> Self {
        Self { inner }
    }
}

impl<C: Service<R>, R> Service<R> for ClosableConnector<C> {
    type Response = Closable<C::Response>;
    type Error = C::Error;
    type Future = Connecting<C::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), C::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, target: R) -> Self::Future {
        Connecting { inner: self.inner.call(target) }
    }
}

/// The future of [`ClosableConnector`].
#[derive(Debug)]
#[pin_project]
#[must_use = "futures do nothing unless polled"]
pub struct Connecting<F> {
    #[pin]
    inner: F,
}

impl<F: Future<Output = Result<T, E>>, T, E> Future for Connecting<F> {
    type Output = Result<Closable<T>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let inner = ready!(self.project().inner.poll(cx))?;
        Poll::Ready(Ok(Closable { inner, handle: Handle::default() }))
    }
}

/// A connection made by [`ClosableConnector`]. Once it was closed, whatever hyper does with it is the error
/// [`ConnectionAborted`](ErrorKind::ConnectionAborted), and hyper lets go of it.
#[pin_project]
pub struct Closable<T> {
    #[pin]
    inner: T,
    handle: Handle,
}

/// Closes a connection.
#[derive(Clone, Default)]
pub(super) struct Handle(Arc<Mutex<State>>);

/// Its lock is the last one that is taken, and nothing of others is called under it.
#[derive(Default)]
struct State {
    closed: bool,
    /// The last write found no room: the peer does not read.
    blocked: bool,
    read: Option<Waker>,
    write: Option<Waker>,
}

impl Handle {
    /// Whether something waits to be written that the peer does not take.
    pub(super) fn is_blocked(&self) -> bool {
        lock(&self.0).blocked
    }

    pub(super) fn close(&self) {
        let wakers = {
            let mut state = lock(&self.0);
            state.closed = true;
            [state.read.take(), state.write.take()]
        };
        wakers.into_iter().flatten().for_each(Waker::wake);
    }

    /// Fails if the connection was closed; from now on whoever closes it wakes the task, in this direction.
    fn open(
        &self,
        cx: &Context<'_>,
        direction: fn(&mut State) -> &mut Option<Waker>,
    ) -> Poll<io::Result<()>> {
        let replaced = {
            let mut state = lock(&self.0);
            if state.closed {
                return Poll::Ready(Err(ErrorKind::ConnectionAborted.into()));
            }
            let waker = direction(&mut state);
            if waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                return Poll::Ready(Ok(()));
            }
            waker.replace(cx.waker().clone())
        };
        drop(replaced); // Not under the lock.
        Poll::Ready(Ok(()))
    }

    fn written<T>(&self, written: &Poll<io::Result<T>>) {
        lock(&self.0).blocked = written.is_pending();
    }
}

impl<T: Read> Read for Closable<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.project();
        ready!(this.handle.open(cx, |state| &mut state.read))?;
        this.inner.poll_read(cx, buffer)
    }
}

impl<T: Write> Write for Closable<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.project();
        ready!(this.handle.open(cx, |state| &mut state.write))?;
        let written = this.inner.poll_write(cx, bytes);
        this.handle.written(&written);
        written
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.project();
        ready!(this.handle.open(cx, |state| &mut state.write))?;
        let written = this.inner.poll_write_vectored(cx, slices);
        this.handle.written(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.project();
        ready!(this.handle.open(cx, |state| &mut state.write))?;
        let flushed = this.inner.poll_flush(cx);
        this.handle.written(&flushed);
        flushed
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.project();
        ready!(this.handle.open(cx, |state| &mut state.write))?;
        this.inner.poll_shutdown(cx)
    }
}

impl<T: Connection> Connection for Closable<T> {
    fn connected(&self) -> Connected {
        let connected = self.inner.connected();
        if connected.is_negotiated_h2() {
            return connected; // Others' streams are on it, too, and hyper resets the one.
        }
        connected.extra(self.handle.clone())
    }
}

impl<T: fmt::Debug> fmt::Debug for Closable<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Closable").field(&self.inner).finish()
    }
}
