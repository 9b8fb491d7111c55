//! The error of a body whose true head came too late to be told.

use std::{borrow::Cow, error::Error, fmt};

use http::{Response, StatusCode};

use crate::{error::ErrorChain, exchange::Cause, head::Media};

/// A head that could not follow the early one: no success, or no event stream. Downcast to it to read the status.
#[derive(Clone, Debug)]
pub struct LateHead {
    status: StatusCode,
}

impl LateHead {
    /// Judges a late response; `None` if its body can stream on.
    pub(super) fn of<B>(response: &Response<B>) -> Option<Self> {
        let status = response.status();
        let fits = status.is_success() && Media::of(response.headers()) == Media::EventStream;
        (!fits).then_some(Self { status })
    }

    /// The status that came too late.
    pub const fn status(&self) -> StatusCode {
        self.status
    }

    /// The short name of the failure: `upstream_status_429`, or `upstream_not_a_stream` for a success.
    pub fn reason(&self) -> Cow<'static, str> {
        if self.status.is_success() {
            Cow::Borrowed("upstream_not_a_stream")
        } else {
            Cow::Owned(format!("upstream_status_{}", self.status.as_u16()))
        }
    }

    pub(super) fn cause(&self) -> Cause {
        Cause::Failed { reason: Some(self.reason()), error: Some(ErrorChain::of(self)) }
    }
}

impl fmt::Display for LateHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = self.status;
        if status.is_success() {
            write!(f, "the upstream answered late, and not with an event stream: {status}")
        } else {
            write!(f, "the upstream answered late: {status}")
        }
    }
}

impl Error for LateHead {}
