//! The errors of a body that could not be ended cleanly.

use std::{error::Error, fmt};

use crate::error::BoxError;

/// A gRPC stream broke in the middle of a message.
///
/// With the feature `h2` its `source()` is an `h2::Error` with the code `CANCEL`, by which hyper resets the stream; the
/// error itself is [`MessageCut::error`].
#[derive(Debug)]
pub struct MessageCut {
    error: BoxError,
    #[cfg(feature = "h2")]
    reset: h2::Error,
}

impl MessageCut {
    pub(super) fn new(error: BoxError) -> Self {
        Self {
            error,
            #[cfg(feature = "h2")]
            reset: h2::Reason::CANCEL.into(),
        }
    }

    /// Why it broke.
    pub const fn error(&self) -> &BoxError {
        &self.error
    }
}

impl fmt::Display for MessageCut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cut in the middle of a gRPC message: {}", self.error)
    }
}

impl Error for MessageCut {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        #[cfg(feature = "h2")]
        return Some(&self.reset);
        #[cfg(not(feature = "h2"))]
        return Some(&*self.error);
    }
}
