//! What has passed so far, readable from other threads.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::Duration,
};

use tokio::time::Instant;

/// Counts of an exchange under way. Written by one body, read by anyone; each number by itself is exact.
#[derive(Debug)]
pub struct Progress {
    started: Instant,
    claimed: AtomicBool,
    departed: AtomicBool,
    bytes: AtomicU64,
    frames: AtomicU64,
    head: AtomicU64,
    first_frame: AtomicU64,
    last_frame: AtomicU64,
}

/// A time since the start in nanoseconds; stands for "not yet". Five hundred years are enough.
const NEVER: u64 = u64::MAX;

impl Progress {
    pub(crate) fn new() -> Self {
        Self {
            started: Instant::now(),
            claimed: AtomicBool::new(false),
            departed: AtomicBool::new(false),
            bytes: AtomicU64::new(0),
            frames: AtomicU64::new(0),
            head: AtomicU64::new(NEVER),
            first_frame: AtomicU64::new(NEVER),
            last_frame: AtomicU64::new(NEVER),
        }
    }

    pub(crate) fn started(&self) -> Instant {
        self.started
    }

    /// Lets one writer in: the first [`Finalize`](crate::finalize) that asks. Others count for themselves.
    pub(crate) fn claim(&self) -> bool {
        !self.claimed.swap(true, Ordering::Relaxed)
    }

    pub(crate) fn head(&self, after: Duration) {
        self.head.store(nanos(after), Ordering::Relaxed);
    }

    pub(crate) fn frame(&self, frames: u64, bytes: u64, after: Duration) {
        let after = nanos(after);
        if frames == 1 {
            self.first_frame.store(after, Ordering::Relaxed);
        }
        self.last_frame.store(after, Ordering::Relaxed);
        self.frames.store(frames, Ordering::Relaxed);
        self.bytes.store(bytes, Ordering::Relaxed);
    }

    pub(crate) fn depart(&self) {
        self.departed.store(true, Ordering::Relaxed);
    }

    /// A frame that nobody gets: it counts for nothing but as a sign of life.
    pub(crate) fn drained(&self, after: Duration) {
        self.last_frame.store(nanos(after), Ordering::Relaxed);
    }

    /// Whether the client has left while the rest is read by a [`DetachLayer`](crate::detach).
    pub fn is_draining(&self) -> bool {
        self.departed.load(Ordering::Relaxed)
    }

    /// Bytes of data taken from the inner body and handed on. Not the same as delivered.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Data frames taken from the inner body and handed on.
    pub fn frames(&self) -> u64 {
        self.frames.load(Ordering::Relaxed)
    }

    /// Time since the first layer saw the request.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// From the start to the response head.
    pub fn time_to_head(&self) -> Option<Duration> {
        since_start(&self.head)
    }

    /// From the start to the first data frame.
    pub fn time_to_first_frame(&self) -> Option<Duration> {
        since_start(&self.first_frame)
    }

    /// Time since the last data frame.
    pub fn since_last_frame(&self) -> Option<Duration> {
        since_start(&self.last_frame).map(|at| self.elapsed().saturating_sub(at))
    }
}

fn nanos(after: Duration) -> u64 {
    u64::try_from(after.as_nanos()).unwrap_or(NEVER - 1)
}

fn since_start(at: &AtomicU64) -> Option<Duration> {
    match at.load(Ordering::Relaxed) {
        NEVER => None,
        nanos => Some(Duration::from_nanos(nanos)),
    }
}
