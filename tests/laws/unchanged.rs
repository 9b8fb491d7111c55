//! Law 1: frames and trailers pass unchanged and in order; nothing is lost, doubled or reordered.

use std::pin::Pin;

use bytes::Bytes;
use http::Response;
use testkit::{Eos, Script, ScriptError, drain};
use tower_lifeline::tee::Limit;

use crate::{
    probe::Probe,
    reading::{Item, data, next, trailers},
    subjects::{PLAIN, Part, SSE, all, isolated, reply},
};

/// Events and pieces of events, in frames that end anywhere.
const PIECES: [&str; 9] = [
    "data: 1\n\n",
    "",
    "data: 2\r",
    "\n\r\nid: 3\n",
    ": a comment\n",
    "data: 3\n\ndata: 4\n\n",
    "data: 5",
    "\n",
    "data: never ended",
];

fn pieces() -> Script {
    PIECES.iter().fold(Script::new(), |script, piece| script.data(*piece).pending())
}

#[tokio::test(start_paused = true)]
async fn frames_and_trailers_of_unknown_media_come_out_one_by_one_as_they_went_in() {
    for subject in all().chain(isolated()) {
        let body = subject.body(&Probe::new(), reply(PLAIN, pieces().trailers(trailers()))).await;
        let read = drain(body).await;
        assert_eq!(read.frames, PIECES, "{subject}");
        assert_eq!(read.trailers, Some(trailers()), "{subject}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_bytes_and_trailers_of_an_event_stream_come_out_as_they_went_in() {
    for subject in all().chain(isolated()) {
        let body = subject.body(&Probe::new(), reply(SSE, pieces().trailers(trailers()))).await;
        let read = drain(body).await;
        assert_eq!(read.data, PIECES.concat(), "{subject}");
        assert_eq!(read.trailers, Some(trailers()), "{subject}");
        if subject.keeps_frames() {
            assert_eq!(read.frames, PIECES, "{subject}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_unfinished_last_event_is_not_lost_at_a_clean_end() {
    for subject in all().chain(isolated()) {
        let body = subject.body(&Probe::new(), reply(SSE, pieces().eos(Eos::Never))).await;
        let read = drain(body).await;
        assert_eq!(read.data, PIECES.concat(), "{subject}");
        assert!(read.error.is_none(), "{subject}");
    }
}

#[tokio::test(start_paused = true)]
async fn every_frame_of_whole_events_is_handed_on_before_the_next_is_asked_for() {
    for subject in all().filter(|subject| !subject.gathers()) {
        let probe = Probe::new();
        let script = Script::new().data("data: 1\n\n").data(": 2\n").data("data: 3\n\n").stall();
        let mut body = subject.body(&probe, reply(SSE, script)).await;
        for (read, frame) in ["data: 1\n\n", ": 2\n", "data: 3\n\n"].into_iter().enumerate() {
            assert_eq!(next(Pin::new(&mut body)).await, data(frame), "{subject}");
            assert_eq!(probe.log.polls(), read + 1, "{subject}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn frames_of_one_byte_come_out_unchanged() {
    let text: String = (0..500).map(|n| format!("id: {n}\ndata: {n}\r\n\r\n")).collect();
    for subject in all().chain(isolated()) {
        for media in [PLAIN, SSE] {
            let bytes = text.as_bytes().iter();
            let script = bytes.fold(Script::new(), |script, byte| script.data(vec![*byte]));
            let read = drain(subject.body(&Probe::new(), reply(media, script)).await).await;
            assert_eq!(read.data, text, "{subject} {media}");
            if !subject.gathers() && (media == PLAIN || subject.keeps_frames()) {
                assert!(read.frames.iter().all(|frame| frame.len() == 1), "{subject} {media}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn empty_frames_are_handed_on_at_their_place() {
    const FRAMES: [&str; 5] = ["", "data: 1\n\n", "", "", "data: 2\n\n"];
    for subject in all().chain(isolated()).filter(|subject| !subject.gathers()) {
        for media in [PLAIN, SSE] {
            let script = FRAMES.iter().fold(Script::new(), |script, frame| script.data(*frame));
            let read = drain(subject.body(&Probe::new(), reply(media, script)).await).await;
            assert_eq!(read.frames, FRAMES, "{subject} {media}");
        }
    }
}

// faults.md 42.
#[tokio::test(start_paused = true)]
async fn a_frame_of_64_mib_is_handed_on_without_a_copy_and_recorded_up_to_the_limit() {
    let huge = Bytes::from(vec![b'x'; 64 << 20]);
    for subject in all().chain(isolated()) {
        for media in [PLAIN, SSE] {
            let probe = Probe::recording_within(Limit::first(1000));
            let script = Script::new().data(huge.clone()).data("\n\n");
            let mut body = subject.body(&probe, reply(media, script)).await;
            let Item::Data(first) = next(Pin::new(&mut body)).await else { panic!("{subject}") };
            let same = (first.as_ptr(), first.len()) == (huge.as_ptr(), huge.len());
            assert!(same, "{subject} {media}");
            assert_eq!(drain(body).await.data, "\n\n", "{subject} {media}");
            if subject.has(Part::Tee) {
                assert_eq!(probe.recording.to_bytes(), huge[..1000], "{subject} {media}");
                assert_eq!(probe.recording.total(), huge.len() as u64 + 2, "{subject} {media}");
                assert!(probe.recording.is_truncated(), "{subject} {media}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_comes_out_as_the_very_same_value_after_all_the_bytes_before_it() {
    for subject in all().chain(isolated()) {
        let script = Script::new().data("one").data("two").error("boom");
        let read = drain(subject.body(&Probe::new(), reply(PLAIN, script)).await).await;
        assert_eq!(read.data, "onetwo", "{subject}");
        assert_eq!(read.frames.len(), if subject.gathers() { 1 } else { 2 }, "{subject}");
        let error = read.error.unwrap().downcast::<ScriptError>().unwrap();
        assert_eq!(error.to_string(), "boom", "{subject}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_response_without_a_media_type_is_taken_for_bytes() {
    for subject in all().chain(isolated()) {
        let script = Script::new().data("data: 1").pending().data("\n");
        let read = drain(subject.body(&Probe::new(), Response::new(script)).await).await;
        assert_eq!(read.frames, ["data: 1", "\n"], "{subject}");
    }
}
