//! The error of a body that was cut.

use crate::{abort::Aborted, error::BoxError, exchange::Cause};

/// The code that an h2 stream is reset with; without the feature `h2` there is no choice.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reset {
    #[cfg(feature = "h2")]
    pub(crate) code: h2::Reason,
}

impl Reset {
    pub(crate) const DEFAULT: Self = Self {
        #[cfg(feature = "h2")]
        code: h2::Reason::INTERNAL_ERROR,
    };
}

/// `None`: the stream had said its end before the cut, and this is it.
pub(super) fn cut_error(cause: &Cause, reset: Reset) -> Option<BoxError> {
    match cause {
        Cause::Aborted(reason) => Some(Aborted::new(reason.clone(), reset).into()),
        Cause::TimedOut(timed_out) => Some(timed_out.clone().into()),
        _ => None,
    }
}
