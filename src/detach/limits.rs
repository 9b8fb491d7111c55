//! How much is read after a client left.

use std::time::Duration;

/// Bounds the reading after a client left.
///
/// ```
/// use std::time::Duration;
/// use tower_lifeline::detach::DrainLimits;
///
/// let limits = DrainLimits::new().time(Duration::from_secs(10)).streams(20);
/// assert_eq!(limits.bytes, 1024 * 1024); // the default
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[must_use]
pub struct DrainLimits {
    /// How long one response is read on; 60 s unless said otherwise.
    pub time: Duration,
    /// How many bytes of data of one response are read on; 1 MiB unless said otherwise.
    pub bytes: u64,
    /// How many responses are read on at once; 100 unless said otherwise.
    pub streams: usize,
}

impl DrainLimits {
    /// 60 s, 1 MiB, 100 responses at once.
    pub const fn new() -> Self {
        Self { time: Duration::from_secs(60), bytes: 1024 * 1024, streams: 100 }
    }

    /// Sets how long one response is read on.
    pub const fn time(mut self, time: Duration) -> Self {
        self.time = time;
        self
    }

    /// Sets how many bytes of data of one response are read on. The frame that exceeds it is the last one read.
    pub const fn bytes(mut self, bytes: u64) -> Self {
        self.bytes = bytes;
        self
    }

    /// Sets how many responses are read on at once. A client that leaves when there are so many ends its response at once.
    pub const fn streams(mut self, streams: usize) -> Self {
        self.streams = streams;
        self
    }
}

impl Default for DrainLimits {
    fn default() -> Self {
        Self::new()
    }
}
