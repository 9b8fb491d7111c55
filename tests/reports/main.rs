//! The reports that began this crate, one module for each: a situation, and the promise that answers it.
//!
//! Real sockets of this machine, real time, every wait bounded. `server` serves a stack and gathers what it tells, `client`
//! reads an answer over HTTP/1 or HTTP/2, `log` reads what is logged.
// Clippy's own exception for tests does not reach the functions that tests share.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod a;
mod b;
mod c;
mod client;
mod d;
mod e;
mod log;
mod server;
