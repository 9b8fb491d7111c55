//! While the client is not reading, so that hyper does not poll (truths.md 2; faults.md 8).

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::Response;
use testkit::{Play, Upstream};
use tokio::time::{Instant, sleep, timeout};
use tower::ServiceBuilder;
use tower_lifeline::{
    abort::{AbortHandle, AbortLayer},
    exchange::Outcome,
    final_frame::FinalFrameLayer,
    tee::{Limit, TeeLayer},
};

use super::median;
use crate::{
    reader::{Over, Reader, Wire},
    server::{AT_ONCE, Endings, LIMIT, Server, endings},
    stage::{aborted_event, count_polls, forwarding},
};

const EVENT: &str =
    "data: the quick brown fox jumps over the lazy dog, again and again and again\n\n";

/// Tries of which the median is taken.
const TRIES: usize = 9;

/// A proxy whose client has the head and reads nothing of the body.
struct Held {
    upstream: Upstream,
    handle: AbortHandle,
    /// Reports next to the upstream, and outermost.
    inner: Endings,
    outer: Endings,
    polls: Arc<AtomicUsize>,
    reader: Reader,
    _server: Server,
}

impl Held {
    async fn start(wire: Wire, play: Play) -> Self {
        let upstream = Upstream::start([play]).await;
        let (handle, polls) = (AbortHandle::new(), Arc::new(AtomicUsize::new(0)));
        let (given, counted) = (handle.clone(), polls.clone());
        let ((inner, inner_endings), (outer, outer_endings)) = (endings(), endings());
        let stack = ServiceBuilder::new()
            .map_response(move |response: Response<_>| {
                let counted = counted.clone();
                response.map(|body| count_polls(body, counted))
            })
            .layer(outer.layer())
            .layer(FinalFrameLayer::by_media())
            .layer(AbortLayer::new(move |_| given.clone()))
            .layer(inner.layer())
            .layer(TeeLayer::recording(Limit::first(1000)))
            .service(forwarding(&upstream));
        let server = Server::start(wire.front(), stack).await;
        let reader = Reader::get_with_room(wire, &server, 16 * 1024).await;
        let held = Self {
            upstream,
            handle,
            inner: inner_endings,
            outer: outer_endings,
            polls,
            reader,
            _server: server,
        };
        timeout(LIMIT, held.until_nobody_polls()).await.expect("it is polled for ever");
        held
    }

    /// Waits until hyper has taken all that it has room for: four looks see no new poll, for one alone may come when the
    /// whole process was held up.
    async fn until_nobody_polls(&self) {
        let mut quiet = 0;
        while quiet < 4 {
            let before = self.polls();
            sleep(Duration::from_millis(15)).await;
            quiet = if before > 0 && self.polls() == before { quiet + 1 } else { 0 };
        }
    }

    fn polls(&self) -> usize {
        self.polls.load(Ordering::SeqCst)
    }

    /// Aborts, and tells how long it took until the upstream's socket was closed and the hook had been called.
    async fn abort(&mut self) -> Duration {
        let start = Instant::now();
        assert!(self.handle.abort("stop"));
        self.upstream.closed(0, LIMIT).await;
        let ending = self.inner.next(LIMIT).await;
        let took = start.elapsed();
        assert_eq!((ending.outcome, ending.reason()), (Outcome::Aborted, Some("stop")));
        took
    }
}

fn flood() -> Play {
    Play::new().head_sse().flood(EVENT.repeat(20))
}

fn silence() -> Play {
    Play::new().head_sse().chunk(EVENT).stall()
}

#[tokio::test]
async fn the_upstream_is_closed_and_the_hook_called_within_50_ms_without_a_poll() {
    for wire in Wire::BOTH {
        let mut times = Vec::new();
        for _ in 0..TRIES {
            let mut held = Held::start(wire, flood()).await;
            let before = held.polls();
            times.push(held.abort().await);
            assert_eq!(held.polls(), before, "{wire:?}: somebody polled, so this shows nothing");
        }
        assert!(median(times.clone()) <= AT_ONCE, "{wire:?}: {times:?}");
    }
}

#[tokio::test]
async fn a_silent_upstream_is_closed_and_the_hook_called_within_50_ms() {
    for wire in Wire::BOTH {
        let mut times = Vec::new();
        for _ in 0..TRIES {
            times.push(Held::start(wire, silence()).await.abort().await);
        }
        assert!(median(times.clone()) <= AT_ONCE, "{wire:?}: {times:?}");
    }
}

#[tokio::test]
async fn a_client_that_reads_again_gets_all_that_was_taken_and_then_the_final_event() {
    for wire in Wire::ALL {
        let mut held = Held::start(wire, flood()).await;
        held.abort().await;
        sleep(AT_ONCE).await;
        let (body, over) = held.reader.rest().await;
        assert_eq!(over, Over::Clean, "{wire:?}");
        let ending = held.outer.next(LIMIT).await;
        assert_eq!(
            ending.bytes,
            body.len() as u64,
            "{wire:?}: all that hyper was given, and no more"
        );
        assert_eq!(ending.outcome, Outcome::Aborted);

        let events = body.strip_suffix(&aborted_event("stop")).expect("no final event");
        assert!(events.len() > 10 * EVENT.len(), "{wire:?}: nothing was buffered");
        assert_eq!(events, EVENT.repeat(events.len() / EVENT.len()), "{wire:?}");
    }
}
