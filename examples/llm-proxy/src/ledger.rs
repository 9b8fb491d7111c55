//! The endings in a file: SQLite, written by a thread of its own, so that no exchange ever waits for a disk.

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, SystemTime},
};

use prometheus_client::metrics::counter::Counter;
use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::{mpsc, oneshot};
use tower::BoxError;

use self::schema::insert;
use crate::books::Row;

mod report;
mod schema;
#[cfg(test)]
mod tests;

pub(crate) use self::report::report;

/// So many endings wait for the disk; beyond that they are lost, and counted.
const QUEUE: usize = 10_000;
/// So many go into one transaction.
const BATCH: usize = 500;
/// For somebody else who holds the file.
const BUSY: Duration = Duration::from_secs(1);
/// Before the next attempt, for a disk that is full.
const PAUSE: Duration = Duration::from_millis(100);
/// As many attempts to write the rest when the process ends.
const LAST_ATTEMPTS: u32 = 3;

type Queue = Arc<Mutex<Option<mpsc::Sender<Entry>>>>;

/// An ending, and when it was: in Unix milliseconds.
#[derive(Debug)]
struct Entry {
    row: Arc<Row>,
    ended_at: i64,
}

/// What went wrong. Cheap to clone; clones are the same counts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Troubles {
    /// Attempts to write that failed.
    pub(crate) errors: Counter,
    /// Endings that are not in the file and never will be.
    pub(crate) lost: Counter,
}

/// Where endings are handed in. Cheap to clone; clones are the same ledger.
#[derive(Clone, Debug)]
pub(crate) struct Ledger {
    queue: Queue,
    troubles: Troubles,
}

/// The thread that writes.
#[derive(Debug)]
pub(crate) struct Writing {
    queue: Queue,
    done: oneshot::Receiver<()>,
}

impl Ledger {
    /// Opens or makes the file at `path`, and begins to write what is handed in.
    pub(crate) fn open(path: &Path, troubles: Troubles) -> Result<(Self, Writing), BoxError> {
        let mut connection = Connection::open(path)?;
        connection.busy_timeout(BUSY)?;
        schema::prepare(&mut connection)?;
        Self::start(connection, troubles)
    }

    fn start(connection: Connection, troubles: Troubles) -> Result<(Self, Writing), BoxError> {
        let (sender, entries) = mpsc::channel(QUEUE);
        let (all_written, done) = oneshot::channel();
        let writer = Writer { connection, entries, troubles: troubles.clone() };
        thread::Builder::new().name("ledger".to_owned()).spawn(move || {
            writer.run();
            // Nobody waits for it in a process that just ends.
            let _ = all_written.send(());
        })?;
        let queue = Arc::new(Mutex::new(Some(sender)));
        Ok((Self { queue: queue.clone(), troubles }, Writing { queue, done }))
    }

    /// Hands in an ending of this moment. Never waits.
    pub(crate) fn add(&self, row: Arc<Row>) {
        let entry = Entry { row, ended_at: now() };
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        if queue.as_ref().is_none_or(|queue| queue.try_send(entry).is_err()) {
            self.troubles.lost.inc();
        }
    }
}

impl Writing {
    /// Takes nothing more, and waits until all that was handed in is written, or given up.
    pub(crate) async fn close(self) {
        drop(self.queue.lock().unwrap_or_else(PoisonError::into_inner).take());
        // An error says that the thread is gone, and nothing to wait for.
        drop(self.done.await);
    }
}

struct Writer {
    connection: Connection,
    entries: mpsc::Receiver<Entry>,
    troubles: Troubles,
}

impl Writer {
    /// Whatever has come while a batch was written is the next one: nothing is ever kept waiting to make it larger.
    fn run(mut self) {
        let mut batch = Vec::new();
        while self.entries.blocking_recv_many(&mut batch, BATCH) > 0 {
            if !self.write(&batch) {
                let mut lost = batch.len();
                while self.entries.try_recv().is_ok() {
                    lost += 1;
                }
                self.troubles.lost.inc_by(lost as u64);
                tracing::error!(lost, "the ledger can not be written: endings are lost");
            }
            batch.clear();
        }
    }

    /// Tries until it succeeds, or the process ends and will wait no longer.
    fn write(&mut self, batch: &[Entry]) -> bool {
        let (mut failed, mut last_attempts) = (false, 0);
        loop {
            match append(&mut self.connection, batch) {
                Ok(()) => {
                    if failed {
                        tracing::info!("the ledger can be written again");
                    }
                    return true;
                }
                Err(error) => {
                    self.troubles.errors.inc();
                    if !failed {
                        tracing::error!(%error, "the ledger can not be written; will try again");
                    }
                    failed = true;
                }
            }
            if self.entries.is_closed() {
                last_attempts += 1;
                if last_attempts == LAST_ATTEMPTS {
                    return false;
                }
            }
            thread::park_timeout(PAUSE);
        }
    }
}

fn append(connection: &mut Connection, batch: &[Entry]) -> rusqlite::Result<()> {
    // To begin as a reader and then to write may fail at once, whatever the time to wait.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for entry in batch {
        insert(&transaction, &entry.row, entry.ended_at)?;
    }
    transaction.commit()
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
