//! The error of a body that was cut.

use std::{error::Error, fmt};

use super::AbortReason;
use crate::{error::BoxError, exchange::Cause};

/// The error of a body that was aborted. Downcast to it to read the reason.
///
/// With the feature `h2` its `source()` is an `h2::Error`, by which hyper chooses the code of the stream reset.
#[derive(Debug)]
pub struct Aborted {
    reason: AbortReason,
    #[cfg(feature = "h2")]
    reset: h2::Error,
}

impl Aborted {
    pub(super) fn new(reason: AbortReason, reset: Reset) -> Self {
        #[cfg(not(feature = "h2"))]
        let Reset {} = reset;
        Self {
            reason,
            #[cfg(feature = "h2")]
            reset: reset.code.into(),
        }
    }

    /// Why.
    pub const fn reason(&self) -> &AbortReason {
        &self.reason
    }
}

impl fmt::Display for Aborted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "aborted: {}", self.reason)
    }
}

impl Error for Aborted {
    #[cfg(feature = "h2")]
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.reset)
    }
}

/// The code that an h2 stream is reset with; without the feature `h2` there is no choice.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reset {
    #[cfg(feature = "h2")]
    pub(super) code: h2::Reason,
}

impl Reset {
    pub(super) const DEFAULT: Self = Self {
        #[cfg(feature = "h2")]
        code: h2::Reason::INTERNAL_ERROR,
    };
}

/// The error of a body that was cut for a cause.
pub(super) fn cut_error(cause: &Cause, reset: Reset) -> BoxError {
    match cause {
        Cause::Aborted(reason) => Aborted::new(reason.clone(), reset).into(),
        other => other.outcome().as_str().into(),
    }
}
