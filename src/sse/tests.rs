//! Boundaries and events against a second reading of the standard, by the shared vectors and by chance.

mod aligned;
mod boundary;
mod event;
pub(crate) mod random;
pub(crate) mod reference;
pub(crate) mod vectors;
