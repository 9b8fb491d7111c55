//! The task that reads a client's body, ahead of the upstream and behind it.

use std::{pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body::Body;
use http_body_util::BodyExt;
use tokio::{task::coop, time::timeout};
use tower::BoxError;

use super::{UploadFailed, budget::OVERHEAD, buffer::Buffer, state::Demand};
use crate::forward::answer::Begun;

/// So much of what the upstream does not want is read on, for the client's sake ...
pub(super) const DRAIN_BYTES: usize = 16 * 1024 * 1024;
/// ... for so long.
pub(super) const DRAIN_TIME: Duration = Duration::from_secs(30);

/// The side of the task: when that dies, the upstream must know.
pub(super) struct Task(pub(super) Arc<Buffer>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

pub(super) async fn read_ahead<B>(body: B, mut begun: Begun, task: Task)
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
        drained += frame.data_ref().map_or(0, Bytes::len) + OVERHEAD;
        coop::consume_budget().await;
    }
}
