//! An orderly shutdown while streams are live, which hyper by itself would wait for (hyper#2787).

use std::{net::SocketAddr, time::Duration};

use axum::Router;
use http::request::Parts;
use testkit::{Gate, Log, Script};
use tokio::{
    net::TcpListener,
    sync::oneshot,
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};
use tower_lifeline::{
    Lifeline,
    abort::AbortKind,
    exchange::Outcome,
    finalize::{Ending, FinalizeLayer},
};

use crate::{
    reader::{Over, Reader, Wire},
    server::{Front, LIMIT, MOMENT, endings, within},
    stage::{aborted_event, answering, sse},
};

/// The two protocols of axum.
const WIRES: [Wire; 2] = [Wire::H1(Front::Axum), Wire::H2(Front::Axum)];

/// How long it may take until a client that reads has seen the end (faults.md, W).
const SIGNAL: Duration = Duration::from_millis(250);

/// `axum::serve` with its own graceful shutdown.
struct Serving {
    addr: SocketAddr,
    stop: oneshot::Sender<()>,
    serve: JoinHandle<()>,
}

async fn serving(app: Router) -> Serving {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel();
    let serving = axum::serve(listener, app).with_graceful_shutdown(async { drop(stopped.await) });
    let serve = tokio::spawn(async { serving.await.unwrap() });
    Serving { addr, stop, serve }
}

impl Serving {
    async fn first_event(&self, wire: Wire) -> Reader {
        let mut reader = Reader::get_at(wire, self.addr, 65_535).await;
        reader.read_to("data: 1\n\n").await;
        reader
    }
}

/// An event, and then another when the gate is open; or never.
fn stream(gate: &Gate) -> Router {
    let gate = gate.clone();
    let script = move || sse(Script::new().data("data: 1\n\n").wait(&gate).data("data: 2\n\n"));
    Router::new().fallback_service(answering(script))
}

// faults.md 37: what it is without us.
#[tokio::test]
async fn a_server_that_shuts_down_waits_for_streams_that_do_not_end() {
    for wire in WIRES {
        let mut serving = serving(stream(&Gate::new())).await;
        let reader = serving.first_event(wire).await;
        serving.stop.send(()).unwrap();
        assert!(timeout(2 * MOMENT, &mut serving.serve).await.is_err(), "{wire:?}");
        drop(reader);
        timeout(LIMIT, serving.serve).await.expect("it waits without a client").unwrap();
    }
}

// faults.md 37.
#[tokio::test]
async fn with_a_lifeline_streams_have_their_grace_and_are_then_told_and_the_server_returns() {
    let limit = MOMENT + SIGNAL;
    for wire in WIRES {
        let took = within(limit, async || {
            let lifeline = Lifeline::new();
            let (tell, mut endings) = endings();
            let serving = serving(stream(&Gate::new()).layer(lifeline.layer(tell.layer()))).await;
            let mut reader = serving.first_event(wire).await;

            let start = Instant::now();
            serving.stop.send(()).unwrap();
            let stopping = timeout(LIMIT, lifeline.shutdown(MOMENT));
            let (reading, stopped) = tokio::join!(reader.rest(), stopping);
            stopped.expect("it waits for ever");
            timeout(LIMIT, serving.serve).await.expect("it does not return").unwrap();
            let took = start.elapsed();
            assert!(took >= MOMENT, "{wire:?}: without its grace, {took:?}");

            let expected = format!("data: 1\n\n{}", aborted_event(AbortKind::Shutdown));
            assert_eq!(reading, (expected, Over::Clean), "{wire:?}");
            let ending = endings.next(LIMIT).await;
            assert_eq!((ending.outcome, ending.reason()), (Outcome::Aborted, Some("shutdown")));
            took
        });
        let took = took.await;
        assert!(took <= limit, "{wire:?}: {took:?}");
    }
}

// faults.md 37.
#[tokio::test]
async fn a_stream_that_ends_within_the_grace_is_whole_and_the_shutdown_waits_no_longer() {
    for wire in WIRES {
        let (lifeline, gate) = (Lifeline::new(), Gate::new());
        let (tell, mut endings) = endings();
        let serving = serving(stream(&gate).layer(lifeline.layer(tell.layer()))).await;
        let mut reader = serving.first_event(wire).await;

        serving.stop.send(()).unwrap();
        gate.open();
        let stopping = timeout(LIMIT, lifeline.shutdown(2 * LIMIT));
        let (reading, stopped) = tokio::join!(reader.rest(), stopping);
        stopped.expect("it waits for nothing");
        timeout(LIMIT, serving.serve).await.expect("it does not return").unwrap();
        assert_eq!(reading, ("data: 1\n\ndata: 2\n\n".into(), Over::Clean), "{wire:?}");
        assert_eq!(endings.next(LIMIT).await.outcome, Outcome::Completed, "{wire:?}");
    }
}

// faults.md 36: async hooks are run when somebody waits for them.
#[tokio::test]
async fn a_shutdown_waits_for_the_async_hooks_too() {
    for wire in WIRES {
        let (lifeline, notes) = (Lifeline::new(), Log::new());
        let written = notes.clone();
        let finalize = FinalizeLayer::spawned(
            move |_: &Parts| {
                let notes = written.clone();
                move |ending: Ending| async move {
                    sleep(MOMENT / 2).await;
                    notes.note(ending.outcome.as_str());
                }
            },
            |_| panic!("it was not run"),
        );
        let serving = serving(stream(&Gate::new()).layer(lifeline.layer(finalize))).await;
        let mut reader = serving.first_event(wire).await;
        serving.stop.send(()).unwrap();
        let limit = timeout(LIMIT, lifeline.shutdown(Duration::ZERO));
        let (over, _) = (limit.await, reader.rest().await);
        over.expect("it waits for ever");
        assert_eq!(notes.count(|_| true), 1, "{wire:?}");
    }
}
