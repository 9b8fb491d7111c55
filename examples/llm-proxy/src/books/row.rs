//! What is told of one exchange: while it lives, and when it has ended.

use std::{sync::Arc, time::Duration};

use http::StatusCode;
use serde::Serialize;
use tower_lifeline::{
    abort::AbortReason,
    exchange::{Cause, DrainEnd, Drained, Exchange, Outcome},
    finalize::Ending,
    replay::Replayed,
    usage::{Terminator, Usage, UsageReport},
};

use super::{Asked, cut};
use crate::{capture::Captured, label::Given, reply::Ours};

/// A live exchange, for `GET /streams`.
#[derive(Debug, Serialize)]
pub(crate) struct Stream {
    id: Arc<str>,
    method: String,
    path: String,
    status: Option<u16>,
    age_ms: u64,
    idle_ms: u64,
    bytes: u64,
    frames: u64,
    draining: bool,
}

impl Stream {
    pub(super) fn of(id: Arc<str>, exchange: &Exchange, asked: Asked) -> Self {
        let progress = exchange.progress();
        let age = progress.elapsed();
        Self {
            id,
            method: asked.method,
            path: asked.path,
            status: exchange.fact().map(|Given(status)| status.as_u16()),
            age_ms: millis(age),
            idle_ms: millis(progress.since_last_frame().unwrap_or(age)),
            bytes: progress.bytes(),
            frames: progress.frames(),
            draining: progress.is_draining(),
        }
    }

    pub(super) fn is_draining(&self) -> bool {
        self.draining
    }
}

/// An ended exchange, for `GET /endings` and the ledger.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) id: Arc<str>,
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) status: Option<u16>,
    pub(crate) outcome: &'static str,
    pub(crate) reason: Option<String>,
    pub(crate) bytes: u64,
    pub(crate) frames: u64,
    pub(crate) head_ms: Option<u64>,
    pub(crate) first_frame_ms: Option<u64>,
    pub(crate) elapsed_ms: u64,
    pub(crate) terminator: &'static str,
    pub(crate) drained: Option<Rest>,
    pub(crate) usage: Option<Cost>,
    pub(crate) capture_truncated: bool,
}

/// What the response said that it cost.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Cost {
    pub(crate) dialect: &'static str,
    pub(crate) model: Option<String>,
    pub(crate) input_tokens: Option<u64>,
    pub(crate) output_tokens: Option<u64>,
    pub(crate) cached_tokens: Option<u64>,
    pub(crate) reasoning_tokens: Option<u64>,
    pub(crate) certainty: &'static str,
}

impl Cost {
    /// `None` where the response is of no dialect.
    fn of(usage: &Usage) -> Option<Self> {
        Some(Self {
            dialect: usage.dialect?.as_str(),
            model: usage.model.as_deref().map(cut),
            input_tokens: usage.input_tokens,
            output_tokens: usage.output_tokens,
            cached_tokens: usage.cached_tokens,
            reasoning_tokens: usage.reasoning_tokens,
            certainty: usage.certainty.as_str(),
        })
    }
}

/// What was read after the client left.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Rest {
    pub(crate) bytes: u64,
    #[serde(serialize_with = "by_name")]
    pub(crate) end: DrainEnd,
}

impl Row {
    fn new(id: Arc<str>, asked: &Asked, outcome: Outcome) -> Self {
        Self {
            id,
            method: asked.method.clone(),
            path: asked.path.clone(),
            status: None,
            outcome: outcome.as_str(),
            reason: None,
            bytes: 0,
            frames: 0,
            head_ms: None,
            first_frame_ms: None,
            elapsed_ms: 0,
            terminator: Terminator::None.as_str(),
            drained: None,
            usage: None,
            capture_truncated: false,
        }
    }

    /// The row of an exchange that was aborted before it began.
    pub(super) fn turned_away(exchange: &Exchange, asked: &Asked, reason: &AbortReason) -> Self {
        Self {
            status: Some(StatusCode::SERVICE_UNAVAILABLE.as_u16()),
            reason: Some(cut(reason.text())),
            elapsed_ms: millis(exchange.progress().elapsed()),
            ..Self::new(exchange.id().to_string().into(), asked, Outcome::Aborted)
        }
    }

    /// As `Traced` logs all others.
    pub(super) fn log(&self) {
        tracing::info!(
            target: "tower_lifeline::finalize",
            exchange = %self.id,
            method = %self.method,
            path = %self.path,
            outcome = self.outcome,
            reason = self.reason,
            status = self.status,
            bytes = self.bytes,
            frames = self.frames,
            elapsed_ms = self.elapsed_ms,
            "exchange ended"
        );
    }

    /// The row of an ending that is [as its client saw it](as_given).
    pub(super) fn of(id: Arc<str>, asked: &Asked, ending: &Ending) -> Self {
        let ours = is_ours(ending);
        let capture = ending.exchange.fact::<Captured>().filter(|_| !ours);
        let usage = ending.exchange.fact::<UsageReport>().filter(|_| !ours);
        let usage = usage.map(|report| report.usage()).unwrap_or_default();
        // A replay costs nothing and has no report.
        let of_replay = ending.exchange.fact::<Terminator>().filter(|_| !ours);
        Self {
            status: ending.status.map(|status| status.as_u16()),
            reason: ending.reason().map(cut),
            bytes: ending.bytes,
            frames: ending.frames,
            head_ms: ending.time_to_head.map(millis),
            first_frame_ms: ending.time_to_first_frame.map(millis),
            elapsed_ms: millis(ending.elapsed),
            terminator: of_replay.unwrap_or(usage.terminator).as_str(),
            drained: ending.drained.map(|Drained { bytes, end, .. }| Rest { bytes, end }),
            usage: Cost::of(&usage),
            capture_truncated: capture.is_some_and(|capture| capture.is_truncated()),
            ..Self::new(id, asked, ending.outcome)
        }
    }
}

/// The ending with the status that the client was given, and nothing of an answer of ours counted as the upstream's.
pub(super) fn as_given(mut ending: Ending) -> Ending {
    ending.status = status(&ending);
    if is_ours(&ending) {
        (ending.bytes, ending.frames) = (0, 0);
        (ending.time_to_head, ending.time_to_first_frame) = (None, None);
        ending.since_last_frame = None;
    }
    ending
}

fn status(ending: &Ending) -> Option<StatusCode> {
    let given = ending.exchange.fact().map(|Given(status)| status);
    match ending.outcome {
        // Who left in the middle of the request does not get the answer to that.
        Outcome::Disconnected => given.filter(|_| !is_ours(ending)),
        // It ended before the head: the answer is made outside of where endings are observed, and comes now.
        Outcome::Aborted => given.or(Some(StatusCode::SERVICE_UNAVAILABLE)),
        Outcome::TimedOut => given.or_else(|| match ending.exchange.cause() {
            Some(Cause::TimedOut(hit)) => Some(hit.status()),
            _ => None,
        }),
        // Without a body it may end before its head has come out.
        _ => given.or(ending.status),
    }
}

fn is_ours(ending: &Ending) -> bool {
    let joined = ending.exchange.fact() == Some(Replayed::Join);
    // The answer that we gave to one that could not reach the upstream goes to those who had joined it, too.
    let shared = joined
        && ending.outcome == Outcome::Failed
        && ending.status == Some(StatusCode::BAD_GATEWAY);
    shared || ending.exchange.fact::<Ours>().is_some()
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn by_name<S: serde::Serializer>(end: &DrainEnd, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(end.as_str())
}
