//! Every layer, every body and the whole stack through laws 1 to 9 of design.md. Each law loops over all of [`subjects`].
// Clippy's own exception for tests does not reach the functions that tests share.
#![allow(clippy::panic, clippy::unwrap_used)]

mod aborted;
mod allocations;
mod calling;
mod endings;
mod ends;
mod fairness;
mod flags;
mod hooks;
mod machine;
mod model;
mod passthrough;
mod plan;
mod probe;
mod quiet;
mod race;
mod reading;
mod release;
mod spawned;
mod subjects;
mod unchanged;
mod unclean;
mod wakeups;
