//! The layers over real sockets: HTTP/1 and HTTP/2, plain hyper, hyper-util's auto and axum.
//!
//! Time is real here, and every wait is bounded. `server` serves a stack and gathers its endings.
// Clippy's own exception for tests does not reach the functions that tests share.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod abort;
mod clients;
mod drain;
mod ends;
mod grpc;
mod inject;
mod limits;
mod queue;
mod reader;
mod server;
mod shutdown;
mod stage;
mod upstreams;
