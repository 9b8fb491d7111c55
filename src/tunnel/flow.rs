//! One direction of a tunnel.

use std::{
    io::{self, ErrorKind},
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// So much may be on its way in one direction.
const ROOM: usize = 16 * 1024;

/// Copies from one side to the other, then its end.
#[derive(Debug, Default)]
pub(super) struct Flow {
    buffer: BytesMut,
    /// What was read and is not all written.
    chunk: Bytes,
    written: usize,
    /// Something was written and not flushed.
    unflushed: bool,
    state: State,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Open,
    /// The side that is read from has ended; the other has not been told yet.
    Ended,
    Closed,
}

/// What moved.
#[derive(Debug)]
pub(super) enum Step {
    /// Something was read, or a part of it written.
    Moved,
    /// All that was read is written.
    Written(Bytes),
    /// The side that is read from has ended.
    Ended,
    Closed,
}

/// Which of the two sides broke.
#[derive(Debug)]
pub(super) enum Broken {
    Reading(io::Error),
    Writing(io::Error),
}

impl Flow {
    /// There is nobody left to write to.
    pub(super) fn close(&mut self) {
        (self.chunk, self.written, self.state) = (Bytes::new(), 0, State::Closed);
    }

    pub(super) fn is_closed(&self) -> bool {
        self.state == State::Closed
    }

    pub(super) fn is_open(&self) -> bool {
        self.state == State::Open
    }

    /// Whether it has nothing that is still to be written.
    pub(super) fn is_empty(&self) -> bool {
        self.chunk.is_empty()
    }

    /// Reads or writes once.
    pub(super) fn poll_step(
        &mut self,
        cx: &mut Context<'_>,
        from: Pin<&mut impl AsyncRead>,
        mut to: Pin<&mut impl AsyncWrite>,
    ) -> Poll<Result<Step, Broken>> {
        if !self.chunk.is_empty() {
            return self.poll_write(cx, to);
        }
        match self.state {
            State::Closed => Poll::Pending,
            State::Ended => {
                let shut = ready!(to.poll_shutdown(cx)).map_err(Broken::Writing);
                self.state = State::Closed;
                Poll::Ready(shut.map(|()| Step::Closed))
            }
            State::Open => match self.poll_read(cx, from) {
                Poll::Pending if self.unflushed => {
                    ready!(to.as_mut().poll_flush(cx)).map_err(Broken::Writing)?;
                    self.unflushed = false;
                    Poll::Pending
                }
                read => read,
            },
        }
    }

    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        from: Pin<&mut impl AsyncRead>,
    ) -> Poll<Result<Step, Broken>> {
        // The same memory again, once the chunk before is gone.
        self.buffer.resize(ROOM, 0);
        let mut read = ReadBuf::new(&mut self.buffer);
        let ended = ready!(from.poll_read(cx, &mut read));
        let length = read.filled().len();
        match ended {
            // TLS without a word of farewell, as many servers close it.
            Err(error) if error.kind() == ErrorKind::UnexpectedEof && length == 0 => {}
            ended => ended.map_err(Broken::Reading)?,
        }
        if length == 0 {
            (self.buffer, self.state) = (BytesMut::new(), State::Ended);
            return Poll::Ready(Ok(Step::Ended));
        }
        self.buffer.truncate(length);
        self.chunk = self.buffer.split().freeze();
        Poll::Ready(Ok(Step::Moved))
    }

    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        to: Pin<&mut impl AsyncWrite>,
    ) -> Poll<Result<Step, Broken>> {
        let rest = self.chunk.get(self.written..).unwrap_or_default();
        let written = ready!(to.poll_write(cx, rest)).map_err(Broken::Writing)?;
        if written == 0 {
            return Poll::Ready(Err(Broken::Writing(ErrorKind::WriteZero.into())));
        }
        self.written += written;
        self.unflushed = true;
        if self.written < self.chunk.len() {
            return Poll::Ready(Ok(Step::Moved));
        }
        self.written = 0;
        Poll::Ready(Ok(Step::Written(std::mem::take(&mut self.chunk))))
    }
}
