//! Each row of the module's table.

use std::{error::Error, sync::Mutex, time::Duration};

use bytes::Bytes;
use http::HeaderMap;
use testkit::{Collected, Script, drain};
use tokio::time::Instant;

use super::{Failure, Final, FinalFrameBody};
use crate::{error::BoxError, head::Media};

mod layer;
mod panics;
mod ready_made;
mod unclean;

const LINGER: Duration = Duration::from_millis(5);

/// Reads a body to its end, then makes sure that nothing follows. Tells how long that took, too.
async fn read<F>(mut body: FinalFrameBody<Script, F>) -> (Collected<BoxError>, Duration)
where
    F: Fn(&Failure<'_>) -> Final + Unpin,
{
    let start = Instant::now();
    let seen = drain(&mut body).await;
    let took = start.elapsed();
    for _ in 0..3 {
        assert!(drain(&mut body).await.frames.is_empty(), "it is fused");
    }
    (seen, took)
}

/// A function that must not be asked.
fn never(failure: &Failure<'_>) -> Final {
    panic!("asked about {failure:?}")
}
