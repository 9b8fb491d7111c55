//! Each row of the module's table.

use std::time::Duration;

use super::{Limit, TimedOut};
use crate::exchange::Cause;

/// What a limit of two minutes leaves behind.
pub(crate) fn hit(limit: Limit) -> Cause {
    Cause::TimedOut(TimedOut::new(limit, Duration::from_secs(120)))
}
