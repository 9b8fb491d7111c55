//! Who is here and how the others left: the live exchanges and the last endings.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use http::{Method, StatusCode, request::Parts, response};
use serde::Serialize;
use tower_lifeline::{
    Media,
    abort::AbortReason,
    exchange::{Exchange, Outcome},
    finalize::{Ending, Finalizer, Traced},
    tee::Recording,
};

use crate::reply::Ours;

#[cfg(test)]
mod tests;

/// So many characters of a path or a reason.
const LONGEST: usize = 1024;
/// As many endings are remembered.
const ENDINGS: usize = 10_000;

/// The live exchanges and the last endings. Cheap to clone; clones are the same books.
#[derive(Clone, Debug, Default)]
pub(crate) struct Books(Arc<Mutex<Pages>>);

#[derive(Debug, Default)]
struct Pages {
    live: HashMap<String, Entry>,
    /// Oldest first.
    endings: VecDeque<Arc<Row>>,
}

#[derive(Clone, Debug)]
struct Entry {
    exchange: Exchange,
    asked: Asked,
    status: Option<StatusCode>,
}

/// What was asked for: a fact of the exchange from its beginning.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    method: Method,
    path: String,
}

impl Asked {
    pub(crate) fn of(request: &Parts) -> Self {
        Self { method: request.method.clone(), path: capped(request.uri.path()) }
    }
}

/// A live exchange, for `GET /streams`.
#[derive(Debug, Serialize)]
pub(crate) struct Stream {
    id: String,
    method: String,
    path: String,
    status: Option<u16>,
    age_ms: u64,
    idle_ms: u64,
    bytes: u64,
    frames: u64,
    draining: bool,
}

/// An ended exchange, for `GET /endings`.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    id: String,
    method: String,
    path: String,
    status: Option<u16>,
    outcome: &'static str,
    reason: Option<String>,
    bytes: u64,
    frames: u64,
    head_ms: Option<u64>,
    first_frame_ms: Option<u64>,
    elapsed_ms: u64,
    /// `None` for event streams and NDJSON, whose dialects are not read yet.
    terminator: Option<&'static str>,
    drained: Option<()>,
    usage: Option<()>,
    capture_truncated: bool,
}

impl Books {
    /// Opens an account for a request, which closes itself with the ending.
    pub(crate) fn open(&self, request: &Parts) -> Account {
        let exchange = Exchange::get(&request.extensions).unwrap_or_default();
        let id = exchange.id().to_string();
        let entry = Entry { exchange, asked: Asked::of(request), status: None };
        self.pages().live.insert(id.clone(), entry);
        Account { books: self.clone(), id, log: Traced::new(request) }
    }

    /// Is told that an abort was answered in place of the head; records the exchange if it never came to an account.
    pub(crate) fn turned_away(&self, exchange: &Exchange, reason: &AbortReason) {
        let id = exchange.id().to_string();
        let Some(asked) = exchange.fact::<Asked>() else { return };
        let status = Some(StatusCode::SERVICE_UNAVAILABLE.as_u16());
        let known = {
            let mut pages = self.pages();
            let row = pages.endings.iter_mut().rfind(|row| row.id == id);
            // It was aborted at the moment of its head, which the client did not get.
            let ended = row.map(|row| Arc::make_mut(row).status = status).is_some();
            ended || pages.live.contains_key(&id)
        };
        if !known {
            let outcome = Outcome::Aborted.as_str();
            let reason = Some(capped(reason.text()));
            let elapsed_ms = millis(exchange.progress().elapsed());
            self.close(Row { status, reason, elapsed_ms, ..Row::new(id, &asked, outcome) });
        }
    }

    pub(crate) fn streams(&self) -> Vec<Stream> {
        let entries: Vec<_> = self.pages().live.clone().into_iter().collect();
        entries.into_iter().map(|(id, entry)| Stream::of(id, entry)).collect()
    }

    /// The last endings, newest first.
    pub(crate) fn endings(&self, limit: usize) -> Vec<Arc<Row>> {
        self.pages().endings.iter().rev().take(limit).cloned().collect()
    }

    /// Whether it is under way, or its ending is remembered.
    pub(crate) fn knows(&self, id: &str) -> bool {
        let pages = self.pages();
        pages.live.contains_key(id) || pages.endings.iter().any(|row| row.id == id)
    }

    fn close(&self, row: Row) {
        let mut pages = self.pages();
        pages.live.remove(&row.id);
        if pages.endings.len() == ENDINGS {
            pages.endings.pop_front();
        }
        pages.endings.push_back(Arc::new(row));
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The account of one exchange.
#[derive(Debug)]
pub(crate) struct Account {
    books: Books,
    id: String,
    log: Traced,
}

impl Finalizer for Account {
    fn on_response(&mut self, head: &response::Parts) {
        if let Some(entry) = self.books.pages().live.get_mut(&self.id) {
            entry.status = Some(head.status);
        }
    }

    fn on_end(self, ending: Ending) {
        let Some(entry) = self.books.pages().live.get(&self.id).cloned() else { return };
        self.books.close(Row::of(self.id, &entry.asked, &ending));
        self.log.on_end(ending);
    }
}

impl Stream {
    fn of(id: String, entry: Entry) -> Self {
        let progress = entry.exchange.progress();
        let age = progress.elapsed();
        Self {
            id,
            method: entry.asked.method.to_string(),
            path: entry.asked.path,
            status: entry.status.map(|status| status.as_u16()),
            age_ms: millis(age),
            idle_ms: millis(progress.since_last_frame().unwrap_or(age)),
            bytes: progress.bytes(),
            frames: progress.frames(),
            draining: false,
        }
    }
}

impl Row {
    fn new(id: String, asked: &Asked, outcome: &'static str) -> Self {
        Self {
            id,
            method: asked.method.to_string(),
            path: asked.path.clone(),
            status: None,
            outcome,
            reason: None,
            bytes: 0,
            frames: 0,
            head_ms: None,
            first_frame_ms: None,
            elapsed_ms: 0,
            terminator: Some("none"),
            drained: None,
            usage: None,
            capture_truncated: false,
        }
    }

    fn of(id: String, asked: &Asked, ending: &Ending) -> Self {
        // Before a head of the upstream's an abort is answered outside of where endings are observed.
        let ours = (ending.outcome == Outcome::Aborted).then_some(StatusCode::SERVICE_UNAVAILABLE);
        let ours_alone = ending.exchange.fact::<Ours>().is_some();
        // Who left in the middle of the request does not get the answer to that.
        let unheard = ours_alone && ending.outcome == Outcome::Disconnected;
        let status = ending.status.or(ours).filter(|_| !unheard);
        let row = Self {
            status: status.map(|status| status.as_u16()),
            reason: ending.reason().map(capped),
            elapsed_ms: millis(ending.elapsed),
            ..Self::new(id, asked, ending.outcome.as_str())
        };
        if ours_alone {
            return row;
        }
        let capture = ending.exchange.fact::<Recording>();
        Self {
            bytes: ending.bytes,
            frames: ending.frames,
            head_ms: ending.time_to_head.map(millis),
            first_frame_ms: ending.time_to_first_frame.map(millis),
            terminator: capture.as_ref().and_then(terminator),
            capture_truncated: capture.is_some_and(|capture| capture.is_truncated()),
            ..row
        }
    }
}

/// The terminator of a body: only streams of a known dialect can have one.
fn terminator(capture: &Recording) -> Option<&'static str> {
    let (_, _, headers) = capture.head()?;
    (!matches!(Media::of(&headers), Media::EventStream | Media::Ndjson)).then_some("none")
}

/// What a client chose, cut to a size that ten thousand of may be kept.
fn capped(text: &str) -> String {
    text.chars().take(LONGEST).collect()
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
