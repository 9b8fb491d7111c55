//! What is known when an exchange has ended.

use std::time::Duration;

use http::{HeaderMap, StatusCode};

use crate::{
    error::ErrorChain,
    exchange::{Cause, Drained, Exchange, Outcome},
};

/// How an exchange ended, and what had passed until then.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Ending {
    /// The record shared with the other layers, with whatever facts they left in it.
    pub exchange: Exchange,
    /// How it ended.
    pub outcome: Outcome,
    /// The first cause of the end, with all that is known of it.
    pub cause: Cause,
    /// The status of the head that passed this layer; `None` if none did. (An outer layer may have answered in its place.)
    pub status: Option<StatusCode>,
    /// The `grpc-status` of the trailers, or of the head of a trailers-only response.
    pub grpc_status: Option<u16>,
    /// Bytes of data taken from the inner body and handed on. Not the same as delivered.
    pub bytes: u64,
    /// Data frames taken from the inner body and handed on.
    pub frames: u64,
    /// From the start of the exchange to the head.
    pub time_to_head: Option<Duration>,
    /// From the start to the first data frame.
    pub time_to_first_frame: Option<Duration>,
    /// From the last data frame to the end.
    pub since_last_frame: Option<Duration>,
    /// From the start to the end.
    pub elapsed: Duration,
    /// What was read after the client left, where a [`DetachLayer`](crate::detach) outside saw to that. `bytes`, `frames`
    /// and the times of frames are those until it left.
    pub drained: Option<Drained>,
    /// The trailers that passed.
    pub trailers: Option<HeaderMap>,
}

impl Ending {
    /// The reason of an abort, the limit that was hit, the message of a panic, the short name of a failure.
    pub fn reason(&self) -> Option<&str> {
        self.cause.reason()
    }

    /// The error of a failure, with its sources.
    pub const fn error(&self) -> Option<&ErrorChain> {
        self.cause.error()
    }
}
