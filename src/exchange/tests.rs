//! The record itself; what layers write into it is tested with them.

mod cause;
mod life;
mod record;
