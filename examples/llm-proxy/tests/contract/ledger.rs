//! `--ledger`: what is in the file, when, and what happens to it when something goes wrong.

use std::{
    path::PathBuf,
    process::Command,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use rusqlite::{Connection, OpenFlags, types::Value as Cell};
use serde_json::{Map, Value, json};
use testkit::{Play, Upstream};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use crate::{
    client::{Client, Wire, chat},
    common::{LIMIT, Proxy},
};

/// An ending is readable so soon after the end.
const SOON: Duration = Duration::from_millis(250);
const DELTA: &str = "data: {\"object\":\"chat.completion.chunk\",\"model\":\"m-1\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hi\"}}]}\n\n";
const USAGE: &str = "data: {\"object\":\"chat.completion.chunk\",\"model\":\"m-1\",\"choices\":[],\"usage\":{\"prompt_tokens\":12,\"completion_tokens\":7,\"total_tokens\":19,\"prompt_tokens_details\":{\"cached_tokens\":8},\"completion_tokens_details\":{\"reasoning_tokens\":3}}}\n\n";
const DONE: &str = "data: [DONE]\n\n";
const CHAT: &str = "/v1/chat/completions";

/// A directory of a test's own, removed at its end.
struct Place(PathBuf);

impl Place {
    fn new() -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("ledger-{}-{number}", std::process::id());
        let place = Self(PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name));
        std::fs::create_dir_all(&place.0).unwrap();
        place
    }

    fn file(&self) -> PathBuf {
        self.0.join("usage.db")
    }

    fn option(&self) -> String {
        format!("--ledger={}", self.file().display())
    }

    /// Each row, as JSON with the names of the columns.
    fn rows(&self) -> Vec<Map<String, Value>> {
        let read_only = OpenFlags::SQLITE_OPEN_READ_ONLY;
        let file = Connection::open_with_flags(self.file(), read_only).unwrap();
        let mut query = file.prepare("SELECT * FROM endings ORDER BY rowid").unwrap();
        let names: Vec<String> = query.column_names().map(str::to_owned).collect();
        let row = |row: &rusqlite::Row<'_>| {
            let cell = |n| {
                Ok::<_, rusqlite::Error>(match row.get(n)? {
                    Cell::Null => Value::Null,
                    Cell::Integer(number) => json!(number),
                    Cell::Text(text) => json!(text),
                    other => panic!("{other:?}"),
                })
            };
            names.iter().enumerate().map(|(n, name)| Ok((name.clone(), cell(n)?))).collect()
        };
        query.query_map([], row).unwrap().map(Result::unwrap).collect()
    }

    fn is_sound(&self) -> bool {
        let file = Connection::open(self.file()).unwrap();
        let told = file.query_row("PRAGMA integrity_check", [], |row| row.get::<_, String>(0));
        told.unwrap() == "ok"
    }

    fn report(&self) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_llm-proxy"));
        let output = command.arg("report").arg("--ledger").arg(self.file()).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// An ending of `/endings` as it is to be in the file, but for the time.
fn flat(ending: &Value) -> Map<String, Value> {
    let mut flat = Map::new();
    for (field, value) in ending.as_object().unwrap() {
        let nested: &[&str] = match &**field {
            "drained" => &["bytes", "end"],
            "usage" => &[
                "dialect",
                "model",
                "input_tokens",
                "output_tokens",
                "cached_tokens",
                "reasoning_tokens",
                "certainty",
            ],
            _ => &[],
        };
        for inner in nested {
            flat.insert(format!("{field}_{inner}"), value[*inner].clone());
        }
        if nested.is_empty() {
            let number = value.as_bool().map(|truth| json!(i64::from(truth)));
            flat.insert(field.clone(), number.unwrap_or_else(|| value.clone()));
        }
    }
    flat
}

fn unix_ms() -> i64 {
    std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis() as i64
}

/// Sends so many requests at once, reads the answers to their ends, and tells their ids.
async fn complete(proxy: &Proxy, count: usize) -> Vec<String> {
    let mut clients = JoinSet::new();
    for _ in 0..count {
        let mut client = Client::send(proxy, chat("sim-words=2-gap=0ms")).await;
        clients.spawn(async move {
            client.rest().await;
            client.id
        });
    }
    clients.join_all().await
}

#[tokio::test]
async fn a_row_tells_what_the_ending_tells_and_soon() {
    let place = Place::new();
    let play = Play::new().head_sse().chunk(DELTA).sleep(Duration::from_millis(100));
    let play = play.chunk([USAGE, DONE].concat()).last_chunk();
    let upstream = Upstream::start([play]).await;
    let options = [&*place.option(), "--drain=1m", "--capture=100B"];
    let proxy = Proxy::before(upstream.addr(), &options).await;
    let began = unix_ms();
    for (n, leaves) in [false, true].into_iter().enumerate() {
        let mut client = Client::get(Wire::H1, &proxy, CHAT).await;
        client.read_until(DELTA).await;
        if leaves {
            client.leave().await;
        } else {
            client.rest().await;
        }
        let ending = proxy.endings(n + 1).await.remove(0);
        sleep(SOON).await;
        let mut row = place.rows().pop().unwrap();
        let ended_at = row.remove("ended_at").unwrap().as_i64().unwrap();
        assert!((began..=unix_ms()).contains(&ended_at), "{ended_at}");
        assert_eq!(row, flat(&ending));
        assert_eq!(row["usage_input_tokens"], 12);
        assert_eq!(row["drained_end"], if leaves { json!("completed") } else { Value::Null });
        assert_eq!(row["capture_truncated"], 1);
    }
    assert_eq!(place.rows().len(), 2);
}

#[tokio::test]
async fn a_killed_process_leaves_a_sound_file_with_all_but_the_last_moment() {
    let place = Place::new();
    let mut proxy = Proxy::start(&[&place.option()]).await;
    let settled = complete(&proxy, 50).await;
    proxy.endings(50).await;
    sleep(SOON).await;
    // More of them are under way, and being written, when it dies.
    let mut clients = JoinSet::new();
    for _ in 0..50 {
        let mut client = Client::send(&proxy, chat("sim-words=10-gap=2ms")).await;
        clients.spawn(async move { client.rest().await });
    }
    proxy.child.start_kill().unwrap();
    proxy.child.wait().await.unwrap();
    drop(clients);

    let report = place.report();
    assert!(report.contains("  sim-words=2-gap=0ms "), "read as it was left: {report}");
    assert!(place.is_sound());
    let kept: Vec<Value> = place.rows().into_iter().map(|row| row["id"].clone()).collect();
    assert!(settled.iter().all(|id| kept.contains(&json!(id))), "{} are left", kept.len());
    let proxy = Proxy::start(&[&place.option()]).await;
    complete(&proxy, 1).await;
    proxy.ending().await;
    sleep(SOON).await;
    assert_eq!(place.rows().len(), kept.len() + 1);
}

#[tokio::test]
async fn while_the_file_is_locked_the_proxy_serves_and_tells_and_afterwards_all_is_written() {
    let place = Place::new();
    let proxy = Proxy::start(&[&place.option()]).await;
    let other = Connection::open(place.file()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    complete(&proxy, 20).await;
    proxy.endings(20).await;
    let deadline = Instant::now() + LIMIT;
    while crate::metrics::value(&proxy, "llm_proxy_ledger_errors_total").await == 0.0 {
        assert!(Instant::now() < deadline, "nobody tells of it");
        sleep(Duration::from_millis(20)).await;
    }
    let told = |text: &str| proxy.stderr.lock().unwrap().iter().any(|line| line.contains(text));
    assert!(told("the ledger can not be written"));
    complete(&proxy, 1).await;
    assert_eq!(place.rows().len(), 0);
    other.execute_batch("COMMIT").unwrap();
    while place.rows().len() < 21 {
        assert!(Instant::now() < deadline, "{} are written", place.rows().len());
        sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(crate::metrics::value(&proxy, "llm_proxy_ledger_lost_endings_total").await, 0.0);
}

#[tokio::test]
async fn at_shutdown_every_ending_is_in_the_file_before_the_process_ends() {
    let place = Place::new();
    let mut proxy = Proxy::start(&[&place.option(), "--grace=0ms"]).await;
    let completed = complete(&proxy, 50).await;
    let mut clients = Vec::new();
    for _ in 0..250 {
        clients.push(Client::send(&proxy, chat("sim-stall=1")).await);
    }
    let kill = format!("kill -TERM {}", proxy.child.id().unwrap());
    assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    let mut readers = JoinSet::new();
    let aborted: Vec<String> = clients.iter().map(|client| client.id.clone()).collect();
    for mut client in clients {
        readers.spawn(async move { client.rest().await });
    }
    let exit = timeout(LIMIT, proxy.child.wait()).await.unwrap().unwrap();
    assert_eq!(exit.code(), Some(0));
    let rows = place.rows();
    assert_eq!(rows.len(), 300);
    for (ids, outcome, reason) in
        [(completed, "completed", Value::Null), (aborted, "aborted", json!("shutdown"))]
    {
        for id in ids {
            let row = rows.iter().find(|row| row["id"] == id).unwrap();
            assert_eq!((&row["outcome"], &row["reason"]), (&json!(outcome), &reason));
        }
    }
    assert!(place.is_sound());
}

#[tokio::test]
async fn the_report_tells_the_usage_of_each_day_and_model() {
    let place = Place::new();
    let proxy = Proxy::start(&[&place.option()]).await;
    let file = Connection::open(place.file()).unwrap();
    let columns = "id, ended_at, method, path, outcome, bytes, frames, elapsed_ms, terminator, \
        capture_truncated, usage_dialect, usage_model, usage_input_tokens, usage_output_tokens, \
        usage_cached_tokens, usage_reasoning_tokens, usage_certainty";
    let day = 86_400_000_i64;
    for (ended_at, usage) in [
        (0, "'anthropic', 'large', 1000, 200, 30, 4, 'reported'"),
        (day - 1, "'anthropic', 'large', 1, 2, NULL, NULL, 'partial'"),
        (day, "'anthropic', 'large', 5, 6, 7, 8, 'reported'"),
        (day, "'gemini', char(27) || '[2J', 9223372036854775807, NULL, NULL, NULL, 'partial'"),
        (day, "'gemini', NULL, NULL, NULL, NULL, NULL, 'unknown'"),
        (day, "NULL, NULL, NULL, NULL, NULL, NULL, NULL"),
    ] {
        let values = format!("'1-1', {ended_at}, 'GET', '/', 'completed', 0, 0, 0, 'none', 0");
        file.execute(&format!("INSERT INTO endings ({columns}) VALUES ({values}, {usage})"), [])
            .unwrap();
    }
    let expected = "\
day (UTC)   model  exchanges  unsure                input  output  cached  reasoning
1970-01-01  large          2       1                 1001     202      30          4
1970-01-02  \u{fffd}[2J           1       1  9223372036854775808       0       0          0
1970-01-02  -              1       1                    0       0       0          0
1970-01-02  large          1       0                    5       6       7          8
";
    assert_eq!(place.report(), expected, "while a proxy has it open");
    drop(file);
    drop(proxy);
    assert_eq!(place.report(), expected);
}

#[test]
fn what_is_no_ledger_is_refused_by_its_name() {
    let place = Place::new();
    std::fs::write(place.file(), "these are notes of somebody else, and no database at all")
        .unwrap();
    let ports = ["--listen=127.0.0.1:0", "--admin=127.0.0.1:0"];
    let run = |arguments: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_llm-proxy")).args(arguments).output().unwrap()
    };
    let missing = format!("--ledger={}", place.0.join("none.db").display());
    let option = place.option();
    for arguments in
        [&[&*option, ports[0], ports[1]][..], &["report", &option], &["report", &missing]]
    {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(told.contains("--ledger "), "{told}");
    }
    assert!(!place.0.join("none.db").exists());
}
