//! Server-sent events: where one event ends and the next begins, how an event is read, and how one is written.
//!
//! The rules are those of the HTML standard, section "Server-sent events", and of what its parsers do with bytes that are
//! put between the upstream's (protocol.md 1a).

mod boundary;
mod decoded;
mod decoder;
mod event;
mod failure;
mod joined;
mod lines;
mod pulse;
#[cfg(test)]
pub(crate) mod tests;

pub(crate) use self::{boundary::Boundary, joined::Joined, pulse::Pulse};
pub use self::{
    decoded::{Decoded, DecodedEvent},
    decoder::Decoder,
    event::{Event, InvalidEvent},
};
#[cfg(feature = "usage")]
pub(crate) use self::{
    failure::is_failure,
    lines::{Lines, Piece},
};
