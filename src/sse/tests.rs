//! Boundaries, the decoder and events against a second reading of the standard, by the shared vectors and by chance.

mod aligned;
mod boundary;
mod decoder;
mod event;
mod pulse;
pub(crate) mod random;
pub(crate) mod reference;
mod telling;
pub(crate) mod vectors;
