//! What can go wrong with an answer that several share.

use std::{error::Error, fmt, sync::Arc};

use crate::error::BoxError;

/// The failure of an answer that several readers share; each gets one. It says what the error says, which is its source.
#[derive(Clone, Debug)]
pub struct SharedFailure(Arc<dyn Error + Send + Sync>);

impl SharedFailure {
    pub(super) fn new(error: BoxError) -> Self {
        Self(error.into())
    }
}

impl fmt::Display for SharedFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Error for SharedFailure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.0)
    }
}

/// A reader of a shared answer was further behind the fastest than [the limit](super::ReplayLayer::answer_limit) of what is
/// held for it.
#[derive(Clone, Debug)]
pub struct FellBehind(());

impl FellBehind {
    pub(super) const fn new() -> Self {
        Self(())
    }
}

impl fmt::Display for FellBehind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("this reader of a shared answer fell too far behind the others")
    }
}

impl Error for FellBehind {}
