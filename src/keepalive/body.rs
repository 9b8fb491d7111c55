//! The body that sends heartbeats.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};

use super::Heartbeat;
use crate::{
    align::{Align, DEFAULT_HOLD},
    aligned::{Aligned, OnError},
    sse::{Decoded, DecodedEvent, Decoder},
};

/// A body with heartbeats. See the [module](super) for what happens when.
#[pin_project]
pub struct IdleKeepaliveBody<B: Body> {
    #[pin]
    inner: Aligned<B>,
    heartbeat: Heartbeat,
    /// Reads along where the heartbeat is made of the last event.
    last: Option<Last>,
    interval: Duration,
    /// When nothing had been sent for no time; `None` when a frame went out since that was asked.
    idle_since: Option<Instant>,
    /// Made at the first pause, so that a body can be made and dropped without a runtime.
    timer: Option<Pin<Box<Sleep>>>,
}

struct Last {
    decoder: Decoder,
    event: Option<DecodedEvent>,
}

impl Last {
    fn read(&mut self, mut data: Bytes) {
        while let Some(decoded) = self.decoder.decode(&mut data) {
            if let Decoded::Event(event) = decoded {
                self.event = Some(event);
            }
        }
    }
}

impl<B: Body<Data = Bytes>> IdleKeepaliveBody<B> {
    /// Sends `heartbeat` whenever nothing was sent for `interval`; at least 1 ms. Stands aside when the body's size is
    /// exact. That the body is of the heartbeat's media type is for the caller to know.
    pub fn new(body: B, interval: Duration, heartbeat: Heartbeat) -> Self {
        let silent = heartbeat.bytes.is_empty() && heartbeat.compute.is_none();
        let aside = silent || body.size_hint().exact().is_some();
        let align = (!aside).then(|| Align::new(heartbeat.media, DEFAULT_HOLD));
        let last = heartbeat.compute.as_ref().filter(|_| !aside);
        let last = last.map(|_| Last { decoder: Decoder::with_limit(DEFAULT_HOLD), event: None });
        Self {
            inner: Aligned::new(body, align, OnError::HandOn),
            heartbeat,
            last,
            interval: interval.max(Duration::from_millis(1)),
            idle_since: None,
            timer: None,
        }
    }
}

impl<B: Body<Data = Bytes>> Body for IdleKeepaliveBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let mut this = self.project();
        if let Poll::Ready(frame) = this.inner.as_mut().poll_frame(cx) {
            // An empty frame is silence to the client: HTTP/1 does not even send it.
            let data = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref());
            if !data.is_some_and(Bytes::is_empty) {
                *this.idle_since = None;
            }
            if let (Some(last), Some(data)) = (this.last, data) {
                last.read(data.clone());
            }
            return Poll::Ready(frame);
        }
        loop {
            let Some(align) = this.inner.as_mut().align() else { return Poll::Pending };
            let (may_insert, begun) = (align.may_insert(), align.has_begun());
            let since = *this.idle_since.get_or_insert_with(Instant::now);
            // Not while a large event is on its way, nor in a time that no clock will reach.
            let (true, Some(due)) = (may_insert, since.checked_add(*this.interval)) else {
                return Poll::Pending;
            };
            let timer = this.timer.get_or_insert_with(|| Box::pin(sleep_until(due)));
            ready!(timer.as_mut().poll(cx));
            if Instant::now() < due {
                // It was set for an earlier pause. Setting it here and not with each frame keeps frames cheap.
                timer.as_mut().reset(due);
                ready!(timer.as_mut().poll(cx));
            }
            if this.inner.is_end_stream() {
                // Its reader may know that nothing follows (truths.md 1), or else learns it here.
                this.inner.release();
                return Poll::Ready(None);
            }
            *this.idle_since = None;
            let heartbeat = match (&this.heartbeat.compute, &this.heartbeat.early) {
                (Some(compute), _) => {
                    compute.bytes(this.last.as_ref().and_then(|last| last.event.as_ref()))
                }
                (None, Some(early)) if !begun => early.clone(),
                (None, _) => this.heartbeat.bytes.clone(),
            };
            if !heartbeat.is_empty() {
                if let Some(align) = this.inner.align() {
                    align.inserted();
                }
                return Poll::Ready(Some(Ok(Frame::data(heartbeat))));
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl<B: Body> fmt::Debug for IdleKeepaliveBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IdleKeepaliveBody")
            .field("interval", &self.interval)
            .finish_non_exhaustive()
    }
}
