//! The body that is a tunnel.

use std::{
    error::Error,
    fmt, io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    task::coop,
    time::{Instant, Sleep, sleep},
};

use super::{
    flow::{Broken, Flow, Step},
    websocket::Frames,
};
use crate::error::BoxError;

/// When the upstream has ended its writing, there is nothing to wait for but what the client has on its way.
const IN_FLIGHT: Duration = Duration::from_secs(1);

/// When the client has ended its writing, it may wait, or be gone: that looks the same for as long as its system keeps a closed
/// connection (`tcp_fin_timeout` of Linux).
const GONE: Duration = Duration::from_secs(60);

/// Copies between a client and an upstream while it is polled; its frames are the bytes that went to the client. See the
/// [module](super) for what happens when.
pub struct TunnelBody<C, U> {
    /// `None` after the end.
    tunnel: Option<Tunnel<C, U>>,
}

/// Why a tunnel broke.
#[derive(Debug)]
#[non_exhaustive]
pub enum TunnelError {
    /// The client is gone.
    Client(BoxError),
    /// The upstream's connection broke.
    Upstream(io::Error),
}

struct Tunnel<C, U> {
    client: Client<C>,
    upstream: U,
    up: Flow,
    down: Flow,
    /// Runs while one side has ended and the other says nothing.
    silence: Option<Pin<Box<Sleep>>>,
    /// The client has ended its writing, and nothing went to it since.
    unanswered: bool,
    /// What the upstream writes, where it is a WebSocket.
    frames: Option<Frames>,
}

enum Client<C> {
    /// The server has yet to send the head.
    Upgrading(Pin<Box<dyn Future<Output = Result<C, BoxError>> + Send>>),
    Here(C),
}

impl<C, U> TunnelBody<C, U> {
    /// Waits for the client's side, which is there when the server has sent the head, and connects it with `upstream`.
    pub fn new<F, E>(client: F, upstream: U) -> Self
    where
        F: Future<Output = Result<C, E>> + Send + 'static,
        E: Into<BoxError>,
    {
        let upgrading = Box::pin(async { client.await.map_err(Into::into) });
        let tunnel = Tunnel {
            client: Client::Upgrading(upgrading),
            upstream,
            up: Flow::default(),
            down: Flow::default(),
            silence: None,
            unanswered: false,
            frames: None,
        };
        Self { tunnel: Some(tunnel) }
    }

    /// Says that the tunnel is a WebSocket: a client that leaves once it was sent the upstream's Close frame has not
    /// disconnected.
    pub fn websocket(mut self) -> Self {
        if let Some(tunnel) = &mut self.tunnel {
            tunnel.frames = Some(Frames::default());
        }
        self
    }
}

impl<C, U> Body for TunnelBody<C, U>
where
    C: AsyncRead + AsyncWrite + Unpin,
    U: AsyncRead + AsyncWrite + Unpin,
{
    type Data = Bytes;
    type Error = TunnelError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, TunnelError>>> {
        let Some(tunnel) = &mut self.tunnel else { return Poll::Ready(None) };
        let moved = ready!(tunnel.poll(cx));
        if !matches!(moved, Ok(Some(_))) {
            self.tunnel = None;
        }
        Poll::Ready(moved.transpose().map(|moved| moved.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.tunnel.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        if self.tunnel.is_some() { SizeHint::default() } else { SizeHint::with_exact(0) }
    }
}

impl<C, U> Tunnel<C, U>
where
    C: AsyncRead + AsyncWrite + Unpin,
    U: AsyncRead + AsyncWrite + Unpin,
{
    /// Copies until something went to the client. `None`: both sides have ended.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, TunnelError>> {
        if let Client::Upgrading(upgrading) = &mut self.client {
            let client = ready!(upgrading.as_mut().poll(cx)).map_err(TunnelError::Client)?;
            self.client = Client::Here(client);
        }
        loop {
            let budget = ready!(coop::poll_proceed(cx));
            // In turn, so that neither direction starves the other.
            let up = self.poll_up(cx)?;
            let down = self.poll_down(cx)?;
            if self.up.is_closed() && self.down.is_closed() {
                return Poll::Ready(self.end());
            }
            if up.is_pending() && down.is_pending() {
                return self.poll_silence(cx);
            }
            budget.made_progress();
            self.silence = None;
            if let Poll::Ready(Some(written)) = down {
                return Poll::Ready(Ok(Some(written)));
            }
        }
    }

    fn poll_up(&mut self, cx: &mut Context<'_>) -> Result<Poll<()>, TunnelError> {
        let Client::Here(client) = &mut self.client else { return Ok(Poll::Pending) };
        let step = self.up.poll_step(cx, Pin::new(client), Pin::new(&mut self.upstream));
        match step {
            Poll::Pending => return Ok(Poll::Pending),
            Poll::Ready(Ok(Step::Ended)) => self.unanswered = self.down.is_open(),
            Poll::Ready(Ok(_)) => {}
            // Whether that is a failure its own end tells: it may have said its last word before.
            Poll::Ready(Err(Broken::Writing(_))) => self.up.close(),
            Poll::Ready(Err(Broken::Reading(error)))
                if self.down.is_open() && !self.is_closed() =>
            {
                return Err(TunnelError::Client(error.into()));
            }
            Poll::Ready(Err(Broken::Reading(_))) => self.up.close(),
        }
        Ok(Poll::Ready(()))
    }

    fn poll_down(&mut self, cx: &mut Context<'_>) -> Result<Poll<Option<Bytes>>, TunnelError> {
        let Client::Here(client) = &mut self.client else { return Ok(Poll::Pending) };
        let step = self.down.poll_step(cx, Pin::new(&mut self.upstream), Pin::new(client));
        let written = match step {
            Poll::Pending => return Ok(Poll::Pending),
            Poll::Ready(Ok(Step::Written(bytes))) => {
                self.unanswered = false;
                if let Some(frames) = &mut self.frames {
                    frames.feed(&bytes);
                }
                Some(bytes)
            }
            Poll::Ready(Ok(_)) => None,
            Poll::Ready(Err(Broken::Reading(error))) => return Err(TunnelError::Upstream(error)),
            Poll::Ready(Err(Broken::Writing(error))) if self.down.is_open() => {
                return Err(TunnelError::Client(error.into()));
            }
            // Everything is with the client, who is gone already.
            Poll::Ready(Err(Broken::Writing(_))) => None,
        };
        Ok(Poll::Ready(written))
    }

    /// Nothing moves. That is as it may be, but not for long once a side has ended.
    fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, TunnelError>> {
        let half = self.up.is_open() != self.down.is_open();
        if half && self.up.is_empty() && self.down.is_empty() {
            let client_waits = self.down.is_open() && !self.is_closed();
            let limit = if client_waits { GONE } else { IN_FLIGHT };
            let timer = self.silence.get_or_insert_with(|| Box::pin(sleep(limit)));
            if timer.as_mut().poll(cx).is_ready() || timer.deadline() <= Instant::now() {
                // Whoever has not ended may have nothing to say for hours; the one that did has left.
                self.unanswered = self.down.is_open();
                return Poll::Ready(self.end());
            }
        }
        Poll::Pending
    }

    /// Whether the upstream has said, and the client was told, that nothing follows.
    fn is_closed(&self) -> bool {
        self.frames.as_ref().is_some_and(Frames::is_closed)
    }

    fn end(&self) -> Result<Option<Bytes>, TunnelError> {
        if self.unanswered && !self.is_closed() {
            return Err(TunnelError::Client(io::Error::from(io::ErrorKind::UnexpectedEof).into()));
        }
        Ok(None)
    }
}

impl fmt::Display for TunnelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Client(_) => "the client left the tunnel",
            Self::Upstream(_) => "the upstream's connection broke",
        })
    }
}

impl Error for TunnelError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Client(error) => Some(&**error),
            Self::Upstream(error) => Some(error),
        }
    }
}

impl<C, U> fmt::Debug for TunnelBody<C, U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TunnelBody").field("open", &self.tunnel.is_some()).finish_non_exhaustive()
    }
}
