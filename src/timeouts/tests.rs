//! Each row of the module's tables.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use testkit::Script;
use tokio::time::Instant;

use super::{Activity, Limit, Limits, TimedOut, TimeoutsBody};
use crate::{error::BoxError, exchange::Cause};

mod activity;
mod body;
mod layer;
mod unread;
mod upload;

const SECOND: Duration = Duration::from_secs(1);

/// What a limit of two minutes leaves behind.
pub(crate) fn hit(limit: Limit) -> Cause {
    Cause::TimedOut(TimedOut::new(limit, Duration::from_secs(120)))
}

fn limit(error: &BoxError) -> Limit {
    error.downcast_ref::<TimedOut>().unwrap_or_else(|| panic!("{error}")).limit()
}

/// How the reading of a body ended: its bytes, then the limit that was hit, and after how many seconds.
type Read = (Vec<u8>, Option<(Limit, f64)>);

/// Reads a body as a client that is never slow, and makes sure that nothing follows its end.
async fn read(mut body: TimeoutsBody<Script>) -> Read {
    let (start, mut bytes, mut ended) = (Instant::now(), Vec::new(), None);
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => bytes.extend(frame.into_data().unwrap_or_default()),
            Err(error) => ended = Some((limit(&error), start.elapsed().as_secs_f64())),
        }
    }
    assert!(body.frame().await.is_none(), "it is fused");
    (bytes, ended)
}

async fn next(body: &mut TimeoutsBody<Script>) -> Bytes {
    body.frame().await.unwrap().unwrap().into_data().unwrap()
}
