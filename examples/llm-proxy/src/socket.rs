//! A client's connection, which notices three things that hyper does not tell an HTTP/1 response: that the client left in
//! the middle of its upload, that it reset the connection while nobody read, and that it takes nothing of what was written
//! for it.

use std::{
    io::{self, ErrorKind, IoSlice},
    net::Shutdown,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use socket2::{SockRef, TcpKeepalive};
use tokio::{
    io::{AsyncRead, AsyncWrite, Interest, ReadBuf},
    net::TcpStream,
    time::{Sleep, sleep},
};

use crate::serve::Given;

/// What the kernel keeps unsent before it takes no more. Of its own accord it would take megabytes, and take more again
/// only when a third of that is gone: a client that reads steadily, but slowly, would look as if it did not read.
#[cfg(any(target_os = "android", target_os = "linux"))]
const UNSENT: u32 = 64 * 1024;
/// A peer that does not answer for so long is asked whether it is there; after nine questions in vain, it is gone.
pub(crate) const KEEPALIVE: Duration = Duration::from_secs(30);
/// The limit of the exchange comes first, so that its ending says what happened.
const MARGIN: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(crate) struct Socket {
    stream: Arc<TcpStream>,
    /// For how long the client may take nothing.
    unread: Option<Duration>,
    /// Is there while something waits to be written.
    stuck: Option<Pin<Box<Sleep>>>,
    /// It sends nothing more.
    left: bool,
    given: Given,
    switch: Switch,
}

/// Whether the connection has become a tunnel, whose sides may end their writing one by one. Cheap to clone; clones are the
/// same switch.
#[derive(Clone, Debug, Default)]
pub(crate) struct Switch(Arc<AtomicBool>);

impl Switch {
    pub(crate) fn on(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn is_on(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Socket {
    pub(crate) fn new(stream: TcpStream, unread: Option<Duration>) -> Self {
        // A delayed heartbeat or event is worth less than a full packet.
        let _ = stream.set_nodelay(true);
        #[cfg(any(target_os = "android", target_os = "linux"))]
        let _ = SockRef::from(&stream).set_tcp_notsent_lowat(UNSENT);
        // A client that is gone without a word is noticed though nothing is written: in a tunnel that may be for hours.
        let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE);
        let _ = SockRef::from(&stream).set_tcp_keepalive(&keepalive);
        let (given, switch) = (Given::default(), Switch::default());
        Self { stream: Arc::new(stream), unread, stuck: None, left: false, given, switch }
    }

    /// Resolves when the client resets the connection, also while nobody reads what it has sent.
    pub(crate) fn reset(&self) -> impl Future<Output = ()> + Send + use<> {
        let stream = Arc::clone(&self.stream);
        async move {
            // An error of readiness is that of a runtime which stops: then nobody is told of anything.
            if stream.ready(Interest::ERROR).await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// What hyper was given for this client since all of it was written.
    pub(crate) fn given(&self) -> Given {
        self.given.clone()
    }

    pub(crate) fn switch(&self) -> Switch {
        self.switch.clone()
    }

    fn written<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        // The only limit of a tunnel is the total one.
        let unread = self.unread.filter(|_| !self.switch.is_on());
        let (true, Some(unread)) = (written.is_pending(), unread) else {
            self.stuck = None;
            return written;
        };
        let time = unread.saturating_add(MARGIN);
        ready!(self.stuck.get_or_insert_with(|| Box::pin(sleep(time))).as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(ErrorKind::TimedOut, "the client does not read")))
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = ready!(retry(cx, TcpStream::poll_read_ready, &self.stream, |stream| {
            stream.try_read_buf(buffer)
        }));
        let read = read.map(drop);
        self.left |= read.is_err() || (buffer.filled().len() == before && buffer.remaining() > 0);
        Poll::Ready(read)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let ready = TcpStream::poll_write_ready;
        let written = retry(cx, ready, &self.stream, |stream| stream.try_write(bytes));
        self.written(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let ready = TcpStream::poll_write_ready;
        let written = retry(cx, ready, &self.stream, |stream| stream.try_write_vectored(slices));
        self.written(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // hyper ends a connection whose client closed its side while it waits for the answer, but not one whose client
        // did so in the middle of the request.
        if self.left && !self.switch.is_on() {
            return Poll::Ready(Err(ErrorKind::BrokenPipe.into()));
        }
        // hyper does this when all is written, in the task that asks the body for more.
        if self.given.written() {
            cx.waker().wake_by_ref();
        }
        Poll::Ready(Ok(())) // There is nothing between here and the kernel.
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(SockRef::from(&*self.stream).shutdown(Shutdown::Write))
    }
}

/// Does `attempt` as soon as the stream is ready for it.
fn retry<T>(
    cx: &mut Context<'_>,
    ready: fn(&TcpStream, &mut Context<'_>) -> Poll<io::Result<()>>,
    stream: &TcpStream,
    mut attempt: impl FnMut(&TcpStream) -> io::Result<T>,
) -> Poll<io::Result<T>> {
    loop {
        ready!(ready(stream, cx))?;
        match attempt(stream) {
            // The readiness was an old one, and is forgotten by now.
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            done => return Poll::Ready(done),
        }
    }
}
