//! Law 8: a body that is always ready can not starve an abort, a timer or another task.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use testkit::Script;
use tokio::{
    task::{JoinHandle, yield_now},
    time::{advance, sleep},
};

use crate::{
    probe::Probe,
    subjects::{Outer, PLAIN, Part, SSE, all, reply},
};

/// What tokio lets a task do in one turn.
const BUDGET: usize = 128;

/// Reads as fast as it can, as h2's pipe does (truths.md 11), and fails when it is never told to pause.
fn read_on(mut body: Outer, in_this_turn: Arc<AtomicUsize>) -> JoinHandle<()> {
    tokio::spawn(async move {
        while poll_fn(|cx| http_body::Body::poll_frame(Pin::new(&mut body), cx)).await.is_some() {
            let frames = in_this_turn.fetch_add(1, Ordering::Relaxed) + 1;
            assert!(frames <= BUDGET, "{frames} frames in one turn");
        }
    })
}

/// The frames of an endless body: bytes, empty ones, events, and one event that does not end.
const CHUNKS: [(&str, &str); 5] =
    [(PLAIN, "x"), (PLAIN, ""), (SSE, "data: 1\n\n"), (SSE, ""), (SSE, "data: for ever ")];

#[tokio::test(start_paused = true)]
async fn an_endless_body_lets_other_tasks_and_timers_have_their_turn() {
    for subject in all() {
        for (media, chunk) in CHUNKS {
            let body =
                subject.body(&Probe::new(), reply(media, Script::new().endless(chunk))).await;
            let in_this_turn = Arc::default();
            let timer = tokio::spawn(sleep(Duration::from_secs(1)));
            let reader = read_on(body, Arc::clone(&in_this_turn));
            for _ in 0..10 {
                yield_now().await;
                in_this_turn.store(0, Ordering::Relaxed);
            }
            assert!(!timer.is_finished(), "{subject}");
            advance(Duration::from_secs(1)).await;
            in_this_turn.store(0, Ordering::Relaxed);
            timer.await.unwrap();
            reader.abort();
            let starved = reader.await.is_err_and(|error| error.is_panic());
            assert!(!starved, "{subject} {media} {chunk:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_endless_body_can_be_aborted() {
    for subject in all().filter(|subject| subject.has(Part::Abort)) {
        for (media, chunk) in CHUNKS {
            let probe = Probe::new();
            let body = subject.body(&probe, reply(media, Script::new().endless(chunk))).await;
            let in_this_turn = Arc::default();
            let reader = read_on(body, Arc::clone(&in_this_turn));
            yield_now().await;
            in_this_turn.store(0, Ordering::Relaxed);
            assert!(probe.handle.abort("stop"), "{subject}");
            in_this_turn.store(BUDGET - 1, Ordering::Relaxed);
            // One frame more at most, then the error or the final event, then the end.
            reader.await.unwrap_or_else(|_| panic!("{subject} {media} {chunk:?} goes on"));
            assert!(probe.log.dropped_at().is_some(), "{subject}");
        }
    }
}
