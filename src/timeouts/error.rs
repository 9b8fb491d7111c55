//! Which limit was hit.

use std::{error::Error, fmt, time::Duration};

use http::StatusCode;

/// A time limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Limit {
    /// Before the response head: the client has sent nothing of its unfinished request.
    Upload,
    /// The service has sent no response head.
    Head,
    /// From the head to the first byte of the body.
    FirstFrame,
    /// From one sign of progress to the next.
    Idle,
    /// From the call to the end.
    Total,
    /// From a frame that was handed on to the moment when the next is asked for: the client does not read.
    Unread,
}

impl Limit {
    /// The stable name: `upload`, `head`, `first_frame`, `idle`, `total`, `unread`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Upload => "upload",
            Self::Head => "head",
            Self::FirstFrame => "first_frame",
            Self::Idle => "idle",
            Self::Total => "total",
            Self::Unread => "unread",
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The error of a body that hit a time limit. Downcast to it to read which.
///
/// ```
/// use std::time::Duration;
/// use tower_lifeline::timeouts::{Limit, TimedOut};
///
/// let error = TimedOut::new(Limit::Idle, Duration::from_secs(120));
/// assert_eq!(error.to_string(), "idle timeout: no progress for 120s");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimedOut {
    limit: Limit,
    after: Duration,
    elapsed: Option<Duration>,
}

impl TimedOut {
    /// The limit, and how long it is.
    pub const fn new(limit: Limit, after: Duration) -> Self {
        Self { limit, after, elapsed: None }
    }

    pub(super) const fn at(mut self, elapsed: Duration) -> Self {
        self.elapsed = Some(elapsed);
        self
    }

    /// Which limit was hit.
    pub const fn limit(&self) -> Limit {
        self.limit
    }

    /// How long it is.
    pub const fn after(&self) -> Duration {
        self.after
    }

    /// The status of an answer in place of the response head: 408 for a request that did not come to its end, else 504.
    pub const fn status(&self) -> StatusCode {
        match self.limit {
            Limit::Upload => StatusCode::REQUEST_TIMEOUT,
            _ => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    /// From the start of the exchange to the moment when it was hit; `None` where that is not known.
    pub const fn elapsed(&self) -> Option<Duration> {
        self.elapsed
    }
}

impl fmt::Display for TimedOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (limit, after) = (self.limit, self.after);
        match limit {
            Limit::Upload => write!(f, "{limit} timeout: nothing of the request for {after:?}"),
            Limit::Head => write!(f, "{limit} timeout: no response head for {after:?}"),
            Limit::FirstFrame => write!(f, "{limit} timeout: no byte of the body for {after:?}"),
            Limit::Idle => write!(f, "{limit} timeout: no progress for {after:?}"),
            Limit::Total => write!(f, "{limit} timeout: not finished in {after:?}"),
            Limit::Unread => write!(f, "{limit} timeout: not read by the client for {after:?}"),
        }
    }
}

impl Error for TimedOut {}
