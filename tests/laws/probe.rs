//! What a test sees of a subject, besides what comes out of it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http::{HeaderMap, response};
use testkit::Log;
use tower_lifeline::{
    abort::AbortHandle,
    exchange::Outcome,
    finalize::Ending,
    tee::{Limit, Recording, RecordingSink, Sink},
};

use crate::subjects::{Part, Subject};

/// The other ends of one subject, for one exchange.
#[derive(Clone)]
pub(crate) struct Probe {
    /// Of the innermost body.
    pub(crate) log: Log,
    /// What the Abort of the subject listens to.
    pub(crate) handle: AbortHandle,
    /// What the Tee of the subject wrote.
    pub(crate) recording: Recording,
    endings: Arc<Mutex<Vec<Ending>>>,
    sink_ends: Arc<Mutex<Vec<Outcome>>>,
}

impl Probe {
    pub(crate) fn new() -> Self {
        Self::recording_within(Limit::first(1024 * 1024))
    }

    pub(crate) fn recording_within(limit: Limit) -> Self {
        Self {
            log: Log::new(),
            handle: AbortHandle::new(),
            recording: Recording::new(limit),
            endings: Arc::default(),
            sink_ends: Arc::default(),
        }
    }

    /// The hook of the subject's Finalize.
    pub(crate) fn hook(&self) -> impl FnOnce(Ending) + Send + use<> {
        let endings = self.endings.clone();
        move |ending| lock(&endings).push(ending)
    }

    /// The sink of the subject's Tee.
    pub(crate) fn sink(&self) -> CountingSink {
        CountingSink { tape: self.recording.sink(), ends: self.sink_ends.clone() }
    }

    /// What Finalize reported so far.
    pub(crate) fn endings(&self) -> Vec<Ending> {
        lock(&self.endings).clone()
    }

    /// How everything that reports an end says that it ended, so far.
    pub(crate) fn outcomes(&self) -> Vec<(Part, Outcome)> {
        let finalize = self.endings().into_iter().map(|ending| (Part::Finalize, ending.outcome));
        let tee = lock(&self.sink_ends).clone().into_iter().map(|outcome| (Part::Tee, outcome));
        finalize.chain(tee).collect()
    }

    /// Everything in the subject that reports an end has done so, once, and says the same.
    #[track_caller]
    pub(crate) fn assert_ended(&self, subject: &Subject, outcome: Outcome) {
        let reporters = [Part::Finalize, Part::Tee].into_iter().filter(|part| subject.has(*part));
        let expected: Vec<_> = reporters.map(|part| (part, outcome)).collect();
        assert_eq!(self.outcomes(), expected, "{subject}");
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Records, and counts how often it is told of the end.
pub(crate) struct CountingSink {
    tape: RecordingSink,
    ends: Arc<Mutex<Vec<Outcome>>>,
}

impl Sink for CountingSink {
    fn head(&mut self, head: &response::Parts) {
        self.tape.head(head);
    }

    fn data(&mut self, data: Bytes) {
        self.tape.data(data);
    }

    fn trailers(&mut self, trailers: &HeaderMap) {
        self.tape.trailers(trailers);
    }

    fn end(self, outcome: Outcome) {
        self.tape.end(outcome);
        lock(&self.ends).push(outcome);
    }
}
