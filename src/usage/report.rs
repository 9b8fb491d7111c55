//! What is known of a response's usage.

use std::{
    fmt,
    sync::{Arc, Mutex},
};

use super::Dialect;
use crate::cut::lock;

/// What a response says that it cost, with the same meaning whatever the dialect. See the [module](super) for how each
/// dialect's own counts become these.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Usage {
    /// The dialect: the one that was told, or the one that was recognised so far.
    pub dialect: Option<Dialect>,
    /// The model, as the provider names it.
    pub model: Option<String>,
    /// All tokens of the input, those read from a cache or written to one included.
    pub input_tokens: Option<u64>,
    /// All tokens that were generated, thoughts included.
    pub output_tokens: Option<u64>,
    /// How many of the input's were read from a cache.
    pub cached_tokens: Option<u64>,
    /// How many of the input's were written to a cache.
    pub cache_write_tokens: Option<u64>,
    /// How many of the output's were thoughts.
    pub reasoning_tokens: Option<u64>,
    /// Why the model stopped, in the provider's own word.
    pub finish_reason: Option<String>,
    /// How far the counts are to be trusted.
    pub certainty: Certainty,
    /// Whether the dialect's own end of the stream came.
    pub terminator: Terminator,
    /// Whether an event of the stream itself told of a failure, before the stream's own end.
    pub error_event: bool,
    /// Whether the stream is not whole by its own words, so that a clean end now would be one that came too early: its dialect
    /// promised a terminator that has not come, and not every answer that it gives, or that was asked for, has its reason.
    pub unfinished: bool,
}

/// How far the counts are to be trusted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Certainty {
    /// The provider said both input and output, when the model had finished.
    Reported,
    /// Some was said, but not all of it, or the model had not finished by then.
    Partial,
    /// Nothing was said.
    #[default]
    Unknown,
}

impl Certainty {
    /// The stable name, for logs, metrics and databases.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reported => "reported",
            Self::Partial => "partial",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for Certainty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whether the end that a dialect gives its streams came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Terminator {
    /// It came.
    Seen,
    /// It has not come. At a clean end [`Usage::unfinished`] tells whether the stream broke off, or is whole all the same.
    Missing,
    /// There is none that could be missing: no known dialect, not a stream, or nothing came at all.
    #[default]
    None,
}

impl Terminator {
    /// The stable name, for logs, metrics and databases.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Seen => "seen",
            Self::Missing => "missing",
            Self::None => "none",
        }
    }
}

impl fmt::Display for Terminator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a [`UsageMeter`](super::UsageMeter) has found, readable while the response streams and after. Cheap to clone; clones
/// are the same report.
#[derive(Clone, Debug, Default)]
pub struct UsageReport(Arc<Mutex<Usage>>);

impl UsageReport {
    /// What is known by now.
    pub fn usage(&self) -> Usage {
        lock(&self.0).clone()
    }

    #[cfg(feature = "replay")]
    /// Looks at what is known, without a copy of it.
    pub(crate) fn look<R>(&self, look: impl FnOnce(&Usage) -> R) -> R {
        look(&lock(&self.0))
    }

    pub(super) fn update(&self, update: impl FnOnce(&mut Usage)) {
        update(&mut lock(&self.0));
    }
}
