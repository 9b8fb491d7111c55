//! Who is here and how the others left: the live exchanges and the last endings.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use http::{HeaderName, request::Parts, response};
use prometheus_client::metrics::counter::Counter;
use tower::BoxError;
use tower_lifeline::{
    abort::AbortReason,
    exchange::Exchange,
    finalize::{Ending, Finalizer, Traced},
    tee::Budget,
};

pub(crate) use self::{
    metrics::OPEN_METRICS,
    minutes::Minute,
    news::Seen,
    row::{Row, Stream},
};
use self::{
    metrics::{CONTENT_TYPE, Metrics, Now, classic},
    minutes::Minutes,
    row::as_given,
};
use crate::ledger::{Ledger, Writing};

mod metrics;
mod minutes;
mod news;
mod row;
#[cfg(test)]
mod tests;

/// As many endings are remembered.
const ENDINGS: usize = 10_000;
/// Headers of the upstream's that go into the log: what its own support asks for.
const LOGGED: [HeaderName; 5] = [
    HeaderName::from_static("cf-ray"),
    HeaderName::from_static("x-request-id"),
    HeaderName::from_static("request-id"),
    HeaderName::from_static("openai-processing-ms"),
    HeaderName::from_static("server"),
];

/// The live exchanges and the last endings. Cheap to clone; clones are the same books.
#[derive(Clone, Debug)]
pub(crate) struct Books {
    pages: Arc<Mutex<Pages>>,
    metrics: Metrics,
    ledger: Option<Ledger>,
    logged: Arc<[HeaderName]>,
}

#[derive(Debug, Default)]
struct Pages {
    live: HashMap<Arc<str>, Entry>,
    /// Oldest first.
    endings: VecDeque<Arc<Row>>,
    /// The ids of `endings`.
    ended: HashSet<Arc<str>>,
    /// How many endings there ever were.
    ended_ever: u64,
    minutes: Minutes,
}

#[derive(Clone, Debug)]
struct Entry {
    exchange: Exchange,
    asked: Asked,
}

/// What was asked for: a fact of the exchange from its beginning.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    method: String,
    path: String,
}

impl Asked {
    pub(crate) fn of(request: &Parts) -> Self {
        Self { method: cut(request.method.as_str()), path: cut(request.uri.path()) }
    }
}

impl Default for Books {
    fn default() -> Self {
        Self {
            pages: Arc::default(),
            metrics: Metrics::default(),
            ledger: None,
            logged: LOGGED.into(),
        }
    }
}

impl Books {
    /// Writes every ending from now on into the file at `path` too.
    pub(crate) fn keep_in(&mut self, path: &Path) -> Result<Writing, BoxError> {
        let (ledger, writing) = Ledger::open(path, self.metrics.ledger.clone())?;
        self.ledger = Some(ledger);
        Ok(writing)
    }

    /// Opens an account for a request, which closes itself with the ending.
    pub(crate) fn open(&self, request: &Parts) -> Account {
        let exchange = Exchange::get(&request.extensions).unwrap_or_default();
        let id: Arc<str> = exchange.id().to_string().into();
        let entry = Entry { exchange, asked: Asked::of(request) };
        self.pages().live.insert(id.clone(), entry);
        let log = Traced::new(request).headers(self.logged.clone());
        Account { books: self.clone(), id, log }
    }

    /// Is told that an abort was answered in place of the head; records the exchange if it never came to an account.
    pub(crate) fn turned_away(&self, exchange: &Exchange, reason: &AbortReason) {
        let Some(asked) = exchange.fact::<Asked>() else { return };
        let row = Row::turned_away(exchange, &asked, reason);
        if !self.knows(&row.id) {
            row.log();
            self.close(row);
        }
    }

    pub(crate) fn streams(&self) -> Vec<Stream> {
        let live: Vec<_> =
            self.pages().live.iter().map(|(id, entry)| (id.clone(), entry.clone())).collect();
        live.into_iter().map(|(id, entry)| Stream::of(id, &entry.exchange, entry.asked)).collect()
    }

    /// The last endings, newest first.
    pub(crate) fn endings(&self, limit: usize) -> Vec<Arc<Row>> {
        self.pages().endings.iter().rev().take(limit).cloned().collect()
    }

    /// All that is counted, with its content type: `open`, that of OpenMetrics, or Prometheus's own. `captured` is what the
    /// recordings hold, `dropped` the lines that the log lost.
    pub(crate) fn metrics(
        &self,
        captured: &Budget,
        dropped: &Counter,
        open: bool,
    ) -> (&'static str, String) {
        let (live, draining) = {
            let live = &self.pages().live;
            let draining = live.values().filter(|entry| entry.exchange.progress().is_draining());
            (live.len(), draining.count())
        };
        let text = self.metrics.text(Now { live, draining, captured: captured.used(), dropped });
        if open { (metrics::OPEN_CONTENT_TYPE, text) } else { (CONTENT_TYPE, classic(&text)) }
    }

    /// Whether it is under way, or its ending is remembered.
    pub(crate) fn knows(&self, id: &str) -> bool {
        let pages = self.pages();
        pages.live.contains_key(id) || pages.ended.contains(id)
    }

    fn close(&self, row: Row) {
        self.metrics.count(&row);
        let row = Arc::new(row);
        if let Some(ledger) = &self.ledger {
            ledger.add(row.clone());
        }
        let mut pages = self.pages();
        pages.live.remove(&row.id);
        pages.ended_ever += 1;
        if let Some(usage) = &row.usage {
            pages.minutes.count(usage);
        }
        if pages.endings.len() == ENDINGS
            && let Some(oldest) = pages.endings.pop_front()
        {
            pages.ended.remove(&oldest.id);
        }
        pages.ended.insert(row.id.clone());
        pages.endings.push_back(row);
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The account of one exchange.
#[derive(Debug)]
pub(crate) struct Account {
    books: Books,
    id: Arc<str>,
    log: Traced,
}

impl Finalizer for Account {
    fn on_response(&mut self, head: &response::Parts) {
        self.log.on_response(head);
    }

    fn on_end(self, ending: Ending) {
        let Some(entry) = self.books.pages().live.get(&self.id).cloned() else { return };
        let ending = as_given(ending);
        self.books.close(Row::of(self.id, &entry.asked, &ending));
        self.log.on_end(ending);
    }
}

/// What a client, an upstream or an operator chose, of a size that ten thousand of may be kept, and as the log says it.
pub(crate) fn cut(text: &str) -> String {
    Traced::cut(text).to_owned()
}
