//! In the stream, with a client that reads (faults.md 24, 25, 27-29).

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use testkit::{Gate, H1, Script, dechunk};
use tokio::time::Instant;
use tower::ServiceBuilder;
use tower_lifeline::{
    abort::{AbortHandle, AbortKind, AbortLayer},
    exchange::Outcome,
    final_frame::FinalFrameLayer,
    sse::Decoder,
};

use super::{SIGNAL, median};
use crate::{
    reader::{Over, Reader, Wire},
    server::{Front, LIMIT, Server, endings},
    stage::{Stage, aborted_event, answering, sse, typed},
};

#[tokio::test]
async fn at_an_event_boundary_a_reading_client_gets_the_final_event_and_a_clean_end_at_once() {
    let mut times = Vec::new();
    for wire in Wire::ALL.repeat(3) {
        let gate = Gate::new();
        let opened = gate.clone();
        let stage = Stage::start(wire, move |_| {
            sse(Script::new().data("data: one\n\n").wait(&opened).data("data: [DONE]\n\n"))
        });
        let mut stage = stage.await;
        let mut reader = Reader::get(wire, &stage.server).await;
        reader.read_to("data: one\n\n").await;

        let start = Instant::now();
        assert!(stage.handle.abort("stop"));
        // What the upstream would say now, it says to nobody: `[DONE]` is never seen.
        gate.open();
        let seen = reader.rest().await;
        times.push(start.elapsed());
        assert_eq!(
            seen,
            (format!("data: one\n\n{}", aborted_event("stop")), Over::Clean),
            "{wire:?}"
        );
        let ending = stage.endings.next(LIMIT).await;
        assert_eq!((ending.outcome, ending.reason()), (Outcome::Aborted, Some("stop")), "{wire:?}");
        assert_eq!((ending.frames, ending.bytes), (1, 11), "{wire:?}");
    }
    assert!(median(times.clone()) <= SIGNAL, "{times:?}");
}

// faults.md 25.
#[tokio::test]
async fn an_event_that_was_under_way_is_left_out() {
    for wire in Wire::ALL {
        let stage =
            Stage::start(wire, |_| sse(Script::new().data("data: one\n\nid: 2\ndata: tw").stall()));
        let stage = stage.await;
        let mut reader = Reader::get(wire, &stage.server).await;
        reader.read_to("data: one\n\n").await;
        stage.handle.abort(AbortKind::Shutdown);
        let expected = format!("data: one\n\n{}", aborted_event(AbortKind::Shutdown));
        assert_eq!(reader.rest().await, (expected, Over::Clean), "{wire:?}");
    }
}

// faults.md 25.
#[tokio::test]
async fn without_a_final_frame_nothing_is_added_to_half_an_event_which_no_parser_takes_for_one() {
    for wire in Wire::ALL {
        let handle = AbortHandle::new();
        let given = handle.clone();
        let (tell, mut endings) = endings();
        let stack = ServiceBuilder::new()
            .layer(AbortLayer::new(move |_| given.clone()))
            .layer(tell.layer())
            .service(answering(|| sse(Script::new().data("data: one\n\ndata: tw").stall())));
        let server = Server::start(wire.front(), stack).await;
        let mut reader = Reader::get(wire, &server).await;
        reader.read_to("data: tw").await;
        assert!(handle.abort("stop"));
        let (body, over) = reader.rest().await;
        assert_eq!((body.as_str(), over), ("data: one\n\ndata: tw", wire.cut()), "{wire:?}");
        assert_eq!(endings.next(LIMIT).await.outcome, Outcome::Aborted, "{wire:?}");

        let (mut decoder, mut bytes) = (Decoder::default(), body.into());
        let events = std::iter::from_fn(|| decoder.decode(&mut bytes));
        assert_eq!(events.count(), 1, "{wire:?}");
    }
}

// faults.md 25.
#[tokio::test]
async fn in_an_event_too_large_to_be_held_back_nothing_is_added_and_the_cut_is_seen() {
    let half = format!("data: one\n\ndata: {}", "x".repeat(100_000));
    for wire in Wire::ALL {
        let given = half.clone();
        let stage =
            Stage::start(wire, move |_| sse(Script::new().data(given.clone()).stall())).await;
        let mut reader = Reader::get(wire, &stage.server).await;
        reader.read_to(&half[half.len() - 90_000..]).await;
        stage.handle.abort("stop");
        assert_eq!(reader.rest().await, (half.clone(), wire.cut()), "{wire:?}");
    }
}

#[tokio::test]
async fn the_last_line_of_an_ndjson_stream_tells_of_the_abort() {
    for wire in Wire::ALL {
        let stage = Stage::start(wire, |_| {
            typed("application/x-ndjson", Script::new().data("{\"n\":1}\n{\"n\"").stall())
        });
        let stage = stage.await;
        let mut reader = Reader::get(wire, &stage.server).await;
        reader.read_to("{\"n\":1}\n").await;
        stage.handle.abort("stop");
        let last =
            r#"{"type":"error","error":{"type":"aborted","message":"stop","code":"aborted"}}"#;
        assert_eq!(
            reader.rest().await,
            (format!("{{\"n\":1}}\n{last}\n"), Over::Clean),
            "{wire:?}"
        );
    }
}

#[tokio::test]
async fn the_first_of_two_reasons_stays() {
    for wire in Wire::ALL {
        let stage = Stage::start(wire, |_| sse(Script::new().data("data: one\n\n").stall())).await;
        let mut reader = Reader::get(wire, &stage.server).await;
        reader.read_to("data: one\n\n").await;
        assert!(stage.handle.abort("first"));
        assert!(!stage.handle.abort("second"));
        assert_eq!(stage.handle.reason().unwrap().text(), "first");
        let expected = format!("data: one\n\n{}", aborted_event("first"));
        assert_eq!(reader.rest().await, (expected, Over::Clean), "{wire:?}");
        drop(reader);
        assert_eq!(stage.endings.only(stage.server).await.reason(), Some("first"), "{wire:?}");
    }
}

#[tokio::test]
async fn an_abort_after_completion_says_false_and_changes_nothing() {
    for wire in Wire::ALL {
        let stage = Stage::start(wire, |_| sse(Script::new().data("data: [DONE]\n\n"))).await;
        let mut reader = Reader::get(wire, &stage.server).await;
        assert_eq!(reader.rest().await, ("data: [DONE]\n\n".into(), Over::Clean), "{wire:?}");
        assert!(!stage.handle.abort("too late"), "{wire:?}");
        drop(reader);
        let ending = stage.endings.only(stage.server).await;
        assert!(!ending.exchange.abort("later still"), "{wire:?}");
        assert_eq!((ending.outcome, ending.reason()), (Outcome::Completed, None), "{wire:?}");
        assert_eq!(ending.exchange.cause().unwrap().outcome(), Outcome::Completed, "{wire:?}");
    }
}

#[tokio::test]
async fn an_abort_after_completion_leaves_the_connection_to_the_next_request() {
    let handles = Arc::new(Mutex::new(vec![AbortHandle::new(), AbortHandle::new()]));
    let first = handles.lock().unwrap()[1].clone();
    let stack = ServiceBuilder::new()
        .layer(FinalFrameLayer::by_media())
        .layer(AbortLayer::new(move |_| handles.lock().unwrap().pop().unwrap()))
        .service(answering(|| sse(Script::new().data("data: all\n\n"))));
    let server = Server::start(Front::H1, stack).await;
    let mut client = H1::connect(server.addr()).await.unwrap();
    for _ in 0..2 {
        client.get("/").await.unwrap();
        client.read_head(LIMIT).await.unwrap();
        client.read_until(|raw| dechunk(raw).complete, LIMIT).await.unwrap();
        assert_eq!(dechunk(&client.take()).body, b"data: all\n\n");
        assert!(!first.abort("too late"));
    }
}

#[tokio::test]
async fn when_all_handles_are_dropped_nothing_is_aborted() {
    for wire in Wire::BOTH {
        let gate = Gate::new();
        let opened = gate.clone();
        let (tell, endings) = endings();
        // Nobody but the exchange itself keeps this handle.
        let stack = ServiceBuilder::new()
            .layer(FinalFrameLayer::by_media())
            .layer(AbortLayer::new(|_| AbortHandle::new().child()))
            .layer(tell.layer())
            .service(answering(move || {
                sse(Script::new().data("data: one\n\n").wait(&opened).data("data: two\n\n"))
            }));
        let server = Server::start(wire.front(), stack).await;
        let mut reader = Reader::get(wire, &server).await;
        reader.read_to("data: one\n\n").await;
        tokio::time::sleep(Duration::from_millis(20)).await;
        gate.open();
        assert_eq!(reader.rest().await, ("data: one\n\ndata: two\n\n".into(), Over::Clean));
        drop(reader);
        drop(tell);
        assert_eq!(endings.only(server).await.outcome, Outcome::Completed, "{wire:?}");
    }
}
