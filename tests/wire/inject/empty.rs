//! Frames without a byte (faults.md 43).

use bytes::Bytes;
use testkit::Script;

use super::{BEAT, INTERVAL, NEVER, Stage};
use crate::{
    reader::{Over, Reader, Wire},
    stage::{answering, sse},
};

#[tokio::test]
async fn empty_frames_change_nothing_and_none_are_added() {
    let frames = ["", "data: one\n\n", "", "data: t", "", "wo\n", "\n", "", "data: three\n\n", ""];
    for wire in Wire::ALL {
        let service = answering(move || sse(frames.into_iter().fold(Script::new(), Script::data)));
        let stage = Stage::start(wire, NEVER, service).await;
        let seen = Reader::get(wire, &stage.server).await.frames().await;
        assert_eq!(seen.concat(), frames.concat().as_bytes(), "{wire:?}");
        let empty = |frame: &Bytes| frame.is_empty();
        let ours = seen.iter().filter(|frame| empty(frame)).count();
        assert!(ours <= 5, "{wire:?}: {seen:?}");
    }
}

// An HTTP/1 server writes nothing for them, so a client and the proxies before it would see silence.
#[tokio::test]
async fn empty_frames_of_the_upstream_do_not_put_off_a_heartbeat() {
    for wire in Wire::BOTH {
        let service = answering(|| {
            // h2's client takes a hundred of them at most.
            let script = Script::new().data("data: one\n\n");
            sse((0..80).fold(script, |script, _| script.sleep(INTERVAL / 2).data("")))
        });
        let stage = Stage::start(wire, INTERVAL, service).await;
        let mut reader = Reader::get(wire, &stage.server).await;
        let (body, over) = reader.rest().await;
        assert!(body.matches(BEAT).count() > 10, "{wire:?}: {body:?}");
        assert_eq!(over, Over::Clean);
    }
}
