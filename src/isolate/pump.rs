//! What reads the body, on a thread of its own.

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    task::Poll,
};

use http_body::{Body, Frame};
use tokio::{
    runtime::Handle,
    sync::{
        Semaphore,
        mpsc::{self, Receiver, Sender},
        oneshot,
    },
};

use crate::{
    contain::contain,
    error::{BodyPanicked, BoxError},
    exchange::{Cause, Exchange},
};

/// What the reader gets. `None` is the clean end, said in so many words.
pub(super) type Polled<D> = Option<Result<Frame<D>, BoxError>>;

/// Begins to read `body` on a thread of `runtime`'s.
pub(super) fn start<B>(
    body: Pin<Box<B>>,
    capacity: usize,
    exchange: Exchange,
    runtime: &Handle,
) -> Receiver<Polled<B::Data>>
where
    B: Body + Send + 'static,
    B::Data: Send + 'static,
    B::Error: Into<BoxError>,
{
    let (frames, reader) = mpsc::channel(capacity.clamp(1, Semaphore::MAX_PERMITS));
    let (mut alive, shutdown) = oneshot::channel();
    // A runtime that shuts down drops this task, and then waits for its blocking threads: so they learn of it.
    drop(runtime.spawn(async move { alive.closed().await }));
    let here = runtime.clone();
    drop(runtime.spawn_blocking(move || {
        let mut body = Some(body);
        here.block_on(until_left(read(&mut body, &frames, &exchange), &frames, shutdown));
        let _ = contain(|| drop(body));
    }));
    reader
}

/// Runs `reading` until it is over, or nobody wants it any more.
async fn until_left<D>(
    reading: impl Future<Output = ()>,
    frames: &Sender<Polled<D>>,
    mut shutdown: oneshot::Receiver<()>,
) {
    let (mut reading, mut left) = (pin!(reading), pin!(frames.closed()));
    poll_fn(|cx| {
        if left.as_mut().poll(cx).is_ready() || Pin::new(&mut shutdown).poll(cx).is_ready() {
            return Poll::Ready(());
        }
        reading.as_mut().poll(cx)
    })
    .await;
}

/// Hands on what the body gives, and its end when the body is gone.
async fn read<B>(
    body: &mut Option<Pin<Box<B>>>,
    frames: &Sender<Polled<B::Data>>,
    exchange: &Exchange,
) where
    B: Body,
    B::Error: Into<BoxError>,
{
    loop {
        let polled = match body {
            Some(body) => {
                poll_fn(|cx| match contain(|| body.as_mut().poll_frame(cx)) {
                    Ok(polled) => {
                        polled.map(|polled| polled.map(|frame| frame.map_err(Into::into)))
                    }
                    Err(message) => {
                        // Before the body is dropped, so that whoever watches inside is told the same.
                        exchange.record(Cause::Panicked(message.clone()));
                        Poll::Ready(Some(Err(BodyPanicked::new(message).into())))
                    }
                })
                .await
            }
            None => None,
        };
        let ended = !matches!(&polled, Some(Ok(frame)) if !frame.is_trailers());
        // hyper polls no more after the flag either, and bodies may rely on that.
        let flagged = || body.as_ref().is_some_and(Body::is_end_stream);
        if ended || contain(flagged).unwrap_or(false) {
            let body = body.take();
            let _ = contain(|| drop(body));
        }
        if frames.send(polled).await.is_err() || ended {
            return;
        }
    }
}
