//! The ready-made hook that writes one `tracing` event.

use std::time::Duration;

use http::{Method, request::Parts};

use super::{Ending, Finalizer};
use crate::exchange::Outcome;

/// Writes one event for each exchange, with the target `tower_lifeline::finalize` and the message `exchange ended`.
///
/// The level is `INFO` for `completed`, `disconnected`, `aborted` and `discarded`, and `WARN` for the others.
///
/// | field | unit or meaning |
/// |---|---|
/// | `exchange` | the id |
/// | `method`, `path` | of the request; never the query, which may hold secrets |
/// | `outcome` | [`Outcome::as_str`] |
/// | `reason` | [`Ending::reason`] |
/// | `status`, `grpc_status` | numbers |
/// | `bytes`, `frames` | taken from the inner body and handed on |
/// | `head_ms`, `first_frame_ms`, `elapsed_ms` | milliseconds since the start |
/// | `idle_ms` | milliseconds from the last frame to the end |
/// | `error` | the error and its sources |
///
/// Fields that are not known are left out.
#[derive(Debug)]
pub struct Traced {
    method: Method,
    path: String,
}

impl Traced {
    /// Keeps what the event says of the request.
    pub fn new(request: &Parts) -> Self {
        Self { method: request.method.clone(), path: request.uri.path().to_owned() }
    }
}

impl Finalizer for Traced {
    fn on_end(self, ending: Ending) {
        // tracing fixes the level of a call site, so there are two.
        macro_rules! event {
            ($level:ident) => {
                tracing::$level!(
                    target: "tower_lifeline::finalize",
                    exchange = %ending.exchange.id(),
                    method = %self.method,
                    path = %self.path,
                    outcome = ending.outcome.as_str(),
                    reason = ending.reason(),
                    status = ending.status.map(|status| status.as_u16()),
                    grpc_status = ending.grpc_status,
                    bytes = ending.bytes,
                    frames = ending.frames,
                    head_ms = ending.time_to_head.map(millis),
                    first_frame_ms = ending.time_to_first_frame.map(millis),
                    idle_ms = ending.since_last_frame.map(millis),
                    elapsed_ms = millis(ending.elapsed),
                    error = ending.error().map(tracing::field::display),
                    "exchange ended"
                )
            };
        }
        match ending.outcome {
            Outcome::Failed | Outcome::Truncated | Outcome::TimedOut | Outcome::Panicked => {
                event!(warn);
            }
            _ => event!(info),
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
