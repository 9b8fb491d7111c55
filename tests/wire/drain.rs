//! Clients that leave a stream which is read on without them: `DetachLayer` in front of an upstream.

use std::time::Duration;

use testkit::{Gate, Play, Upstream};
use tokio::time::Instant;
use tower::ServiceBuilder;
use tower_lifeline::{
    detach::{DetachLayer, DrainLimits},
    exchange::{DrainEnd, Drained, Outcome},
    finalize::Ending,
    tee::{Limit, Recording, TeeLayer},
};

use crate::{
    reader::{Reader, Wire},
    server::{AT_ONCE, Endings, LIMIT, MOMENT, Server, endings, median_of_five},
    stage::forwarding,
};

const EVENTS: &str = "data: 1\n\ndata: 2\n\ndata: 3\n\n";

/// Says three events, and the rest when the gate is open.
fn play(gate: &Gate, rest: impl FnOnce(Play) -> Play) -> Play {
    let head = Play::new().head_sse();
    rest(head.chunk("data: 1\n\n").chunk("data: 2\n\n").chunk("data: 3\n\n").wait(gate))
}

/// A proxy that reads on.
struct Proxy {
    upstream: Upstream,
    server: Server,
    /// Reports when the client has left, and when the drain is over.
    outer: Endings,
    inner: Endings,
}

impl Proxy {
    async fn start(wire: Wire, limits: DrainLimits, play: Play) -> Self {
        let upstream = Upstream::start([play]).await;
        let ((tell_outer, outer), (tell_inner, inner)) = (endings(), endings());
        let stack = ServiceBuilder::new()
            .layer(tell_outer.layer())
            .layer(DetachLayer::new(limits))
            .layer(tell_inner.layer())
            .layer(TeeLayer::recording(Limit::first(1000)))
            .service(forwarding(&upstream));
        Self { server: Server::start(wire.front(), stack).await, upstream, outer, inner }
    }

    /// A client comes and leaves after its third event. Gives the moment when that was noticed.
    async fn leave(&mut self, wire: Wire) -> Instant {
        let mut reader = Reader::get(wire, &self.server).await;
        assert_eq!(reader.read_to("data: 3\n\n").await, EVENTS.as_bytes());
        drop(reader);
        let ending = self.outer.next(LIMIT).await;
        assert_eq!((ending.outcome, ending.drained), (Outcome::Disconnected, None), "{wire:?}");
        Instant::now()
    }
}

/// The client got its three events, and `bytes` more were read.
fn assert_drained(ending: &Ending, end: DrainEnd, rest: &str) {
    assert_eq!((ending.outcome, ending.bytes), (Outcome::Disconnected, EVENTS.len() as u64));
    let Some(Drained { end: ended, bytes, .. }) = ending.drained else { panic!("{ending:?}") };
    assert_eq!((ended, bytes), (end, rest.len() as u64));
    let tape = ending.exchange.fact::<Recording>().unwrap();
    assert_eq!(tape.to_bytes(), format!("{EVENTS}{rest}"));
}

#[tokio::test]
async fn a_stream_that_was_left_is_read_to_its_end_and_recorded_whole() {
    for wire in Wire::ALL {
        let gate = Gate::new();
        let play = play(&gate, |play| {
            let pause = Duration::from_millis(10);
            play.chunk("data: 4\n\n").sleep(pause).chunk("data: {\"usage\":7}\n\n").last_chunk()
        });
        let mut proxy = Proxy::start(wire, DrainLimits::new(), play).await;
        proxy.leave(wire).await;
        proxy.inner.none_within(MOMENT / 4).await;
        assert!(proxy.upstream.conns()[0].closed_at.is_none(), "{wire:?}");

        gate.open();
        let ending = proxy.inner.next(LIMIT).await;
        assert_drained(&ending, DrainEnd::Completed, "data: 4\n\ndata: {\"usage\":7}\n\n");
        let tape = ending.exchange.fact::<Recording>().unwrap();
        assert_eq!((tape.outcome(), tape.is_truncated()), (Some(Outcome::Completed), false));
    }
}

#[tokio::test]
async fn an_upstream_that_breaks_off_while_it_is_read_on_failed() {
    for wire in Wire::BOTH {
        let gate = Gate::new();
        let play = play(&gate, |play| play.chunk("data: 4\n\n").sleep(AT_ONCE).reset());
        let mut proxy = Proxy::start(wire, DrainLimits::new(), play).await;
        proxy.leave(wire).await;
        gate.open();
        let ending = proxy.inner.next(LIMIT).await;
        assert_drained(&ending, DrainEnd::Failed, "data: 4\n\n");
    }
}

#[tokio::test]
async fn an_upstream_that_says_too_much_is_left() {
    for wire in Wire::BOTH {
        let gate = Gate::new();
        // The second chunk is more than ten bytes.
        let play = play(&gate, |play| {
            play.chunk("data: 4\n\n").sleep(AT_ONCE).chunk("data: 5\n\n").sleep(AT_ONCE).stall()
        });
        let mut proxy = Proxy::start(wire, DrainLimits::new().bytes(10), play).await;
        proxy.leave(wire).await;
        gate.open();
        let ending = proxy.inner.next(LIMIT).await;
        assert_drained(&ending, DrainEnd::Limit, "data: 4\n\ndata: 5\n\n");
        proxy.upstream.closed(0, LIMIT).await;
    }
}

#[tokio::test]
async fn an_upstream_that_takes_too_long_is_left() {
    for wire in Wire::BOTH {
        let took = median_of_five(async || {
            let gate = Gate::new();
            let play = play(&gate, Play::stall);
            let mut proxy = Proxy::start(wire, DrainLimits::new().time(MOMENT), play).await;
            let left = proxy.leave(wire).await;
            let closed = proxy.upstream.closed(0, LIMIT).await;
            assert_drained(&proxy.inner.next(LIMIT).await, DrainEnd::Limit, "");
            closed - left
        });
        let took = took.await;
        // When it was noticed is seen a little late.
        let limits = MOMENT - AT_ONCE..=MOMENT + AT_ONCE;
        assert!(limits.contains(&took), "{wire:?}: {took:?}");
    }
}

#[tokio::test]
async fn one_upstream_too_many_is_left_at_once_and_the_others_are_read_on() {
    for wire in Wire::BOTH {
        let gate = Gate::new();
        let play = play(&gate, |play| play.chunk("data: 4\n\n").last_chunk());
        let mut proxy = Proxy::start(wire, DrainLimits::new().streams(1), play).await;
        proxy.leave(wire).await;
        proxy.inner.none_within(MOMENT / 4).await;

        proxy.leave(wire).await;
        assert_drained(&proxy.inner.next(LIMIT).await, DrainEnd::Limit, "");
        proxy.upstream.closed(1, LIMIT).await;

        gate.open();
        assert_drained(&proxy.inner.next(LIMIT).await, DrainEnd::Completed, "data: 4\n\n");
    }
}
