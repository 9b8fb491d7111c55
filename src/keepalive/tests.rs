//! Each row of the module's table, and heartbeats forced into the shared vectors.

use std::time::Duration;

use bytes::Bytes;
use http_body::Body;
use http_body_util::BodyExt;
use tokio::time::Instant;

mod bytes_between;
mod from_last;
mod layer;
mod shape;
mod timing;

const SECOND: Duration = Duration::from_secs(1);
const COMMENT: &str = ": keep-alive\n";

/// All data frames of a body with the seconds at which they came.
async fn timeline<B>(body: B) -> Vec<(f64, Bytes)>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Debug,
{
    let (start, mut body, mut seen) = (Instant::now(), body, Vec::new());
    while let Some(frame) = body.frame().await {
        let data = frame.unwrap().into_data().unwrap();
        seen.push((start.elapsed().as_secs_f64(), data));
        assert!(seen.len() < 1_000, "it spins");
    }
    seen
}

/// The same, as far as texts go.
fn texts(timeline: &[(f64, Bytes)]) -> Vec<(f64, &str)> {
    timeline.iter().map(|(at, data)| (*at, std::str::from_utf8(data).unwrap())).collect()
}
