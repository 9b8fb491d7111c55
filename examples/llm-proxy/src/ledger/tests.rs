use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use rusqlite::Connection;
use tokio::time::sleep;

use super::{BATCH, Ledger, QUEUE, Troubles, report, schema};
use crate::{books::Row, testing::soon};

/// A directory of a test's own, removed at its end.
struct Place(PathBuf);

impl Place {
    fn new() -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("llm-proxy-ledger-{}-{number}", std::process::id());
        let place = Self(std::env::temp_dir().join(name));
        std::fs::create_dir_all(&place.0).unwrap();
        place
    }

    fn file(&self) -> PathBuf {
        self.0.join("usage.db")
    }

    fn connect(&self) -> Connection {
        Connection::open(self.file()).unwrap()
    }

    fn count(&self) -> u64 {
        let count = "SELECT count(*) FROM endings";
        self.connect().query_row(count, [], |row| row.get::<_, i64>(0)).unwrap() as u64
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn row(path: String) -> Arc<Row> {
    Arc::new(Row {
        id: "1-1".into(),
        method: "GET".into(),
        path,
        status: Some(200),
        outcome: "completed",
        reason: None,
        bytes: u64::MAX,
        frames: 1,
        head_ms: Some(1),
        first_frame_ms: None,
        elapsed_ms: 2,
        terminator: "none",
        drained: None,
        usage: None,
        capture_truncated: false,
    })
}

async fn until(happened: impl Fn() -> bool) {
    soon(async {
        while !happened() {
            sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn what_is_written_stays_and_is_added_to() {
    let place = Place::new();
    for round in 1..=2 {
        let (ledger, writing) = Ledger::open(&place.file(), Troubles::default()).unwrap();
        ledger.add(row("/".into()));
        soon(writing.close()).await;
        assert_eq!(place.count(), round);
    }
    let bytes = "SELECT bytes FROM endings";
    let bytes: i64 = place.connect().query_row(bytes, [], |row| row.get(0)).unwrap();
    assert_eq!(bytes, i64::MAX, "the largest that there is");
    let version: i64 =
        place.connect().pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
    assert_eq!(version, 1);
}

#[tokio::test]
async fn after_the_close_an_ending_is_lost_and_counted() {
    let place = Place::new();
    let troubles = Troubles::default();
    let (ledger, writing) = Ledger::open(&place.file(), troubles.clone()).unwrap();
    soon(writing.close()).await;
    ledger.add(row("/".into()));
    assert_eq!((place.count(), troubles.lost.get()), (0, 1));
}

#[tokio::test]
async fn while_somebody_else_holds_the_file_endings_wait_and_too_many_are_lost() {
    let place = Place::new();
    let troubles = Troubles::default();
    let (ledger, writing) = Ledger::open(&place.file(), troubles.clone()).unwrap();
    let other = place.connect();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let added = (QUEUE + BATCH + 10) as u64;
    for _ in 0..added {
        ledger.add(row("/".into()));
    }
    until(|| troubles.errors.get() > 0).await;
    let lost = troubles.lost.get();
    assert!((10..=10 + BATCH as u64).contains(&lost), "{lost}");
    other.execute_batch("COMMIT").unwrap();
    soon(writing.close()).await;
    assert_eq!((place.count(), troubles.lost.get()), (added - lost, lost));
}

#[tokio::test]
async fn a_file_that_stays_locked_holds_the_end_up_for_seconds_and_what_is_lost_is_counted() {
    let place = Place::new();
    let troubles = Troubles::default();
    let (ledger, writing) = Ledger::open(&place.file(), troubles.clone()).unwrap();
    let other = place.connect();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    for _ in 0..BATCH + 10 {
        ledger.add(row("/".into()));
    }
    soon(writing.close()).await;
    assert_eq!(troubles.lost.get(), BATCH as u64 + 10);
    other.execute_batch("COMMIT").unwrap();
    assert_eq!(place.count(), 0);
}

#[tokio::test]
async fn a_full_disk_costs_the_endings_that_do_not_fit_and_nothing_else() {
    let place = Place::new();
    let troubles = Troubles::default();
    let mut connection = place.connect();
    schema::prepare(&mut connection).unwrap();
    connection.pragma_update(None, "max_page_count", 20).unwrap();
    let (ledger, writing) = Ledger::start(connection, troubles.clone()).unwrap();
    for n in 1..=10 {
        ledger.add(row("/".into()));
        until(|| place.count() == n).await;
    }
    for _ in 0..200 {
        ledger.add(row("x".repeat(1024)));
    }
    until(|| troubles.errors.get() > 0).await;
    soon(writing.close()).await;
    let count = place.count();
    assert!((10..210).contains(&count), "{count}");
    assert_eq!(troubles.lost.get(), 210 - count);
    let sound = "PRAGMA integrity_check";
    let sound: String = place.connect().query_row(sound, [], |row| row.get(0)).unwrap();
    assert_eq!(sound, "ok");
}

#[test]
fn a_file_of_another_version_or_program_is_refused_and_left_as_it_is() {
    for (made, told) in [
        ("CREATE TABLE endings (x); PRAGMA user_version = 2", "version 2"),
        ("CREATE TABLE endings (x)", "another program"),
        ("CREATE TABLE notes (x)", "another program"),
    ] {
        let place = Place::new();
        place.connect().execute_batch(made).unwrap();
        let before = std::fs::read(place.file()).unwrap();
        let error = Ledger::open(&place.file(), Troubles::default()).unwrap_err().to_string();
        assert!(error.contains(told), "{error}");
        let error = report(&place.file()).unwrap_err().to_string();
        assert!(error.contains(told), "{error}");
        assert_eq!(std::fs::read(place.file()).unwrap(), before);
    }
}
