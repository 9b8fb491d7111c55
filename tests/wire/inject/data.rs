//! Bodies that are large, small or broken pass unchanged (faults.md 42, 45, 46, 48).

use bytes::Bytes;
use http::Request;
use http_body_util::BodyExt;
use testkit::Script;
use tower::{ServiceBuilder, ServiceExt};
use tower_lifeline::{
    abort::{AbortHandle, AbortLayer},
    exchange::Outcome,
    final_frame::FinalFrameLayer,
    finalize::FinalizeLayer,
    keepalive::IdleKeepaliveLayer,
    tee::{Budget, Limit, Recording, TeeLayer},
};

use super::{KEPT, NEVER, Stage};
use crate::{
    reader::{Over, Reader, Wire},
    server::{LIMIT, Server, endings},
    stage::{answering, sse},
};

const HUGE: usize = 64 * 1024 * 1024;

/// What a client has room for that takes them: h2 refuses a hundred small frames in the usual 64 KiB.
const ROOM: u32 = 64 * 1024 * 1024;

fn huge(tail: &str) -> Bytes {
    let mut frame = b"data: ".to_vec();
    frame.resize(HUGE - tail.len(), b'x');
    frame.extend_from_slice(tail.as_bytes());
    frame.into()
}

#[tokio::test]
async fn a_frame_of_64_mib_is_handed_on_uncopied_and_recorded_up_to_the_cap() {
    // As a whole event, and as an unfinished one that is too large to be held back.
    for frame in [huge("\n\n"), huge("")] {
        let (given, recording) = (frame.clone(), Recording::new(Limit::first(KEPT)));
        let tape = recording.clone();
        let stack = ServiceBuilder::new()
            .layer(IdleKeepaliveLayer::new(NEVER))
            .layer(FinalFrameLayer::by_media())
            .layer(AbortLayer::new(|_| AbortHandle::new()))
            .layer(FinalizeLayer::new(|_| |_| ()))
            .layer(TeeLayer::new(move |_| tape.sink()))
            .service(answering(move || sse(Script::new().data(given.clone()))));
        let response = stack.oneshot(Request::new(axum::body::Body::empty())).await.unwrap();
        let mut body = response.into_body();
        let seen = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!((seen.as_ptr(), seen.len()), (frame.as_ptr(), HUGE), "it was copied");
        assert!(body.frame().await.is_none());

        let kept = recording.frames();
        assert_eq!((kept.len(), &kept[0]), (1, &frame.slice(..KEPT)));
        assert_ne!(kept[0].as_ptr(), frame.as_ptr(), "it would pin 64 MiB");
        assert!(recording.is_truncated());
        assert_eq!(recording.total(), HUGE as u64);
    }
}

#[tokio::test]
async fn a_frame_of_64_mib_arrives() {
    let frame = huge("\n\n");
    for wire in Wire::BOTH {
        let given = frame.clone();
        let service = answering(move || sse(Script::new().data(given.clone())));
        let mut stage = Stage::start(wire, NEVER, service).await;
        let mut reader = Reader::get_with_room(wire, &stage.server, ROOM).await;
        let (body, over) = reader.rest_within(LIMIT * 2).await;
        assert!(over == Over::Clean && body == frame, "{wire:?}: {} bytes, {over:?}", body.len());
        let ending = stage.endings.next(LIMIT).await;
        assert_eq!((ending.outcome, ending.bytes), (Outcome::Completed, HUGE as u64));
    }
}

#[tokio::test]
async fn a_hundred_thousand_frames_of_one_byte_arrive_in_order() {
    let text =
        (0..10_000).map(|n| format!("id:{n:04}\n\n")).collect::<String>() + "data: [DONE]\n\n";
    let frames = Bytes::from(text.clone());
    for wire in Wire::BOTH {
        let given = frames.clone();
        let service = answering(move || {
            sse((0..given.len()).fold(Script::new(), |script, n| script.data(given.slice(n..=n))))
        });
        let mut stage = Stage::start(wire, NEVER, service).await;
        let mut reader = Reader::get_with_room(wire, &stage.server, ROOM).await;
        let (body, over) = reader.rest_within(LIMIT * 2).await;
        assert!(
            over == Over::Clean && body == text.as_bytes(),
            "{wire:?}: {} bytes, {over:?}",
            body.len()
        );
        let ending = stage.endings.next(LIMIT).await;
        let seen = (ending.outcome, ending.frames);
        assert_eq!(seen, (Outcome::Completed, text.len() as u64), "{wire:?}");
        assert!(text.len() > 90_000);
    }
}

#[tokio::test]
async fn at_its_cap_or_its_budget_a_recording_stops_and_the_stream_does_not() {
    let text: String = (0..10).map(|n| format!("data: {n}\n\n")).collect();
    // Not enough for any block of memory.
    let budget = Budget::new(200);
    let cases = [
        (Limit::first(25), &text[..25]),
        (Limit::last(25), &text[text.len() - 25..]),
        (Limit::first(25).within(&budget), ""),
        (Limit::first(90), &text[..]),
    ];
    for wire in Wire::BOTH {
        for (limit, kept) in cases.clone() {
            let (tell, mut endings) = endings();
            let given = text.clone();
            let stack = ServiceBuilder::new()
                .layer(tell.layer())
                .layer(TeeLayer::recording(limit.clone()))
                .service(answering(move || {
                    let events = given.split_inclusive("\n\n").map(str::to_owned);
                    sse(events.fold(Script::new(), Script::data))
                }));
            let server = Server::start(wire.front(), stack).await;
            let mut reader = Reader::get(wire, &server).await;
            assert_eq!(reader.rest().await, (text.clone(), Over::Clean), "{wire:?}");
            let ending = endings.next(LIMIT).await;
            assert_eq!(ending.outcome, Outcome::Completed);
            let recording = ending.exchange.fact::<Recording>().unwrap();
            assert_eq!(recording.to_bytes(), kept, "{wire:?} {limit:?}");
            assert_eq!(recording.is_truncated(), kept.len() < text.len(), "{wire:?} {limit:?}");
            assert_eq!(recording.total(), text.len() as u64);
        }
        assert_eq!(budget.used(), 0, "the recordings are gone");
    }
}

#[tokio::test]
async fn a_malformed_event_stream_passes_byte_for_byte() {
    let streams: [&[u8]; 12] = [
        b"data: \xff\xfe\xc3(\n\ndata: \xed\xa0\x80\n\n",
        b"data: one\rdata: two\r\rdata: three\r\r",
        b"data: one\r\n\ndata: two\n\r\n\r",
        b"\xef\xbb\xbfdata: one\n\n\xef\xbb\xbfdata: two\n\n",
        b"\xef\xbbdata: one\n\n",
        b"\xef\xbb\xbf\n\n",
        b"data: no end",
        b"data: one\n\ndata: half a line\n",
        b"\n\n\n\n\r\r\r\n\r\n",
        b"::::\n:\nda ta: x\nDATA: y\nid: \0\nretry: -1\n\n",
        b"not an event stream at all {\"a\":1}",
        b"\0\x01\x02\n\n\x1b[31m\n\n",
    ];
    for wire in Wire::BOTH {
        for stream in streams {
            for size in [1, 2, 3, stream.len()] {
                let service =
                    answering(move || sse(stream.chunks(size).fold(Script::new(), Script::data)));
                let stage = Stage::start(wire, NEVER, service).await;
                let mut reader = Reader::get(wire, &stage.server).await;
                let seen = reader.rest_within(LIMIT).await;
                assert_eq!(seen, (stream.to_vec(), Over::Clean), "{wire:?}, by {size}");
            }
        }
    }
}
