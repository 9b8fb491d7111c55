//! The dodge: a client reads every word of an answer and leaves before the provider says what it cost.

use std::{path::PathBuf, time::Duration};

use rusqlite::{Connection, OpenFlags};
use serde_json::{Value, json};
use testkit::{Gate, H1, H2, H2Next, Play, Upstream, dechunk};
use tokio::time::{Instant, sleep};

use crate::{
    client::{Client, Side, WIRES, Wire, says},
    common::{LIMIT, Proxy},
    unread::Asleep,
};

/// An answer: where it is asked for, what of it comes before the client leaves, and what the ledger is to say.
struct Answer {
    path: &'static str,
    content_type: &'static str,
    body: &'static [u8],
    /// So many of its events are read.
    read: usize,
    /// Input, output, certainty and terminator, as far as they were told until then.
    told: (Value, Value, &'static str, &'static str),
    /// Input and output that the provider counted.
    truth: (u64, u64),
}

macro_rules! answer {
    ($file:literal, $path:literal, $type:literal, $read:literal, $told:expr, $truth:expr $(,)?) => {
        Answer {
            path: $path,
            content_type: $type,
            body: include_bytes!(concat!("../../../../tests/fixtures/usage/", $file)),
            read: $read,
            told: $told,
            truth: $truth,
        }
    };
}

const NONE: Value = Value::Null;

#[rustfmt::skip]
fn answers() -> Vec<Answer> {
    let (unknown, partial) = ((NONE, NONE, "unknown", "missing"), |input: u64| (json!(input), NONE, "partial"));
    let and = |(input, output, certainty), terminator| (input, output, certainty, terminator);
    vec![
        answer!("openai_chat.sse", "/v1/chat/completions", "text/event-stream", 4, unknown.clone(), (1200, 90)),
        answer!("mistral.sse", "/v1/chat/completions", "text/event-stream", 2, unknown.clone(), (27, 100)),
        answer!("openai_responses.sse", "/v1/responses", "text/event-stream", 7, unknown.clone(), (36, 87)),
        answer!("anthropic.sse", "/v1/messages", "text/event-stream", 7, and(partial(2311), "missing"), (2311, 26)),
        answer!("gemini.sse", "/v1beta/models/m:streamGenerateContent", "text/event-stream", 1, and(partial(50), "missing"), (57, 13)),
        answer!("ollama.ndjson", "/api/chat", "application/x-ndjson", 2, unknown.clone(), (26, 282)),
        answer!("cohere.sse", "/v2/chat", "text/event-stream", 4, unknown, (69, 5)),
        answer!(
            "bedrock_converse.bin", "/model/m/converse-stream", "application/vnd.amazon.eventstream", 4,
            (NONE, NONE, "unknown", "seen"), (135, 142),
        ),
        answer!(
            "bedrock_invoke.bin", "/model/m/invoke-with-response-stream", "application/vnd.amazon.eventstream", 2,
            and(partial(46), "missing"), (47, 12),
        ),
    ]
}

impl Answer {
    /// What the client reads, and the rest.
    fn cut(&self) -> (&'static [u8], &'static [u8]) {
        let mut at = 0;
        for _ in 0..self.read {
            let rest = &self.body[at..];
            let ends = |ends: &[&[u8]]| {
                (1..=rest.len()).find(|at| ends.iter().any(|end| rest[..*at].ends_with(end)))
            };
            at += match self.content_type {
                "text/event-stream" => ends(&[b"\n\n", b"\r\n\r\n"]).unwrap(),
                "application/x-ndjson" => ends(&[b"\n"]).unwrap(),
                _ => u32::from_be_bytes(rest[..4].try_into().unwrap()) as usize,
            };
        }
        self.body.split_at(at)
    }

    /// The upstream says the rest when the gate is open.
    fn play(&self, gate: &Gate) -> Play {
        let (read, rest) = self.cut();
        let head =
            "HTTP/1.1 200 OK\r\nconnection: close\r\ntransfer-encoding: chunked\r\ncontent-type: ";
        let play = Play::new().send(format!("{head}{}\r\n\r\n", self.content_type)).chunk(read);
        play.wait(gate).chunk(rest).last_chunk()
    }

    /// Reads what there is to read, and leaves.
    async fn dodge(&self, wire: Wire, proxy: &Proxy) -> String {
        let (expected, _) = self.cut();
        let mut client = Client::get(wire, proxy, self.path).await;
        match &mut client.side {
            Side::H1(client) => {
                let read = client.read_until(|bytes| dechunk(bytes).body == expected, LIMIT).await;
                read.unwrap();
            }
            Side::H2(_, body) => {
                let mut read = Vec::new();
                while read != expected {
                    let H2Next::Data(data) = body.next(LIMIT).await else {
                        panic!("after {read:?}")
                    };
                    read.extend_from_slice(&data);
                }
            }
        }
        let id = client.id.clone();
        client.leave().await;
        id
    }
}

/// A ledger, removed at its end.
struct Ledger(PathBuf);

impl Ledger {
    fn new(name: &str) -> Self {
        let file = format!("dodge-{}-{name}.db", std::process::id());
        Self(PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(file))
    }

    fn option(&self) -> String {
        format!("--ledger={}", self.0.display())
    }

    /// The row of this exchange, once it is there.
    async fn row(&self, id: &str) -> Value {
        let columns = [
            "outcome",
            "reason",
            "bytes",
            "terminator",
            "drained_bytes",
            "drained_end",
            "usage_input_tokens",
            "usage_output_tokens",
            "usage_certainty",
        ];
        let deadline = Instant::now() + LIMIT;
        loop {
            let file =
                Connection::open_with_flags(&self.0, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
            let cells = columns.map(|column| format!("'{column}', {column}")).join(", ");
            let query = format!("SELECT json_object({cells}) FROM endings WHERE id = ?");
            let row = file.query_row(&query, [id], |row| row.get::<_, String>(0));
            if let Ok(row) = row {
                return serde_json::from_str(&row).unwrap();
            }
            assert!(Instant::now() < deadline, "{id} has no row");
            sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        for end in ["", "-wal", "-shm"] {
            let _ = std::fs::remove_file(format!("{}{end}", self.0.display()));
        }
    }
}

/// An upstream that gives each of the answers once, a proxy before it, and its ledger.
async fn stage(name: &str, options: &[&str], gates: &[Gate]) -> (Upstream, Proxy, Ledger) {
    let plays = answers().into_iter().zip(gates).map(|(answer, gate)| answer.play(gate));
    let upstream = Upstream::start(plays).await;
    let ledger = Ledger::new(name);
    let place = ledger.option();
    let proxy = Proxy::before(upstream.addr(), &[options, &[&*place]].concat()).await;
    (upstream, proxy, ledger)
}

fn gates() -> Vec<Gate> {
    answers().iter().map(|_| Gate::new()).collect()
}

/// What is in the row of somebody who left and of whom no more was learned than what he read.
fn learned_nothing(answer: &Answer, row: &Value, drained: (Value, Value)) {
    let (input, output, certainty, terminator) = answer.told.clone();
    says(
        row,
        [
            ("outcome", json!("disconnected")),
            ("reason", NONE),
            ("bytes", json!(answer.cut().0.len())),
            ("terminator", json!(terminator)),
            ("drained_bytes", drained.0),
            ("drained_end", drained.1),
            ("usage_input_tokens", input),
            ("usage_output_tokens", output),
            ("usage_certainty", json!(certainty)),
        ],
    );
}

#[tokio::test]
async fn without_a_drain_who_dodges_is_told_as_unknown_or_partial_and_no_count_is_made_up() {
    for wire in WIRES {
        let (upstream, proxy, ledger) = stage(&format!("none-{wire:?}"), &[], &gates()).await;
        for (n, answer) in answers().iter().enumerate() {
            let id = answer.dodge(wire, &proxy).await;
            upstream.closed(n, LIMIT).await;
            learned_nothing(answer, &ledger.row(&id).await, (NONE, NONE));
        }
    }
}

#[tokio::test]
async fn with_a_drain_who_dodges_pays_what_the_provider_counted() {
    for wire in WIRES {
        let gates = gates();
        let name = format!("all-{wire:?}");
        let (_upstream, proxy, ledger) = stage(&name, &["--drain=10s"], &gates).await;
        for (answer, gate) in answers().iter().zip(&gates) {
            let id = answer.dodge(wire, &proxy).await;
            // The provider takes its time before it counts.
            proxy.stream(|stream| stream["draining"] == true).await;
            gate.open();
            let (read, rest) = answer.cut();
            says(
                &ledger.row(&id).await,
                [
                    ("outcome", json!("disconnected")),
                    ("reason", NONE),
                    ("bytes", json!(read.len())),
                    ("terminator", json!("seen")),
                    ("drained_bytes", json!(rest.len())),
                    ("drained_end", json!("completed")),
                    ("usage_input_tokens", json!(answer.truth.0)),
                    ("usage_output_tokens", json!(answer.truth.1)),
                    ("usage_certainty", json!("reported")),
                ],
            );
        }
    }
}

#[tokio::test]
async fn a_drain_that_is_over_before_the_provider_counts_makes_nothing_up_either() {
    let (upstream, proxy, ledger) = stage("some", &["--drain=100ms"], &gates()).await;
    for (n, answer) in answers().iter().enumerate() {
        let id = answer.dodge(Wire::H1, &proxy).await;
        upstream.closed(n, LIMIT).await;
        learned_nothing(answer, &ledger.row(&id).await, (json!(0), json!("limit")));
    }
}

/// So much is read of an answer, and then nothing more: the window ends behind it (h2), or what follows is more than all
/// buffers on the way take (h1).
async fn stops_reading(answer: &Answer, wire: Wire, proxy: &Proxy) -> (String, Asleep) {
    let (expected, _) = answer.cut();
    match wire {
        Wire::H1 => {
            let mut client = H1::connect_with_small_buffers(proxy.addr).await.unwrap();
            client.get(answer.path).await.unwrap();
            let head = client.read_head(LIMIT).await.unwrap();
            let read = |bytes: &[u8]| dechunk(bytes).body.starts_with(expected);
            client.read_until(read, LIMIT).await.unwrap();
            (head.header("x-exchange-id").unwrap().to_owned(), Asleep::H1(client))
        }
        Wire::H2 => {
            let window = u32::try_from(expected.len()).unwrap();
            let mut client = H2::with_window(proxy.addr, window).await.unwrap();
            let (head, mut body) = client.request("GET", answer.path, &[]).await.unwrap();
            let mut read = Vec::new();
            while read != expected {
                let H2Next::Data(data) = body.next_held(LIMIT).await else {
                    panic!("after {read:?}")
                };
                read.extend_from_slice(&data);
            }
            let id = head.headers["x-exchange-id"].to_str().unwrap().to_owned();
            (id, Asleep::H2(client, body))
        }
    }
}

/// Many words that the client does not read, then the rest of the answer.
const UNREAD: usize = 64;

fn words() -> String {
    let word = r#"{"choices":[{"index":0,"delta":{"content":"word "},"finish_reason":null}]}"#;
    format!("data: {word}\n\n").repeat(800)
}

/// An answer of OpenAI's, of which somebody reads the beginning only.
fn long_answer(gate: &Gate) -> (Answer, Play) {
    let answer = answers().swap_remove(0);
    let (read, rest) = answer.cut();
    let play = Play::new().head_sse().chunk(read).wait(gate);
    let play = (0..UNREAD).fold(play, |play, _| play.chunk(words()));
    (answer, play.chunk(rest).last_chunk())
}

#[tokio::test]
async fn with_a_drain_who_stops_reading_in_place_of_leaving_pays_too() {
    for wire in WIRES {
        let gate = Gate::new();
        let (answer, play) = long_answer(&gate);
        let upstream = Upstream::start([play]).await;
        let options = ["--drain=1m", "--drain-bytes=64MiB", "--unread-timeout=500ms"];
        let proxy = Proxy::before(upstream.addr(), &options).await;
        let (id, client) = stops_reading(&answer, wire, &proxy).await;
        gate.open();
        let ending = proxy.ending().await;
        says(
            &ending,
            [
                ("id", json!(id)),
                ("outcome", json!("timed_out")),
                ("reason", json!("unread")),
                ("terminator", json!("seen")),
            ],
        );
        says(&ending["drained"], [("end", json!("completed"))]);
        let (read, rest) = answer.cut();
        let whole = read.len() + UNREAD * words().len() + rest.len();
        let sum = ending["bytes"].as_u64().unwrap() + ending["drained"]["bytes"].as_u64().unwrap();
        assert_eq!(sum, whole as u64, "{wire:?}: each byte is one or the other");
        says(
            &ending["usage"],
            [
                ("input_tokens", json!(answer.truth.0)),
                ("output_tokens", json!(answer.truth.1)),
                ("certainty", json!("reported")),
            ],
        );
        drop(client);
    }
}

#[tokio::test]
async fn without_a_drain_the_upstream_of_who_stops_reading_is_let_go_and_no_count_is_made_up() {
    for wire in WIRES {
        let gate = Gate::new();
        let (answer, play) = long_answer(&gate);
        let upstream = Upstream::start([play.stall()]).await;
        let proxy = Proxy::before(upstream.addr(), &["--unread-timeout=500ms"]).await;
        let (id, client) = stops_reading(&answer, wire, &proxy).await;
        gate.open();
        upstream.closed(0, LIMIT).await;
        let ending = proxy.ending().await;
        says(
            &ending,
            [
                ("id", json!(id)),
                ("outcome", json!("timed_out")),
                ("reason", json!("unread")),
                ("terminator", json!("missing")),
                ("drained", NONE),
            ],
        );
        says(&ending["usage"], [("output_tokens", NONE), ("certainty", json!("unknown"))]);
        drop(client);
    }
}
