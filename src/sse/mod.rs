//! Server-sent events: where one event ends and the next begins, and how an event is written.
//!
//! The rules are those of the HTML standard, section "Server-sent events", and of what its parsers do with bytes that are
//! put between the upstream's (protocol.md 1a).

mod boundary;
mod event;
#[cfg(test)]
pub(crate) mod tests;

pub(crate) use self::boundary::Boundary;
pub use self::event::{Event, InvalidEvent};
