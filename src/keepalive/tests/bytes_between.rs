//! Heartbeats forced at every opportunity: what a client reads of the upstream's stream is unchanged.

use bytes::Bytes;
use proptest::{collection::vec, prelude::*, sample::select};
use testkit::{Script, drain};
use tokio::runtime::Builder;

use super::SECOND;
use crate::{
    keepalive::{Heartbeat, IdleKeepaliveBody},
    sse::tests::{
        random::{cut, stream},
        reference::{MARK, Parsed, parse},
        vectors::{Vector, offsets, vectors},
    },
};

fn ready_made() -> [Heartbeat; 4] {
    let own =
        Heartbeat::events(Bytes::from_static(b"event: ping\ndata: {\"type\":\"ping\"}\n\n: x\n"));
    [Heartbeat::comment(), Heartbeat::anthropic_ping(), Heartbeat::blank_line(), own]
}

/// Reads the pieces with a pause before each and after the last in which a heartbeat is due.
async fn forced(pieces: &[Bytes], heartbeat: &Heartbeat) -> Forced {
    let mut script = Script::new();
    for piece in pieces {
        script = script.sleep(SECOND * 3 / 2).data(piece.clone());
    }
    let script = script.sleep(SECOND * 3 / 2);
    let frames = drain(IdleKeepaliveBody::new(script, SECOND, heartbeat.clone())).await.frames;
    // It is a heartbeat if it is in the memory of one.
    let own = [Some(&heartbeat.bytes), heartbeat.early.as_ref()];
    let is_own = |frame: &&Bytes| own.iter().flatten().any(|own| own.as_ptr() == frame.as_ptr());
    let upstream: Vec<_> = frames.iter().filter(|frame| !is_own(frame)).cloned().collect();
    Forced {
        all: frames.concat(),
        upstream: upstream.concat(),
        heartbeats: frames.len() - upstream.len(),
        first: frames.first().is_some_and(|frame| is_own(&frame)),
    }
}

struct Forced {
    all: Vec<u8>,
    /// What is left without the heartbeats.
    upstream: Vec<u8>,
    heartbeats: usize,
    /// The first frame is one.
    first: bool,
}

impl Forced {
    fn check(&self, input: &[u8], heartbeat: &Heartbeat, name: &str) {
        assert!(self.first && self.heartbeats > 0, "{name}: nothing was forced");
        // I3 of faults.md: without the heartbeats the bytes are the upstream's, but for a mark that was one no more.
        let unmarked = input.strip_prefix(MARK).unwrap_or(input);
        assert_eq!(
            self.upstream.escape_ascii().to_string(),
            unmarked.escape_ascii().to_string(),
            "{name}"
        );
        let (mut expect, mut seen) = (parse(input), parse(&self.all));
        if *heartbeat == Heartbeat::comment() {
            expect.comments += self.heartbeats;
        } else {
            (expect.comments, seen.comments) = (0, 0);
        }
        assert_eq!(without_pings(seen), without_pings(expect), "{name}");
    }
}

fn without_pings(mut parsed: Parsed) -> Parsed {
    parsed.events.retain(|event| event.kind != "ping" || event.data != "{\"type\":\"ping\"}");
    parsed
}

#[tokio::test(start_paused = true)]
async fn every_vector_is_read_unchanged_with_heartbeats_forced_whole_and_at_every_split() {
    for Vector { id, input, .. } in vectors() {
        for heartbeat in ready_made() {
            forced(std::slice::from_ref(&input), &heartbeat).await.check(&input, &heartbeat, &id);
            for at in offsets(&input) {
                let split = [input.slice(..at), input.slice(at..)];
                let forced = forced(&split, &heartbeat).await;
                forced.check(&input, &heartbeat, &format!("{id} split at {at}, {heartbeat:?}"));
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn every_vector_is_read_unchanged_with_heartbeats_forced_at_every_byte() {
    for Vector { id, input, .. } in vectors() {
        for heartbeat in ready_made() {
            let pieces: Vec<_> = (0..input.len()).map(|at| input.slice(at..=at)).collect();
            let forced = forced(&pieces, &heartbeat).await;
            forced.check(&input, &heartbeat, &format!("{id}, {heartbeat:?}"));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn every_ndjson_record_is_read_unchanged_with_spaces_forced_at_every_split() {
    let input = Bytes::from("{\"a\":\" x \"}\n[1, 2]\r\n\"\u{e9}\"\n4");
    let records = |bytes: &[u8]| -> Vec<serde_json::Value> {
        serde_json::Deserializer::from_slice(bytes).into_iter().map(Result::unwrap).collect()
    };
    for at in 0..=input.len() {
        for second in at..=input.len() {
            let pieces = [input.slice(..at), input.slice(at..second), input.slice(second..)];
            let forced = forced(&pieces, &Heartbeat::space()).await;
            assert_eq!(forced.upstream, input, "split at {at} and {second}");
            assert_eq!(records(&forced.all), records(&input), "split at {at} and {second}");
            assert!(forced.first && forced.heartbeats > 0);
            // Not within a record: a parser that reads line by line sees the same lines.
            let lines = |bytes: &[u8]| -> Vec<String> {
                String::from_utf8(bytes.into())
                    .unwrap()
                    .lines()
                    .map(|l| l.trim_start().into())
                    .collect()
            };
            assert_eq!(lines(&forced.all), lines(&input), "split at {at} and {second}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_stream_in_any_pieces_is_read_unchanged_with_heartbeats_forced(
        stream in stream(), lengths in vec(0_usize..9, 0..12), heartbeat in select(ready_made().to_vec()),
    ) {
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let forced = runtime.block_on(forced(&cut(stream.clone(), &lengths), &heartbeat));
        forced.check(&stream, &heartbeat, "");
    }
}
