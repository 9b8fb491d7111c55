//! How long each part of a response may take.

use std::time::Duration;

/// How long each part of a response may take. What is not set has no limit; a setter takes a [`Duration`] or an
/// `Option` of one.
///
/// ```
/// use std::time::Duration;
/// use tower_lifeline::timeouts::Limits;
///
/// let limits = Limits::new()
///     .upload(Duration::from_secs(60))
///     .head(Duration::from_secs(20 * 60)) // An answer that is no stream has its head at its end.
///     .first_frame(Duration::from_secs(5 * 60))
///     .idle(Duration::from_secs(10 * 60))
///     .total(None)
///     .unread(Duration::from_secs(60));
/// # let _ = tower_lifeline::timeouts::TimeoutsLayer::new(limits);
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Limits {
    pub(super) upload: Option<Duration>,
    pub(super) head: Option<Duration>,
    pub(super) first_frame: Option<Duration>,
    pub(super) idle: Option<Duration>,
    pub(super) total: Option<Duration>,
    pub(super) unread: Option<Duration>,
}

impl Limits {
    /// Sets no limit yet.
    pub const fn new() -> Self {
        Self { upload: None, head: None, first_frame: None, idle: None, total: None, unread: None }
    }

    /// Before the response head: since the client has sent nothing of its unfinished request, while the service asks for
    /// more. Holds only with an [`UploadLayer`](crate::upload) inside.
    pub fn upload(mut self, after: impl Into<Option<Duration>>) -> Self {
        self.upload = after.into();
        self
    }

    /// To the response head: from the call, or with an [`UploadLayer`](crate::upload) inside since the service has the whole
    /// request, or has taken no more of it.
    pub fn head(mut self, after: impl Into<Option<Duration>>) -> Self {
        self.head = after.into();
        self
    }

    /// From the head to the first byte of the body.
    pub fn first_frame(mut self, after: impl Into<Option<Duration>>) -> Self {
        self.first_frame = after.into();
        self
    }

    /// From the first byte on: between one sign of progress and the next.
    pub fn idle(mut self, after: impl Into<Option<Duration>>) -> Self {
        self.idle = after.into();
        self
    }

    /// From the call to the end.
    pub fn total(mut self, after: impl Into<Option<Duration>>) -> Self {
        self.total = after.into();
        self
    }

    /// From the moment when the client was given something to the moment when it asks for more; at least 1 ms.
    pub fn unread(mut self, after: impl Into<Option<Duration>>) -> Self {
        self.unread = after.into();
        self
    }
}
