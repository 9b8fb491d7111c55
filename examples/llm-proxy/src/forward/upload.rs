//! A request body on its way to the upstream, always read to its end.
//!
//! hyper notices that an HTTP/1 client has left only once it has read the whole request. An upstream may answer, or
//! stall, without reading it, so a task of its own reads ahead of the upstream, and reads on when the upstream has
//! dropped the rest: each within a bound. Beyond the bounds, only a failed write tells that the client has left.
//!
//! An upload that breaks off after the answer has begun is kept from the upstream until the answer is over: it would
//! take the answer with it, and the upstream would be blamed. A client that left is noticed at its socket.

use std::{
    error::Error,
    fmt,
    io::{self, ErrorKind},
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::{
    sync::{
        OwnedSemaphorePermit, Semaphore,
        mpsc::{self, UnboundedReceiver, UnboundedSender},
    },
    task::coop,
    time::timeout,
};
use tower::BoxError;

use super::answer::Begun;

#[cfg(test)]
mod tests;

/// So many bytes may wait for the upstream.
const READ_AHEAD: usize = 4 * 1024 * 1024;
/// What a frame costs beside its bytes, so that a flood of tiny ones is bounded too.
const FRAME_COST: usize = 256;
/// So much of what the upstream does not want is read on, for the client's sake ...
const DRAIN_BYTES: usize = 16 * 1024 * 1024;
/// ... for so long.
const DRAIN_TIME: Duration = Duration::from_secs(30);

/// The body that the upstream's connection sends.
#[derive(Debug)]
pub(crate) struct Upload {
    /// `None` once the end was handed out.
    pieces: Option<UnboundedReceiver<Piece>>,
    /// What is still to come, where it was announced.
    left: Option<u64>,
}

#[derive(Debug)]
enum Piece {
    /// Gives its room back when the upstream takes it.
    Frame(Frame<Bytes>, OwnedSemaphorePermit),
    Failed(BoxError),
    End,
}

/// The body of the request broke off: the client's doing, not the upstream's.
#[derive(Debug)]
pub(crate) struct UploadFailed(BoxError);

impl UploadFailed {
    /// Whether the client is gone, and did not only send what can not be read.
    pub(super) fn client_left(&self) -> bool {
        let gone = [ErrorKind::UnexpectedEof, ErrorKind::ConnectionReset, ErrorKind::BrokenPipe];
        let mut link: Option<&(dyn Error + 'static)> = Some(&*self.0);
        while let Some(error) = link {
            if error.downcast_ref::<io::Error>().is_some_and(|error| gone.contains(&error.kind())) {
                return true;
            }
            link = error.source();
        }
        false
    }
}

impl fmt::Display for UploadFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the request's body broke off")
    }
}

impl Error for UploadFailed {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.0)
    }
}

impl Upload {
    /// Must be called within a runtime.
    pub(super) fn new<B>(body: B, begun: Begun) -> Self
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        if body.is_end_stream() {
            return Self { pieces: None, left: Some(0) };
        }
        let left = body.size_hint().exact();
        let (to_upstream, pieces) = mpsc::unbounded_channel();
        tokio::spawn(read_ahead(body, begun, to_upstream));
        Self { pieces: Some(pieces), left }
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Some(pieces) = &mut self.pieces else {
            return Poll::Ready(None);
        };
        let piece = ready!(pieces.poll_recv(cx));
        let last = match piece {
            Some(Piece::Frame(frame, _room)) => {
                let taken = length(&frame) as u64;
                self.left = self.left.map(|left| left.saturating_sub(taken));
                return Poll::Ready(Some(Ok(frame)));
            }
            Some(Piece::Failed(error)) => Some(Err(UploadFailed(error).into())),
            Some(Piece::End) => None,
            // Only at the runtime's shutdown. It must not look like the end.
            None => Some(Err("the request was cut off".into())),
        };
        self.pieces = None;
        Poll::Ready(last)
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

async fn read_ahead<B>(body: B, mut begun: Begun, to_upstream: UnboundedSender<Piece>)
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    let room = Arc::new(Semaphore::new(READ_AHEAD));
    let mut body = pin!(body.map_err(Into::into));
    loop {
        let frame = tokio::select! {
            frame = body.frame() => frame,
            () = to_upstream.closed() => break,
        };
        let piece = match frame {
            None => Piece::End,
            Some(Err(error)) => {
                begun.answered().await;
                Piece::Failed(error)
            }
            Some(Ok(frame)) => {
                let cost = cost(&frame).min(READ_AHEAD);
                let cost = u32::try_from(cost).unwrap_or(u32::MAX);
                let Ok(room) = Arc::clone(&room).acquire_many_owned(cost).await else {
                    return;
                };
                Piece::Frame(frame, room)
            }
        };
        let last = !matches!(piece, Piece::Frame(..));
        let unwanted = to_upstream.send(piece).is_err();
        if last {
            return;
        }
        if unwanted {
            break;
        }
    }
    if !begun.gave_client_up() {
        let _ = timeout(DRAIN_TIME, drain(body)).await;
    }
}

async fn drain<B: Body<Data = Bytes>>(mut body: Pin<&mut B>) {
    let mut drained = 0;
    while drained < DRAIN_BYTES
        && let Some(Ok(frame)) = body.frame().await
    {
        drained += cost(&frame);
        coop::consume_budget().await;
    }
}

fn length(frame: &Frame<Bytes>) -> usize {
    frame.data_ref().map_or(0, Bytes::len)
}

fn cost(frame: &Frame<Bytes>) -> usize {
    length(frame) + FRAME_COST
}
