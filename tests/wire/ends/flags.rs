//! An end-of-stream flag that comes true between two looks at it: hyper believes it, and drops the body without a poll.

use std::{
    hint::spin_loop,
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use testkit::{Eos, Gate, Script};
use tower::ServiceBuilder;
use tower_lifeline::{
    abort::{AbortHandle, AbortLayer},
    detach::{DetachLayer, DrainLimits},
    exchange::Outcome,
    keepalive::IdleKeepaliveLayer,
    tee::{Limit, Recording, TeeLayer},
    timeouts::{Limits, TimeoutsLayer},
};

use crate::{
    reader::{Over, Reader, Wire},
    server::{Server, endings},
    stage::{answering, typed},
};

/// So many looks for the flag there are at most behind one frame, hyper's among them: one in each layer.
const LOOKS: usize = 12;

/// Each of these bodies is whole for its client, and for every hook.
async fn assert_whole(wire: Wire, rounds: usize, body: impl Fn(usize) -> Script) {
    for round in 0..rounds {
        let (tell, endings) = endings();
        let stack = ServiceBuilder::new()
            .layer(IdleKeepaliveLayer::new(Duration::from_secs(15)))
            .layer(DetachLayer::new(DrainLimits::new()))
            .layer(AbortLayer::new(|_| AbortHandle::new()))
            .layer(TimeoutsLayer::new(Limits::new().idle(Duration::from_secs(60))))
            .layer(tell.layer())
            .layer(TeeLayer::recording(Limit::first(1024)));
        let script = Arc::new(Mutex::new(Some(body(round))));
        let answer = answering(move || typed("text/plain", script.lock().unwrap().take().unwrap()));
        let server = Server::start(wire.front(), stack.service(answer)).await;
        drop((tell, stack));
        let mut reader = Reader::get(wire, &server).await;
        assert_eq!(reader.rest().await, ("whole".into(), Over::Clean), "{wire:?} {round}");
        drop(reader);
        let ending = endings.only(server).await;
        assert_eq!(ending.outcome, Outcome::Completed, "{wire:?} {round}");
        assert!(ending.drained.is_none(), "{wire:?} {round}");
        let recording = ending.exchange.fact::<Recording>().unwrap();
        assert_eq!(recording.outcome(), Some(Outcome::Completed), "{wire:?} {round}");
    }
}

#[tokio::test]
async fn a_flag_that_comes_true_between_the_looks_of_a_layer_and_of_hyper_is_a_completed_end() {
    for wire in Wire::ALL {
        let late = |looks| Script::new().data("whole").eos(Eos::Late(looks));
        assert_whole(wire, LOOKS, late).await;
    }
}

#[tokio::test]
async fn a_flag_that_another_thread_sets_at_any_moment_is_a_completed_end() {
    for wire in Wire::BOTH {
        let by_a_thread = |round| {
            let gate = Gate::new();
            let script = Script::new().data("whole").wait(&gate).eos(Eos::Gated);
            thread::spawn(move || {
                (0..round * 500).for_each(|_| spin_loop());
                gate.open();
            });
            script
        };
        assert_whole(wire, 60, by_a_thread).await;
    }
}
