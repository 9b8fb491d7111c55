//! The shape of the file.

use rusqlite::{Connection, TransactionBehavior, params};
use tower::BoxError;

use crate::books::Row;

/// Of the table, in `PRAGMA user_version`.
const VERSION: i64 = 1;

const TABLE: &str = "CREATE TABLE endings (
    id TEXT NOT NULL,
    ended_at INTEGER NOT NULL,
    method TEXT NOT NULL,
    path TEXT NOT NULL,
    status INTEGER,
    outcome TEXT NOT NULL,
    reason TEXT,
    bytes INTEGER NOT NULL,
    frames INTEGER NOT NULL,
    head_ms INTEGER,
    first_frame_ms INTEGER,
    elapsed_ms INTEGER NOT NULL,
    terminator TEXT NOT NULL,
    drained_bytes INTEGER,
    drained_end TEXT,
    usage_dialect TEXT,
    usage_model TEXT,
    usage_input_tokens INTEGER,
    usage_output_tokens INTEGER,
    usage_cached_tokens INTEGER,
    usage_reasoning_tokens INTEGER,
    usage_certainty TEXT,
    capture_truncated INTEGER NOT NULL
)";

const INSERT: &str = "INSERT INTO endings VALUES (
    ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12,
    ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23
)";

/// Makes the table if the file is new. One of another version, or of another program, is left as it is.
pub(super) fn prepare(connection: &mut Connection) -> Result<(), BoxError> {
    // A process that is killed loses nothing that it has written; a machine without power at most the last moments.
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    if is_empty(connection)? {
        connection.pragma_update(None, "journal_mode", "WAL")?;
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        // Another process may have made it in the meantime.
        if is_empty(&transaction)? {
            transaction.execute_batch(TABLE)?;
            transaction.pragma_update(None, "user_version", VERSION)?;
        }
        transaction.commit()?;
    }
    check(connection)
}

/// Refuses a file that this version can not read.
pub(super) fn check(connection: &Connection) -> Result<(), BoxError> {
    let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let ours = connection.table_exists(None, "endings")?;
    match version {
        VERSION if ours => Ok(()),
        0 => Err("this is the file of another program".into()),
        _ => Err(format!("its schema has version {version}, this program's is {VERSION}").into()),
    }
}

fn is_empty(connection: &Connection) -> rusqlite::Result<bool> {
    connection.query_row("SELECT count(*) = 0 FROM sqlite_schema", [], |row| row.get(0))
}

pub(super) fn insert(connection: &Connection, row: &Row, ended_at: i64) -> rusqlite::Result<()> {
    let (drained, usage) = (row.drained.as_ref(), row.usage.as_ref());
    connection.prepare_cached(INSERT)?.execute(params![
        &*row.id,
        ended_at,
        row.method,
        row.path,
        row.status,
        row.outcome,
        row.reason,
        integer(row.bytes),
        integer(row.frames),
        row.head_ms.map(integer),
        row.first_frame_ms.map(integer),
        integer(row.elapsed_ms),
        row.terminator,
        drained.map(|rest| integer(rest.bytes)),
        drained.map(|rest| rest.end.as_str()),
        usage.map(|usage| usage.dialect),
        usage.and_then(|usage| usage.model.as_deref()),
        usage.and_then(|usage| usage.input_tokens).map(integer),
        usage.and_then(|usage| usage.output_tokens).map(integer),
        usage.and_then(|usage| usage.cached_tokens).map(integer),
        usage.and_then(|usage| usage.reasoning_tokens).map(integer),
        usage.map(|usage| usage.certainty),
        row.capture_truncated,
    ])?;
    Ok(())
}

/// What an upstream tells may be larger than any number of SQLite's.
fn integer(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
