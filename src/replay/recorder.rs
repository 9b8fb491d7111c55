//! Records an answer while it streams, and judges it at its end.

use std::{
    fmt,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Response, response};
use http_body::Frame;
use tokio::time::Instant;

use super::{Key, Recorded, ReplayStore, Shared, flight::Terms, policy::kept_head};
use crate::{
    contain::contain,
    cut::lock,
    exchange::{Exchange, Outcome},
    head::Framing,
    log::{BLOCK, Log, compact},
    tee::Sink,
    usage::{UsageMeter, UsageReport},
    watch::{End, Ends, Watch},
};

/// The frames of an answer, once for all: for the store, for those who join, for readers who are slow.
pub(super) struct Answer {
    pub(super) log: Log,
    /// All of it is wanted for the store.
    pub(super) kept: bool,
}

impl Answer {
    pub(super) fn new(terms: &Terms) -> Self {
        Self { log: Log::new(terms.budget.clone()).timed(), kept: false }
    }

    /// Of a call that has none, not yet or not any more.
    pub(super) fn none() -> Arc<Mutex<Self>> {
        Arc::new(Mutex::new(Self { log: Log::new(None).timed(), kept: false }))
    }

    /// Whether so many bytes more are within a limit, with what it takes to hold them.
    pub(super) fn has_room(&self, more: usize, limit: usize) -> bool {
        self.log.bytes() + more <= limit
            && self.log.memory() <= limit.saturating_mul(2).saturating_add(BLOCK)
    }
}

/// Watches a body that is to be kept. Made by [`ReplayLayer`](super::ReplayLayer).
pub struct Recorder<T: ReplayStore> {
    store: Arc<T>,
    key: Key,
    vary: Option<Key>,
    exchange: Exchange,
    started: Instant,
    /// `None` once it is too much, or over.
    tape: Option<Box<Tape>>,
    limit: usize,
}

struct Tape {
    answer: Arc<Mutex<Answer>>,
    head: Response<()>,
    sized: bool,
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
        (head, framing): (&response::Parts, &Framing),
        answer: &Arc<Mutex<Answer>>,
    ) -> Self {
        let mut meter = UsageMeter::for_path(path);
        meter.head(head);
        let report = meter.report();
        let mut kept = kept_head(head, &shared.kept);
        *kept.headers_mut() = compact(kept.headers());
        let sized = framing.expected.is_some();
        let answer = answer.clone();
        let limit = shared.terms.limit;
        let fits = framing.expected.is_none_or(|expected| expected <= limit as u64);
        lock(&answer).kept = fits;
        let tape = Tape { answer, head: kept, sized, trailers: None, meter, report };
        Self {
            store: shared.store.clone(),
            key,
            vary: None,
            exchange,
            started: Instant::now(),
            tape: fits.then(|| Box::new(tape)),
            limit,
        }
    }

    /// Says what the request says in the headers that the answer's `vary` names.
    pub(super) fn with_vary(mut self, selected: Option<Key>) -> Self {
        self.vary = selected;
        self
    }

    /// What nobody else needs of it is freed.
    fn give_up(&mut self) {
        if let Some(tape) = self.tape.take() {
            lock(&tape.answer).kept = false;
        }
    }
}

impl Tape {
    fn data(&mut self, after: Duration, data: &Bytes, limit: usize) -> bool {
        let mut answer = lock(&self.answer);
        if !answer.has_room(data.len(), limit) || !answer.log.append(data, after) {
            return false;
        }
        drop(answer);
        self.meter.data(data.clone());
        true
    }

    /// The answer, if its dialect says that it is whole.
    fn whole(self) -> Option<Recorded> {
        self.meter.end(Outcome::Completed);
        let usage = self.report.usage();
        let broken = usage.unfinished || usage.error_event;
        let answer = lock(&self.answer);
        (!broken && answer.log.bytes() > 0).then(|| {
            let recorded = Recorded::of(&self.head, &answer.log);
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
                self.give_up();
            }
        } else if let Some(trailers) = frame.trailers_ref() {
            tape.trailers = Some(compact(trailers));
        }
    }

    fn error(&mut self, _: &E) {
        self.give_up();
    }
}

impl<T: ReplayStore> Ends for Recorder<T> {
    fn end(mut self, end: End) {
        // Why its client's exchange ended says nothing of a body that was read on to its end; a failure of the service does.
        let cause = self.exchange.cause().map(|cause| cause.outcome());
        let failed =
            matches!(cause, Some(Outcome::Failed | Outcome::Truncated | Outcome::Panicked));
        let clean = !failed && matches!(end, End::Completed);
        let Some(tape) = self.tape.take() else { return };
        let answer = tape.answer.clone();
        let whole = if clean { tape.whole() } else { None };
        lock(&answer).kept = false;
        drop(answer);
        if let Some(recorded) = whole {
            let (store, key, recorded) = (self.store, self.key, recorded.with_vary(self.vary));
            let _ = contain(|| store.put(key, recorded));
        }
    }
}

impl<T: ReplayStore> fmt::Debug for Recorder<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder").field("key", &self.key).finish_non_exhaustive()
    }
}
