//! What becomes of live streams when their connection's task, or their whole runtime, is taken away.

use http::request::Parts;
use testkit::{Event, Log, Play, Script, Upstream};
use tokio::runtime::{Builder, Runtime};
use tower::ServiceBuilder;
use tower_lifeline::{
    exchange::Outcome,
    finalize::{Ending, FinalizeLayer},
    tee::{Limit, Recording, TeeLayer},
};

use crate::{
    reader::{Over, Reader, Wire},
    server::{AT_ONCE, LIMIT, Server, endings, median_of_five},
    stage::{answering, forwarding, sse},
};

// faults.md 35.
#[tokio::test]
async fn a_connection_whose_task_is_aborted_leaves_its_upstream_and_is_reported_at_once() {
    for wire in Wire::BOTH {
        let took = median_of_five(async || {
            let play = Play::new().head_sse().chunk("data: 1\n\n").stall();
            let upstream = Upstream::start([play]).await;
            let (tell, mut endings) = endings();
            let stack = ServiceBuilder::new()
                .layer(tell.layer())
                .layer(TeeLayer::recording(Limit::first(1000)))
                .service(forwarding(&upstream));
            let server = Server::start(wire.front(), stack).await;
            let mut reader = Reader::get(wire, &server).await;
            reader.read_to("data: 1\n\n").await;

            let start = tokio::time::Instant::now();
            server.stop().await; // It aborts the tasks of its connections.
            let closed = upstream.closed(0, LIMIT).await;
            let ending = endings.next(LIMIT).await;
            let took = tokio::time::Instant::now().max(closed) - start;
            assert_eq!((ending.outcome, ending.bytes), (Outcome::Disconnected, 9), "{wire:?}");
            let tape = ending.exchange.fact::<Recording>().unwrap();
            assert_eq!(tape.to_bytes(), "data: 1\n\n", "{wire:?}");
            let (body, over) = reader.rest().await;
            assert_eq!((body.as_str(), over), ("data: 1\n\n", Over::Cut), "{wire:?}");
            took
        });
        let took = took.await;
        assert!(took <= AT_ONCE, "{wire:?}: {took:?}");
    }
}

fn runtimes() -> [Runtime; 2] {
    let one = Builder::new_current_thread().enable_all().build().unwrap();
    let many = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    [one, many]
}

// faults.md 36.
#[test]
fn a_runtime_that_is_dropped_with_live_streams_has_called_every_hook() {
    for wire in Wire::BOTH {
        for runtime in runtimes() {
            let notes = Log::new();
            let clients = runtime.block_on(async {
                let (sync, run, fallen) = (notes.clone(), notes.clone(), notes.clone());
                let stack = ServiceBuilder::new()
                    .layer(FinalizeLayer::new(move |_: &Parts| {
                        let notes = sync.clone();
                        move |ending: Ending| notes.note(format!("sync: {}", ending.outcome))
                    }))
                    .layer(FinalizeLayer::spawned(
                        move |_: &Parts| {
                            let notes = run.clone();
                            move |_: Ending| async move { notes.note("async") }
                        },
                        move |ending| fallen.note(format!("fallback: {}", ending.outcome)),
                    ))
                    .service(answering(|| sse(Script::new().data("data: 1\n\n").stall())));
                let server = Server::start(wire.front(), stack).await;
                let mut clients = Vec::new();
                for _ in 0..3 {
                    let mut reader = Reader::get(wire, &server).await;
                    reader.read_to("data: 1\n\n").await;
                    clients.push(reader);
                }
                drop(tokio::spawn(async move {
                    let _server = server;
                    std::future::pending::<()>().await;
                }));
                clients
            });
            assert_eq!(notes.story(), []);
            drop(runtime);
            let told = |note: &str| notes.count(|event| *event == Event::Note(note.into()));
            assert_eq!(told("sync: disconnected"), 3, "{wire:?}");
            // Where nothing can run any more an async hook is not lost, but handed to its fallback.
            assert_eq!((told("async"), told("fallback: disconnected")), (0, 3), "{wire:?}");
            drop(clients);
        }
    }
}
