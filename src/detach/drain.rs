//! The task that reads what is left.

use std::{future::poll_fn, pin::Pin, sync::Arc};

use bytes::Buf;
use http_body::Body;
use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore},
    task::coop,
    time::timeout,
};

use super::DrainLimits;
use crate::{
    contain::{contain, contain_poll},
    exchange::{DrainEnd, Exchange},
    flag::poll_flagged,
};

/// What a body needs when its reader leaves.
pub(super) struct Departure {
    pub(super) exchange: Exchange,
    pub(super) limits: DrainLimits,
    pub(super) free: Arc<Semaphore>,
    /// Kept, since the drop may happen on any thread (truths.md 6).
    pub(super) runtime: Handle,
}

/// The reader left: reads the rest in a task, or drops it. `left` is the number of bytes that are still to come, if known;
/// `begun`: it had begun to read.
pub(super) fn depart<B>(body: Pin<Box<B>>, departure: Departure, left: Option<u64>, begun: bool)
where
    B: Body + Send + 'static,
{
    let Departure { exchange, limits, free, runtime } = departure;
    // The flag may have come true since the last poll. A body that panics when it is asked has nothing to read on.
    if contain(|| body.is_end_stream()).unwrap_or(true) {
        return;
    }
    if !exchange.depart(begun) {
        return;
    }
    // Asked for now and not before, so that a client that stays costs nothing; and not waited for.
    let permit = free.try_acquire_owned().ok();
    let mut rest = Rest { body: Some(body), exchange, permit };
    if rest.permit.is_none() {
        return rest.end(DrainEnd::Limit);
    }
    // A runtime that is shutting down drops the task at once, and with it the rest.
    drop(runtime.spawn(async move {
        let end = match timeout(limits.time, rest.read(limits.bytes, left)).await {
            Ok(end) => end,
            Err(_) => DrainEnd::Limit,
        };
        rest.end(end);
    }));
}

/// The rest of a body. If it is dropped without an end, the runtime shut down.
// The field order is the drop order: a drain counts until the upstream is released.
struct Rest<B> {
    body: Option<Pin<Box<B>>>,
    exchange: Exchange,
    permit: Option<OwnedSemaphorePermit>,
}

impl<B> Rest<B> {
    fn end(&mut self, end: DrainEnd) {
        self.exchange.stop_drain(end);
        let body = self.body.take();
        let _ = contain(|| drop(body));
    }
}

impl<B: Body> Rest<B> {
    async fn read(&mut self, limit: u64, left: Option<u64>) -> DrainEnd {
        let Some(body) = &mut self.body else { return DrainEnd::Completed };
        let mut bytes = 0;
        loop {
            coop::consume_budget().await;
            match poll_fn(|cx| contain_poll(|| poll_flagged(body.as_mut(), cx))).await {
                Ok((Some(Ok(frame)), false)) if !frame.is_trailers() => {
                    bytes += frame.data_ref().map_or(0, |data| data.remaining() as u64);
                }
                Ok((Some(Ok(_)) | None, _)) => return DrainEnd::Completed,
                Ok((Some(Err(_)), _)) | Err(_) => return DrainEnd::Failed,
            }
            if left.is_some_and(|left| bytes >= left) {
                return DrainEnd::Completed;
            }
            if bytes > limit {
                return DrainEnd::Limit;
            }
        }
    }
}
