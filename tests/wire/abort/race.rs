//! An abort that comes at the same moment as something else (faults.md 26).

use std::{
    io,
    sync::{Arc, Barrier, Mutex},
    task::Poll,
    thread,
    time::Duration,
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame};
use testkit::{Eos, Gate, Script};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout},
};
use tower::ServiceBuilder;
use tower_lifeline::{
    abort::{AbortHandle, AbortLayer},
    error::BoxError,
    exchange::Outcome,
    final_frame::FinalFrameLayer,
    finalize::FinalizeLayer,
};

use crate::{
    reader::{Over, Reader, Wire},
    server::{LIMIT, Server, endings},
    stage::{Does, Stage, aborted_event, answering, sse, typed},
};

/// Aborts itself in the very poll that gives a frame.
fn takes_its_last(
    handle: &AbortHandle,
) -> impl Body<Data = Bytes, Error = io::Error> + Send + 'static + use<> {
    let handle = handle.clone();
    Does::new(move |_| {
        assert!(handle.abort("stop"), "polled again after the abort");
        Poll::Ready(Some(Ok(Frame::data("data: last\n\n".into()))))
    })
}

#[tokio::test]
async fn a_frame_that_was_taken_at_the_moment_of_the_abort_arrives_before_the_final_event() {
    for wire in Wire::ALL {
        let stage = Stage::start(wire, |handle| sse(takes_its_last(handle)));
        let stage = stage.await;
        let mut reader = Reader::get(wire, &stage.server).await;
        let expected = format!("data: last\n\n{}", aborted_event("stop"));
        assert_eq!(reader.rest().await, (expected, Over::Clean), "{wire:?}");
    }
}

// truths.md 4: an error that follows data directly takes it along; in HTTP/2 no pause is a sure remedy.
#[tokio::test]
async fn a_frame_that_was_taken_at_the_moment_of_the_abort_arrives_before_the_cut() {
    for wire in Wire::ALL {
        let mut arrived = 0;
        for _ in 0..20 {
            let stage = Stage::start(wire, |handle| typed("text/plain", takes_its_last(handle)));
            let stage = stage.await;
            let mut reader = Reader::get(wire, &stage.server).await;
            let (body, over) = reader.rest().await;
            assert_eq!(over, wire.cut());
            arrived += usize::from(body == "data: last\n\n");
        }
        let promised = if matches!(wire, Wire::H1(_)) { 20 } else { 15 };
        assert!(arrived >= promised, "{wire:?}: {arrived} of 20");
    }
}

type Last = fn() -> Option<Result<Frame<Bytes>, BoxError>>;

#[tokio::test]
async fn whatever_the_upstream_ends_with_after_the_abort_is_reported_as_that_abort() {
    let lasts: [(&str, Last); 6] = [
        ("an i/o error", || Some(Err(io::Error::from(io::ErrorKind::BrokenPipe).into()))),
        ("a text", || Some(Err("closed before its end".into()))),
        ("a wrapped error", || Some(Err(axum::Error::new(io::Error::other("inner")).into()))),
        ("trailers", || Some(Ok(Frame::trailers(HeaderMap::new())))),
        ("a clean end", || None),
        ("a panic", || panic!("torn away")),
    ];
    for wire in Wire::BOTH {
        for (name, last) in lasts {
            let stage = Stage::start(wire, move |handle| {
                let (handle, mut polls) = (handle.clone(), 0);
                sse(Does::new(move |_| {
                    polls += 1;
                    if polls == 1 {
                        return Poll::Ready(Some(Ok(Frame::data("data: one\n\n".into()))));
                    }
                    assert!(handle.abort("stop"));
                    Poll::Ready(last())
                }))
            });
            let stage = stage.await;
            let mut reader = Reader::get(wire, &stage.server).await;
            let expected = format!("data: one\n\n{}", aborted_event("stop"));
            assert_eq!(reader.rest().await, (expected, Over::Clean), "{wire:?}: {name}");
            drop(reader);
            let ending = stage.endings.only(stage.server).await;
            let seen = (ending.outcome, ending.reason());
            assert_eq!(seen, (Outcome::Aborted, Some("stop")), "{wire:?}: {name}");
        }
    }
}

#[tokio::test]
async fn an_abort_by_the_hook_that_is_told_of_the_end_comes_too_late() {
    for wire in Wire::ALL {
        let (handle, (say, mut said)) = (AbortHandle::new(), mpsc::unbounded_channel());
        let given = handle.clone();
        let stack = ServiceBuilder::new()
            .layer(FinalFrameLayer::by_media())
            .layer(AbortLayer::new(move |_| given.clone()))
            .layer(FinalizeLayer::new(move |_| {
                let (handle, say) = (handle.clone(), say.clone());
                move |ending| {
                    let _ = say.send((ending.outcome, handle.abort("stop")));
                }
            }))
            .service(answering(|| sse(Script::new().data("data: one\n\n").eos(Eos::Never))));
        let server = Server::start(wire.front(), stack).await;
        let mut reader = Reader::get(wire, &server).await;
        assert_eq!(reader.rest().await, ("data: one\n\n".into(), Over::Clean), "{wire:?}");
        let said = timeout(LIMIT, said.recv()).await.expect("the hook was not called");
        assert_eq!(said, Some((Outcome::Completed, false)), "{wire:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_answer_of_abort_the_outcome_and_the_wire_agree_whoever_is_first() {
    for wire in Wire::BOTH {
        let parts = Arc::new(Mutex::new((AbortHandle::new(), Gate::new())));
        let (given, opened) = (parts.clone(), parts.clone());
        let (tell, mut endings) = endings();
        let stack = ServiceBuilder::new()
            .layer(FinalFrameLayer::by_media())
            .layer(AbortLayer::new(move |_| given.lock().unwrap().0.clone()))
            .layer(tell.layer())
            .service(answering(move || {
                let gate = opened.lock().unwrap().1.clone();
                sse(Script::new().data("data: one\n\n").wait(&gate).data("data: two\n\n"))
            }));
        let server = Server::start(wire.front(), stack).await;
        let (mut aborted, mut completed) = (0, 0);
        // From an abort that is well before the end to one that is well after it, mostly close to it.
        for lead in (-60..=60_i32).map(|step| step * step.abs()) {
            let (handle, gate) = (AbortHandle::new(), Gate::new());
            *parts.lock().unwrap() = (handle.clone(), gate.clone());
            let mut reader = Reader::get(wire, &server).await;
            reader.read_to("data: one\n\n").await;

            let begin = Arc::new(Barrier::new(2));
            let began = begin.clone();
            let abort = thread::spawn(move || {
                began.wait();
                wait(lead);
                handle.abort("stop")
            });
            begin.wait();
            wait(-lead);
            gate.open();
            let (body, over) = reader.rest().await;
            let ending = endings.next(LIMIT).await;
            let ended_it = abort.join().unwrap();

            let told = body.ends_with(&aborted_event("stop"));
            let outcome = if ended_it { Outcome::Aborted } else { Outcome::Completed };
            assert_eq!((ending.outcome, told, &over), (outcome, ended_it, &Over::Clean), "{body}");
            assert_eq!(body.contains("data: two"), ending.frames == 2, "{body}");
            if ended_it { aborted += 1 } else { completed += 1 }
        }
        assert!(aborted > 0 && completed > 0, "{aborted} and {completed}: no race at all");
    }
}

/// Holds this thread up for so many microseconds, more exactly than a sleep.
fn wait(micros: i32) {
    let length = Duration::from_micros(u64::try_from(micros).unwrap_or(0));
    let start = Instant::now();
    while start.elapsed() < length {
        std::hint::spin_loop();
    }
}
