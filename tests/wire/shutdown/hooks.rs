//! A hook that blocks its thread.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, Ordering},
    mpsc,
};

use http::request::Parts;
use testkit::{Gate, Script};
use tokio::time::timeout;
use tower::ServiceBuilder;
use tower_lifeline::finalize::{Ending, FinalizeLayer};

use crate::{
    reader::{Over, Reader, Wire},
    server::{LIMIT, Server},
    stage::{answering, sse},
};

// faults.md 39.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn while_a_hook_blocks_its_thread_other_streams_go_on_and_new_ones_begin() {
    for wire in Wire::BOTH {
        let (first, others) = (Gate::new(), Gate::new());
        let gates = Arc::new(Mutex::new(vec![others.clone(), first.clone()]));
        let (blocked, mut is_blocked) = tokio::sync::mpsc::unbounded_channel();
        let (release, released) = mpsc::channel();
        let (blocks, released) = (Arc::new(AtomicBool::new(true)), Arc::new(Mutex::new(released)));
        let stack = ServiceBuilder::new()
            .layer(FinalizeLayer::new(move |_: &Parts| {
                let (blocks, blocked) = (blocks.clone(), blocked.clone());
                let released = released.clone();
                move |_: Ending| {
                    if blocks.swap(false, Ordering::SeqCst) {
                        blocked.send(()).unwrap();
                        released.lock().unwrap().recv_timeout(LIMIT).unwrap();
                    }
                }
            }))
            .service(answering(move || {
                let gate = gates.lock().unwrap().pop().unwrap_or_default();
                sse(Script::new().data("data: 1\n\n").wait(&gate).data("data: 2\n\n"))
            }));
        let server = Server::start(wire.front(), stack).await;
        let mut one = Reader::get(wire, &server).await;
        one.read_to("data: 1\n\n").await;
        let mut other = Reader::get(wire, &server).await;
        other.read_to("data: 1\n\n").await;

        first.open();
        timeout(LIMIT, is_blocked.recv()).await.expect("no hook was called").unwrap();
        others.open();
        let whole = ("data: 1\n\ndata: 2\n\n".to_owned(), Over::Clean);
        assert_eq!(other.rest().await, whole, "{wire:?}");
        let mut new = Reader::get(wire, &server).await;
        new.read_to("data: 1\n\n").await;

        release.send(()).unwrap();
        assert_eq!(one.rest().await, whole, "{wire:?}");
    }
}
