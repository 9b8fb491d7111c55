//! Why an exchange ended, and the stable names of it.

use std::{borrow::Cow, error::Error, fmt, sync::Arc};

use crate::{
    abort::{AbortReason, Aborted},
    error::{BodyPanicked, ErrorChain},
    timeouts::TimedOut,
    tunnel::TunnelError,
};

/// How an exchange ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// The response was handed on to its end. Not the same as delivered: hyper may still hold megabytes of it.
    Completed,
    /// The client left, or whoever stands between dropped the response after it had begun to read it.
    Disconnected,
    /// The service or the body failed.
    Failed,
    /// The body ended cleanly but before the length that was announced.
    Truncated,
    /// An [`AbortHandle`](crate::abort::AbortHandle) was tripped.
    Aborted,
    /// A time limit was hit.
    TimedOut,
    /// The service or the body panicked.
    Panicked,
    /// Nobody ever began to read the body: an outer layer replaced the response.
    Discarded,
}

impl Outcome {
    /// The stable name, for logs, metrics and databases.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Disconnected => "disconnected",
            Self::Failed => "failed",
            Self::Truncated => "truncated",
            Self::Aborted => "aborted",
            Self::TimedOut => "timed_out",
            Self::Panicked => "panicked",
            Self::Discarded => "discarded",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The cause of the end of an exchange: an [`Outcome`] with what is known about it.
///
/// An exchange has one. The first is kept and none replaces it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Cause {
    /// See [`Outcome::Completed`].
    Completed,
    /// See [`Outcome::Disconnected`].
    Disconnected,
    /// See [`Outcome::Failed`].
    Failed {
        /// A short name for it, if whoever recorded it gave one.
        reason: Option<Cow<'static, str>>,
        /// The messages of the error, if there was one.
        error: Option<ErrorChain>,
    },
    /// See [`Outcome::Truncated`].
    Truncated,
    /// See [`Outcome::Aborted`].
    Aborted(AbortReason),
    /// See [`Outcome::TimedOut`]: which limit.
    TimedOut(TimedOut),
    /// See [`Outcome::Panicked`]: the message of the panic.
    Panicked(Arc<str>),
    /// See [`Outcome::Discarded`].
    Discarded,
}

impl Cause {
    /// A failure with the error that says why. An error that is an [`Aborted`], a [`TimedOut`] or a [`BodyPanicked`], or
    /// has one among its sources, is that; a [`TunnelError::Client`] is [`Cause::Disconnected`]; one of a missing terminator
    /// (feature `usage`) is [`Cause::Truncated`].
    pub fn failed(error: &(dyn Error + 'static)) -> Self {
        let mut link = Some(error);
        while let Some(error) = link {
            if let Some(aborted) = error.downcast_ref::<Aborted>() {
                return Self::Aborted(aborted.reason().clone());
            }
            if let Some(timed_out) = error.downcast_ref::<TimedOut>() {
                return Self::TimedOut(timed_out.clone());
            }
            if let Some(panicked) = error.downcast_ref::<BodyPanicked>() {
                return Self::Panicked(panicked.message().into());
            }
            if let Some(TunnelError::Client(_)) = error.downcast_ref() {
                return Self::Disconnected;
            }
            #[cfg(feature = "usage")]
            if error.is::<crate::usage::MissingTerminator>() {
                return Self::Truncated;
            }
            link = error.source();
        }
        Self::Failed { reason: None, error: Some(ErrorChain::of(error)) }
    }

    /// The stream itself said that it failed.
    #[cfg(feature = "usage")]
    pub(crate) const fn told_failure() -> Self {
        Self::Failed { reason: Some(Cow::Borrowed("upstream_error_event")), error: None }
    }

    /// The outcome that this cause leads to.
    pub const fn outcome(&self) -> Outcome {
        match self {
            Self::Completed => Outcome::Completed,
            Self::Disconnected => Outcome::Disconnected,
            Self::Failed { .. } => Outcome::Failed,
            Self::Truncated => Outcome::Truncated,
            Self::Aborted(_) => Outcome::Aborted,
            Self::TimedOut(_) => Outcome::TimedOut,
            Self::Panicked(_) => Outcome::Panicked,
            Self::Discarded => Outcome::Discarded,
        }
    }

    /// The reason of an abort, the limit that was hit, the message of a panic, the short name of a failure.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Aborted(reason) => Some(reason.text()),
            Self::TimedOut(timed_out) => Some(timed_out.limit().as_str()),
            Self::Panicked(message) => Some(message),
            Self::Failed { reason, .. } => reason.as_deref(),
            Self::Completed | Self::Disconnected | Self::Truncated | Self::Discarded => None,
        }
    }

    /// What to tell a client, in fixed words: the operator's own text of an abort, the limit that was hit, or that it failed.
    ///
    /// Never the text of an error or of a panic, which may hold an address of the upstream or a key: those are for logs, see
    /// [`error`](Self::error).
    ///
    /// ```
    /// use tower_lifeline::exchange::Cause;
    ///
    /// let cause = Cause::failed(&std::io::Error::other("no route to https://10.0.0.7/v1?key=secret"));
    /// assert_eq!(cause.client_message(), "the upstream failed");
    /// ```
    pub fn client_message(&self) -> Cow<'_, str> {
        Cow::Borrowed(match self {
            Self::Aborted(reason) => reason.text(),
            Self::TimedOut(timed_out) => return Cow::Owned(timed_out.to_string()),
            Self::Failed { .. } => "the upstream failed",
            Self::Truncated => "the upstream's answer ended before it was complete",
            Self::Panicked(_) => "internal error",
            Self::Completed | Self::Disconnected | Self::Discarded => "the answer ended early",
        })
    }

    /// A stable word for programs of the client: the kind of an abort ([`AbortKind`](crate::abort::AbortKind)), the limit that
    /// was hit, the short name of a failure, else the outcome.
    pub fn client_code(&self) -> &str {
        match self {
            Self::Aborted(reason) => reason.kind().as_str(),
            Self::TimedOut(timed_out) => timed_out.limit().as_str(),
            Self::Failed { reason: Some(reason), .. } => reason,
            Self::Failed { reason: None, .. }
            | Self::Truncated
            | Self::Panicked(_)
            | Self::Completed
            | Self::Disconnected
            | Self::Discarded => self.outcome().as_str(),
        }
    }

    /// The error of a failure.
    pub const fn error(&self) -> Option<&ErrorChain> {
        match self {
            Self::Failed { error, .. } => error.as_ref(),
            _ => None,
        }
    }
}
