//! How often a client of HTTP/2 resets what it has asked for: each time the upstream has been asked already, and the limits of h2
//! count only what is reset before it is accepted.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;
use tokio::{sync::watch, time::Instant};

use super::idle::Close;

/// So many in such a time are those of people who stop answers, behind a proxy of theirs as well (the limit of Netty).
const BUDGET: u32 = 200;
const WINDOW: Duration = Duration::from_secs(30);
/// Whoever was told to go and resets so many more does not listen.
const PATIENCE: u32 = 3;

#[derive(Clone, Copy, Debug)]
struct Count {
    since: Instant,
    resets: u32,
}

/// The resets of one connection. Cheap to clone; clones are the same count.
#[derive(Clone, Debug)]
pub(super) struct Resets(Arc<watch::Sender<Count>>);

impl Resets {
    pub(super) fn new() -> Self {
        Self(Arc::new(watch::Sender::new(Count { since: Instant::now(), resets: 0 })))
    }

    /// Resolves when there are too many of them.
    pub(super) async fn exceed(&self, closing: bool) -> Close {
        let most = if closing { PATIENCE * BUDGET } else { BUDGET };
        // It lives in `self`: this can not fail.
        let _ = self.0.subscribe().wait_for(|count| count.resets > most).await;
        if closing { Close::Now } else { Close::Gracefully }
    }

    /// The client asks for something.
    pub(super) fn begin(&self) -> Open {
        Open(Some(self.clone()))
    }

    fn add(&self) {
        let now = Instant::now();
        self.0.send_modify(|count| {
            if now.duration_since(count.since) > WINDOW {
                *count = Count { since: now, resets: 0 };
            }
            count.resets += 1;
        });
    }
}

/// Something that was asked for and is not answered to its end. To drop it is a reset.
#[derive(Debug)]
pub(super) struct Open(Option<Resets>);

impl Open {
    fn ends(&mut self) {
        self.0 = None;
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if let Some(resets) = self.0.take() {
            resets.add();
        }
    }
}

/// The body of an answer, whose end is noticed.
#[pin_project]
#[derive(Debug)]
pub(super) struct Counted<B> {
    #[pin]
    body: B,
    open: Option<Open>,
}

impl<B: Body> Counted<B> {
    pub(super) fn new(body: B, mut open: Option<Open>) -> Self {
        if body.is_end_stream() {
            open.iter_mut().for_each(Open::ends);
        }
        Self { body, open }
    }
}

impl<B: Body> Body for Counted<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let mut this = self.project();
        let polled = this.body.as_mut().poll_frame(cx);
        let ended = match &polled {
            Poll::Ready(Some(Ok(_))) => this.body.is_end_stream(),
            Poll::Ready(_) => true,
            Poll::Pending => false,
        };
        if ended {
            this.open.iter_mut().for_each(Open::ends);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
