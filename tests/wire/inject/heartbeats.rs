//! Heartbeats while a stream is idle: between events and nowhere else (faults.md 13, 14).

use testkit::{Gate, Script};
use tokio::time::sleep;

use super::{BEAT, INTERVAL, NEVER, Stage};
use crate::{
    reader::{Over, Reader, Wire},
    stage::{aborted_event, answering, sse, typed},
};

/// Serves an event stream that stops at the gate between its two parts.
async fn halting(wire: Wire, parts: [Vec<u8>; 2]) -> (Stage, Gate) {
    let gate = Gate::new();
    let opened = gate.clone();
    let service = answering(move || {
        let [before, after] = parts.clone();
        sse(Script::new().data(before).wait(&opened).data(after))
    });
    (Stage::start(wire, INTERVAL, service).await, gate)
}

/// Takes the heartbeats out, and tells behind how many of the other bytes each of them was.
fn without_beats(body: &str) -> (String, Vec<usize>) {
    let mut parts = body.split(BEAT);
    let mut rest = parts.next().unwrap_or_default().to_owned();
    let mut places = Vec::new();
    for part in parts {
        places.push(rest.len());
        rest.push_str(part);
    }
    (rest, places)
}

#[tokio::test]
async fn an_idle_client_gets_heartbeats_between_two_events_each_in_a_frame_of_its_own() {
    for wire in Wire::ALL {
        let parts = ["data: one\n\n", "data: two\n\n"];
        let (stage, gate) = halting(wire, parts.map(Vec::from)).await;
        let mut reader = Reader::get(wire, &stage.server).await;
        reader.read_to(&BEAT.repeat(3)).await;
        gate.open();
        let frames = reader.frames().await;
        assert_eq!(
            (&frames[0][..], &frames[frames.len() - 1][..]),
            (&b"data: one\n\n"[..], &b"data: two\n\n"[..])
        );
        let beats = &frames[1..frames.len() - 1];
        assert!(
            beats.len() >= 3 && beats.iter().all(|frame| frame == BEAT),
            "{wire:?}: {frames:?}"
        );
    }
}

#[tokio::test]
async fn no_heartbeat_is_in_an_event_wherever_the_upstream_stalls() {
    let text = "data: one\n\n: c\nevent: x\ndata: two\ndata: zwo\n\ndata: three\n\n";
    let ends = [0, 11, 15, 45, text.len()];
    assert!(ends[1..].iter().all(|end| text[..*end].ends_with('\n')));
    for wire in Wire::BOTH {
        for cut in 0..text.len() {
            let (before, after) = text.split_at(cut);
            let (stage, gate) = halting(wire, [before.into(), after.into()]).await;
            let mut reader = Reader::get(wire, &stage.server).await;
            let seen = reader.read_to(&BEAT.repeat(2)).await;
            // What of an event had come is held back.
            let whole = ends.iter().rev().find(|end| **end <= cut).unwrap();
            assert_eq!(
                seen,
                format!("{}{}", &text[..*whole], BEAT.repeat(2)).as_bytes(),
                "{wire:?} at {cut}"
            );

            gate.open();
            let (body, over) = reader.rest().await;
            let (rest, places) = without_beats(&body);
            assert_eq!((rest.as_str(), over), (text, Over::Clean), "{wire:?} at {cut}");
            assert!(places.iter().all(|place| ends.contains(place)), "{wire:?} at {cut}: {body:?}");
        }
    }
}

#[tokio::test]
async fn no_heartbeat_comes_between_a_carriage_return_and_its_line_feed() {
    for wire in Wire::BOTH {
        let (stage, gate) =
            halting(wire, [b"data: one\r\n\r".into(), b"\ndata: two\r\n\r\n".into()]).await;
        let mut reader = Reader::get(wire, &stage.server).await;
        reader.read_to("data: one\r\n\r").await;
        sleep(INTERVAL * 5).await;
        gate.open();
        let expected = "data: one\r\n\r\ndata: two\r\n\r\n";
        assert_eq!(reader.rest().await, (expected.into(), Over::Clean), "{wire:?}");
    }
}

#[tokio::test]
async fn heartbeats_come_before_the_first_event_and_a_byte_order_mark_behind_them_is_taken_out() {
    for wire in Wire::BOTH {
        for cut in 0..4 {
            let text = "\u{feff}data: one\n\n".as_bytes();
            let (before, after) = text.split_at(cut);
            let (stage, gate) = halting(wire, [before.into(), after.into()]).await;
            let mut reader = Reader::get(wire, &stage.server).await;
            assert_eq!(reader.read_to(&BEAT.repeat(2)).await, BEAT.repeat(2).as_bytes());
            gate.open();
            let (body, over) = reader.rest().await;
            let (rest, places) = without_beats(&body);
            assert_eq!((rest.as_str(), over), ("data: one\n\n", Over::Clean), "{wire:?} at {cut}");
            assert!(places.len() >= 2 && places.iter().all(|place| *place == 0), "{body:?}");
        }
    }
}

#[tokio::test]
async fn without_a_heartbeat_before_it_a_byte_order_mark_stays() {
    for wire in Wire::BOTH {
        let service = answering(|| sse(Script::new().data("\u{feff}data: one\n\n")));
        let stage = Stage::start(wire, NEVER, service).await;
        let mut reader = Reader::get(wire, &stage.server).await;
        assert_eq!(reader.rest().await, ("\u{feff}data: one\n\n".into(), Over::Clean), "{wire:?}");
    }
}

#[tokio::test]
async fn in_an_event_too_large_to_be_held_back_there_is_no_heartbeat_until_it_ends() {
    for wire in Wire::BOTH {
        let (half, rest) = (format!("data: {}", "x".repeat(70_000)), "y\n\n");
        let (last, first) = (Gate::new(), Gate::new());
        let (opened, ended, given) = (first.clone(), last.clone(), half.clone());
        let service = answering(move || {
            let script = Script::new().data(given.clone()).wait(&opened).data(rest);
            sse(script.wait(&ended).data("data: two\n\n"))
        });
        let stage = Stage::start(wire, INTERVAL, service).await;
        let mut reader = Reader::get(wire, &stage.server).await;
        reader.read_to(&half[6..]).await;
        sleep(INTERVAL * 5).await;
        first.open();
        // It is whole now: the next pause has heartbeats again.
        let seen = reader.read_to(BEAT).await;
        assert_eq!(seen, format!("{half}{rest}{BEAT}").as_bytes(), "{wire:?}");
        last.open();
        assert_eq!(reader.rest().await.1, Over::Clean, "{wire:?}");
    }
}

#[tokio::test]
async fn ndjson_gets_spaces_between_its_lines() {
    for wire in Wire::BOTH {
        let gate = Gate::new();
        let opened = gate.clone();
        let service = answering(move || {
            let script = Script::new().data("{\"n\":1}\n{\"n\"").wait(&opened).data(":2}\n");
            typed("application/x-ndjson", script)
        });
        let stage = Stage::start(wire, INTERVAL, service).await;
        let mut reader = Reader::get(wire, &stage.server).await;
        reader.read_to("{\"n\":1}\n  ").await;
        gate.open();
        let (body, over) = reader.rest().await;
        let lines: Vec<_> = body.split('\n').map(|line| line.trim_start_matches(' ')).collect();
        assert_eq!((lines, over), (vec!["{\"n\":1}", "{\"n\":2}", ""], Over::Clean), "{wire:?}");
    }
}

#[tokio::test]
async fn an_abort_of_a_stream_with_heartbeats_ends_it_with_the_final_event() {
    for wire in Wire::ALL {
        let (stage, _gate) = halting(wire, [b"data: one\n\ndata: tw".into(), Vec::new()]).await;
        let mut reader = Reader::get(wire, &stage.server).await;
        reader.read_to(&format!("data: one\n\n{}", BEAT.repeat(2))).await;
        assert!(stage.handle.abort("stop"));
        let (body, over) = reader.rest().await;
        let (rest, _) = without_beats(&body);
        let expected = format!("data: one\n\n{}", aborted_event("stop"));
        assert_eq!((rest, over), (expected.clone(), Over::Clean), "{wire:?}");
        assert!(body.ends_with(&expected[11..]), "{wire:?}: something follows the last event");
    }
}
