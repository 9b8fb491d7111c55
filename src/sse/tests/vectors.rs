//! The shared vectors and the injection table, as `sse_vectors.json` has them.

use std::collections::HashMap;

use bytes::Bytes;
use serde_json::Value;

use super::reference::{Dispatched, MARK, Parsed, class, parse};

/// The vector of 70 kB, too long to be parsed at each of its offsets.
pub(crate) const HUGE: &str = "huge-line";

pub(crate) struct Vector {
    pub(crate) id: String,
    pub(crate) input: Bytes,
    pub(crate) expect: Parsed,
}

/// What the table says of one position class.
pub(super) struct Row {
    pub(super) class: String,
    pub(super) kinds: Vec<Kind>,
}

pub(super) struct Kind {
    pub(super) bytes: Vec<u8>,
    pub(super) safe: bool,
    /// The bytes before and behind an insertion that corrupts.
    pub(super) corrupts: Option<(Vec<u8>, Vec<u8>)>,
}

pub(crate) fn vectors() -> Vec<Vector> {
    let vectors = json()["vectors"].as_array().unwrap().clone();
    assert_eq!(vectors.len(), 36);
    let vector = |vector: &Value| Vector {
        id: text(&vector["id"]),
        input: base64(vector["input_b64"].as_str().unwrap()).into(),
        expect: expected(&vector["expect"]),
    };
    vectors.iter().map(vector).collect()
}

pub(super) fn table() -> Vec<Row> {
    let json = json();
    let kinds = json["injection_kinds"].as_object().unwrap();
    let bytes: HashMap<_, _> = kinds.iter().map(|(name, bytes)| (name, latin1(bytes))).collect();
    let row = |row: &Value| Row {
        class: text(&row["state"]),
        kinds: bytes
            .iter()
            .map(|(name, bytes)| {
                let entry = &row[name.as_str()];
                let example = &entry["smallest_counterexample"];
                Kind {
                    bytes: bytes.clone(),
                    safe: entry["safe"].as_bool().unwrap(),
                    corrupts: example
                        .is_object()
                        .then(|| (latin1(&example["prefix"]), latin1(&example["future"]))),
                }
            })
            .collect(),
    };
    json["injection_table"].as_array().unwrap().iter().map(row).collect()
}

/// Every offset; of the huge vector those where something changes, and some where nothing does.
pub(crate) fn offsets(input: &[u8]) -> Vec<usize> {
    let all = 0..=input.len();
    let short = input.len() < 2_000;
    all.filter(|at| short || *at < 20 || at % 4_001 == 0 || at + 20 > input.len()).collect()
}

/// The offsets at which every kind of insertion is safe, given that a mark which follows is taken out.
pub(crate) fn safe_offsets(input: &[u8]) -> Vec<usize> {
    // All others are in the middle of a line, so only these are worth a look.
    let candidates = (0..=input.len())
        .filter(|at| *at == 0 || input[..*at] == *MARK || matches!(input[at - 1], b'\r' | b'\n'));
    let safe = ["stream_start", "event_boundary", "after_cr_at_boundary"];
    candidates.filter(|at| safe.contains(&class(&input[..*at]))).collect()
}

#[test]
fn the_reference_parser_passes_every_vector() {
    for Vector { id, input, expect } in vectors() {
        assert_eq!(parse(&input), expect, "{id}");
    }
}

#[test]
fn the_reference_parser_is_corrupted_by_every_counterexample_of_the_table() {
    let mut seen = 0;
    for row in table() {
        for Kind { bytes, safe, corrupts } in row.kinds {
            assert_eq!(safe, corrupts.is_none());
            let Some((prefix, future)) = corrupts else { continue };
            assert_eq!(class(&prefix), row.class);
            let (plain, with) = seen_by_client(&prefix, &bytes, &future);
            assert_ne!(with, plain, "{}: {}", row.class, bytes.escape_ascii());
            seen += 1;
        }
    }
    assert_eq!(seen, 18);
}

/// What a client sees without and with `bytes` in between, but for what those bytes themselves say.
pub(super) fn seen_by_client(prefix: &[u8], bytes: &[u8], future: &[u8]) -> (Parsed, Parsed) {
    let (plain, with) = ([prefix, future].concat(), [prefix, bytes, future].concat());
    let (mut plain, mut with) = (parse(&plain), parse(&with));
    with.events.retain(|event| event.kind != "ka-ping" || event.data != "{}");
    for parsed in [&mut plain, &mut with] {
        (parsed.comments, parsed.discarded) = (0, false);
    }
    (plain, with)
}

fn json() -> Value {
    serde_json::from_str(include_str!("../../../tests/fixtures/sse_vectors.json")).unwrap()
}

fn expected(value: &Value) -> Parsed {
    let event = |event: &Value| Dispatched {
        kind: text(&event["type"]),
        data: text(&event["data"]),
        last_event_id: text(&event["last_event_id"]),
    };
    Parsed {
        events: value["events"].as_array().unwrap().iter().map(event).collect(),
        last_event_id: text(&value["last_event_id"]),
        retry: value["reconnection_time_ms"].as_u64(),
        comments: usize::try_from(value["comment_lines"].as_u64().unwrap()).unwrap(),
        discarded: value["discarded_at_eof"].as_bool().unwrap(),
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().into()
}

/// In the table each byte is a character of its own.
fn latin1(value: &Value) -> Vec<u8> {
    text(value).chars().map(|byte| u8::try_from(byte).unwrap()).collect()
}

fn base64(text: &str) -> Vec<u8> {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bytes, mut bits, mut held) = (Vec::new(), 0_u32, 0);
    for digit in text.trim_end_matches('=').bytes() {
        let value = ALPHABET.iter().position(|known| *known == digit).unwrap();
        bits = (bits << 6) | u32::try_from(value).unwrap();
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held) as u8);
            bits &= (1 << held) - 1;
        }
    }
    bytes
}
