//! Why something was aborted.

use std::{borrow::Cow, fmt};

/// What sort of reason an abort has: decides what is told to a client that had no head yet.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AbortKind {
    /// Somebody asked for it. gRPC: 1 `CANCELLED`.
    Requested,
    /// A deadline passed. gRPC: 4 `DEADLINE_EXCEEDED`.
    Deadline,
    /// There was too much to do. gRPC: 8 `RESOURCE_EXHAUSTED`.
    Overload,
    /// The process ends. gRPC: 14 `UNAVAILABLE`.
    Shutdown,
    /// A kind of the user's own. gRPC: 1 `CANCELLED`.
    Custom(Cow<'static, str>),
}

impl AbortKind {
    /// The name: `aborted`, `deadline`, `overload`, `shutdown`, or the user's own.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Requested => "aborted",
            Self::Deadline => "deadline",
            Self::Overload => "overload",
            Self::Shutdown => "shutdown",
            Self::Custom(name) => name,
        }
    }

    /// The gRPC status code that says it best.
    pub const fn grpc_code(&self) -> u16 {
        match self {
            Self::Requested | Self::Custom(_) => 1,
            Self::Deadline => 4,
            Self::Overload => 8,
            Self::Shutdown => 14,
        }
    }
}

/// Why something was aborted: a kind, and a text for people and logs.
///
/// ```
/// use tower_lifeline::abort::{AbortKind, AbortReason};
///
/// let reason = AbortReason::from("operator pressed stop");
/// assert_eq!((reason.kind(), reason.text()), (&AbortKind::Requested, "operator pressed stop"));
/// assert_eq!(AbortReason::new(AbortKind::Shutdown).text(), "shutdown");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AbortReason {
    kind: AbortKind,
    text: Option<Cow<'static, str>>,
}

impl AbortReason {
    /// A reason that says no more than its kind.
    pub const fn new(kind: AbortKind) -> Self {
        Self { kind, text: None }
    }

    /// Says more.
    #[must_use]
    pub fn with_text(mut self, text: impl Into<Cow<'static, str>>) -> Self {
        self.text = Some(text.into());
        self
    }

    /// What sort of reason it is.
    pub const fn kind(&self) -> &AbortKind {
        &self.kind
    }

    /// The text; the name of the kind where none was given.
    pub fn text(&self) -> &str {
        self.text.as_deref().unwrap_or_else(|| self.kind.as_str())
    }
}

impl From<AbortKind> for AbortReason {
    fn from(kind: AbortKind) -> Self {
        Self::new(kind)
    }
}

impl From<&'static str> for AbortReason {
    fn from(text: &'static str) -> Self {
        Self::new(AbortKind::Requested).with_text(text)
    }
}

impl From<String> for AbortReason {
    fn from(text: String) -> Self {
        Self::new(AbortKind::Requested).with_text(text)
    }
}

impl fmt::Display for AbortReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}
