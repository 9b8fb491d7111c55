//! The error of a body whose thread is gone.

use std::{error::Error, fmt};

/// The thread that read the body went away without saying how it ended: the runtime was shut down.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PumpLost {}

impl fmt::Display for PumpLost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the thread that read the body is gone")
    }
}

impl Error for PumpLost {}
