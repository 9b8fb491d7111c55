//! x
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod abort;
mod align;
mod aligned;
mod contain;
mod cut;
pub mod error;
pub mod exchange;
#[cfg(feature = "final-frame")]
pub mod final_frame;
pub mod finalize;
mod grpc;
mod head;
pub mod keepalive;
pub mod sse;
pub mod tee;
pub mod watch;
pub mod wrap;

pub use crate::head::Media;
