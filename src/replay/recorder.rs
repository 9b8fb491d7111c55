//! Records an answer while it streams, and judges it at its end.

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Response, response};
use http_body::Frame;
use tokio::time::Instant;

use super::{Key, Recorded, ReplayStore, Shared, policy::kept_head};
use crate::{
    contain::contain,
    exchange::{Exchange, Outcome},
    head::Framing,
    tee::{Share, Sink},
    usage::{UsageMeter, UsageReport},
    watch::{End, Ends, Watch},
};

/// Watches a body that is to be kept. Made by [`ReplayLayer`](super::ReplayLayer).
pub struct Recorder<T: ReplayStore> {
    store: Arc<T>,
    key: Key,
    exchange: Exchange,
    started: Instant,
    tape: Option<Box<Tape>>,
    limit: usize,
}

/// What was recorded; gone once it is too much.
struct Tape {
    head: Response<()>,
    sized: bool,
    frames: Vec<(Duration, Bytes)>,
    bytes: usize,
    share: Share,
    trailers: Option<HeaderMap>,
    /// Tells whether the end is one.
    meter: UsageMeter,
    report: UsageReport,
}

impl<T: ReplayStore> Recorder<T> {
    pub(super) fn new<K>(
        shared: &Shared<T, K>,
        key: Key,
        exchange: Exchange,
        path: &str,
        head: &response::Parts,
        framing: &Framing,
    ) -> Self {
        let mut meter = UsageMeter::for_path(path);
        meter.head(head);
        let report = meter.report();
        let tape = Tape {
            head: kept_head(head, &shared.kept),
            sized: framing.expected.is_some(),
            frames: Vec::new(),
            bytes: 0,
            share: Share::of(shared.terms.budget.clone()),
            trailers: None,
            meter,
            report,
        };
        let (store, limit) = (shared.store.clone(), shared.terms.limit);
        let fits = framing.expected.is_none_or(|expected| expected <= limit as u64);
        Self {
            store,
            key,
            exchange,
            started: Instant::now(),
            tape: fits.then(|| Box::new(tape)),
            limit,
        }
    }
}

/// As in a recording of the tee: single bytes can not grow it either.
pub(super) const fn frames_at_most(limit: usize) -> usize {
    1024 + limit / 32
}

impl Tape {
    fn data(&mut self, after: Duration, data: &Bytes, limit: usize) -> bool {
        self.bytes += data.len();
        let fits = self.bytes <= limit && self.frames.len() < frames_at_most(limit);
        if !fits || !self.share.set(self.bytes) {
            return false;
        }
        self.meter.data(data.clone());
        self.frames.push((after, data.clone()));
        true
    }

    /// The answer, if its dialect says that it is whole.
    fn whole(self) -> Option<Recorded> {
        self.meter.end(Outcome::Completed);
        let usage = self.report.usage();
        let broken = usage.unfinished || usage.error_event;
        (!broken && !self.frames.is_empty()).then(|| {
            let recorded = Recorded::new(&self.head, &self.frames);
            let recorded = recorded.with_terminator(usage.terminator);
            recorded.with_trailers(self.trailers).with_length(self.sized)
        })
    }
}

impl<T: ReplayStore, E> Watch<Bytes, E> for Recorder<T> {
    fn frame(&mut self, frame: &Frame<Bytes>) {
        let Some(tape) = &mut self.tape else { return };
        if let Some(data) = frame.data_ref().filter(|data| !data.is_empty()) {
            if !tape.data(self.started.elapsed(), data, self.limit) {
                self.tape = None;
            }
        } else if let Some(trailers) = frame.trailers_ref() {
            tape.trailers = Some(trailers.clone());
        }
    }

    fn error(&mut self, _: &E) {
        self.tape = None;
    }
}

impl<T: ReplayStore> Ends for Recorder<T> {
    fn end(self, end: End) {
        let Some(tape) = self.tape else { return };
        // Why its client's exchange ended says nothing of a body that was read on to its end; a failure of the service does.
        let cause = self.exchange.cause().map(|cause| cause.outcome());
        let failed =
            matches!(cause, Some(Outcome::Failed | Outcome::Truncated | Outcome::Panicked));
        if failed || !matches!(end, End::Completed) {
            return;
        }
        if let Some(recorded) = tape.whole() {
            let (store, key) = (self.store, self.key);
            let _ = contain(|| store.put(key, recorded));
        }
    }
}

impl<T: ReplayStore> fmt::Debug for Recorder<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder").field("key", &self.key).finish_non_exhaustive()
    }
}
