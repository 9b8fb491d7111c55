//! A request body on its way to the upstream, always read to its end.
//!
//! hyper notices that an HTTP/1 client has left only once it has read the whole request. An upstream may answer, or
//! stall, without reading it, so a task of its own reads ahead of the upstream, and reads on when the upstream has
//! dropped the rest: each within a bound. Beyond the bounds, only a failed write tells that the client has left.
//!
//! An upload that breaks off after the answer has begun is kept from the upstream until the answer is over: it would
//! take the answer with it, and the upstream would be blamed. A client that left is noticed at its socket.
//!
//! Before there is an answer, what the upstream has had is kept too, within a bound: the request may have to be sent
//! once more.

use std::{
    error::Error,
    fmt,
    io::{self, ErrorKind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::{task::coop, time::timeout};
use tower::BoxError;

pub(super) use self::budget::Budget;
use self::buffer::{Buffer, Demand};
use super::answer::Begun;

mod budget;
mod buffer;
#[cfg(test)]
mod tests;

/// So many bytes may wait for the upstream.
const READ_AHEAD: usize = 4 * 1024 * 1024;
/// So much of what the upstream does not want is read on, for the client's sake ...
const DRAIN_BYTES: usize = 16 * 1024 * 1024;
/// ... for so long.
const DRAIN_TIME: Duration = Duration::from_secs(30);

/// How a request body is read.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Terms {
    /// What the upstream has had is kept.
    pub(super) keep: bool,
    /// The client sends nothing before it is told that its body is wanted.
    pub(super) expects: bool,
}

/// The body that the upstream's connection sends.
#[derive(Debug)]
pub(crate) struct Upload {
    /// `None` for a request without a body.
    source: Option<Reader>,
    /// What is still to come, where it was announced.
    left: Option<u64>,
    /// Whether the end was handed out.
    ended: bool,
}

#[derive(Debug)]
struct Reader {
    buffer: Arc<Buffer>,
    number: u32,
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.buffer.leave(self.number);
    }
}

/// What of a request body is here: to be dropped when there is an answer.
#[derive(Debug)]
pub(super) struct Source {
    buffer: Option<Arc<Buffer>>,
    length: Option<u64>,
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

impl Source {
    /// Must be called within a runtime.
    pub(super) fn new<B>(body: B, begun: Begun, budget: &Budget, terms: Terms) -> (Self, Upload)
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        if body.is_end_stream() {
            return (Self { buffer: None, length: Some(0) }, Upload::new(None, Some(0)));
        }
        let length = body.size_hint().exact();
        let buffer = Arc::new(Buffer::new(budget.clone(), length, terms.keep, terms.expects));
        let reader = Reader { buffer: Arc::clone(&buffer), number: 0 };
        tokio::spawn(read_ahead(body, begun, Task(Arc::clone(&buffer))));
        (Self { buffer: Some(buffer), length }, Upload::new(Some(reader), length))
    }

    /// The body once more, from its start; `None` if that is no longer there. The one before is cut off.
    pub(super) fn again(&self) -> Option<Upload> {
        let reader = match &self.buffer {
            Some(buffer) => Some(Reader { number: buffer.restart()?, buffer: Arc::clone(buffer) }),
            None => None,
        };
        Some(Upload::new(reader, self.length))
    }

    /// Asks a client for its body that waits to be asked.
    pub(super) fn ask(&self) {
        self.asker()();
    }

    /// Does so later.
    pub(super) fn asker(&self) -> impl Fn() + Send + Sync + use<> {
        let buffer = self.buffer.clone();
        move || {
            if let Some(buffer) = &buffer {
                buffer.open();
            }
        }
    }

    /// There is an answer. Whether that was before the client was asked for its body, which it is not any more.
    pub(super) fn answered(&self) -> bool {
        self.buffer.as_ref().is_some_and(|buffer| buffer.spare())
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        if let Some(buffer) = &self.buffer {
            buffer.no_repeat();
        }
    }
}

impl Upload {
    fn new(source: Option<Reader>, left: Option<u64>) -> Self {
        Self { ended: source.is_none(), source, left }
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let (Some(reader), false) = (&self.source, self.ended) else {
            return Poll::Ready(None);
        };
        reader.buffer.poll_next(cx, reader.number).map(|next| match next {
            Some(Ok(frame)) => {
                let taken = length(&frame) as u64;
                self.left = self.left.map(|left| left.saturating_sub(taken));
                Some(Ok(frame))
            }
            last => {
                self.ended = true;
                last
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

/// The side of the task: when that dies, the upstream must know.
struct Task(Arc<Buffer>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

async fn read_ahead<B>(body: B, mut begun: Begun, task: Task)
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    let buffer = &task.0;
    let mut body = Box::pin(body.map_err(Into::into));
    loop {
        match buffer.demand().await {
            Demand::Read => {}
            Demand::Unwanted => break,
            Demand::Spared => {
                // To read of it would be to ask for it.
                drop(body);
                begun.answered().await;
                return buffer.end(Err("the body was not asked for".into()));
            }
        }
        let frame = tokio::select! {
            frame = body.frame() => frame,
            () = buffer.unwanted() => break,
        };
        match frame {
            Some(Ok(frame)) => buffer.push(frame),
            Some(Err(error)) => {
                begun.answered().await;
                return buffer.end(Err(UploadFailed(error).into()));
            }
            None => return buffer.end(Ok(())),
        }
        coop::consume_budget().await;
    }
    if !begun.gave_client_up() {
        let _ = timeout(DRAIN_TIME, drain(body.as_mut())).await;
    }
}

async fn drain<B: Body<Data = Bytes>>(mut body: Pin<&mut B>) {
    let mut drained = 0;
    while drained < DRAIN_BYTES
        && let Some(Ok(frame)) = body.frame().await
    {
        drained += length(&frame) + budget::OVERHEAD;
        coop::consume_budget().await;
    }
}

fn length(frame: &Frame<Bytes>) -> usize {
    frame.data_ref().map_or(0, Bytes::len)
}
