//! The error of a body that was aborted.

use std::{error::Error, fmt};

use super::AbortReason;
use crate::cut::Reset;

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
    pub(crate) fn new(reason: AbortReason, reset: Reset) -> Self {
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
