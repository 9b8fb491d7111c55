//! Clients that do not read, so that hyper does not poll.

use std::{sync::atomic::Ordering, time::Duration};

use testkit::Play;
use tokio::time::{Instant, sleep, timeout};
use tower_lifeline::timeouts::{Limit, Limits};

use super::{PATIENCE, Proxy, RELEASED, last_event};
use crate::{
    reader::{Over, Reader, Wire},
    server::{LIMIT, MOMENT, median_of_five},
};

/// What an upstream says as fast as it is read.
fn flood() -> Play {
    Play::new().head_sse().flood("data: 1\n\n".repeat(100))
}

/// A client that reads the head and nothing more.
async fn reader_that_waits(wire: Wire, proxy: &Proxy) -> Reader {
    Reader::get_with_room(wire, &proxy.server, 16 * 1024).await
}

impl Proxy {
    fn polls(&self) -> usize {
        self.polls.load(Ordering::SeqCst)
    }

    /// Watches until `over`, or nobody has polled for so long. Gives the moment of the last poll.
    async fn last_poll(&self, quiet: Duration, over: impl Fn() -> bool) -> Instant {
        let (mut polls, mut last) = (self.polls(), Instant::now());
        let watching = async {
            while last.elapsed() < quiet && !over() {
                sleep(Duration::from_millis(1)).await;
                let looked = Instant::now();
                if self.polls() > polls {
                    (polls, last) = (self.polls(), looked);
                }
            }
        };
        timeout(2 * LIMIT, watching).await.expect("it is polled for ever");
        last
    }
}

// faults.md 7.
#[tokio::test]
async fn a_client_that_does_not_read_is_cut_at_its_limit_though_nobody_polls() {
    for wire in Wire::BOTH {
        // The last poll is seen some milliseconds late, as the machine likes.
        let early = PATIENCE / 4;
        let took = median_of_five(async || {
            let limits = Limits::new().unread(PATIENCE);
            let mut proxy = Proxy::telling(wire, limits, flood()).await;
            let mut reader = reader_that_waits(wire, &proxy).await;
            let closed = || proxy.upstream.conns()[0].closed_at.is_some();
            let last = proxy.last_poll(LIMIT, closed).await;
            // Nobody polled until then, or it would be too early.
            let took = proxy.hits(Limit::Unread, last - early).await - early;

            // Whoever reads again gets what was taken for it, and is told.
            let (body, over) = reader.rest().await;
            let events = body.strip_suffix(&last_event(Limit::Unread)).expect("no last event");
            assert_eq!((events.replace("data: 1\n\n", ""), over), (String::new(), Over::Clean));
            took
        });
        let took = took.await;
        assert!(took <= RELEASED, "{wire:?}: {took:?}");
    }
}

// faults.md 7.
#[tokio::test]
async fn a_client_that_reads_slowly_is_not_cut() {
    for wire in Wire::BOTH {
        let limits = Limits::new().unread(4 * PATIENCE);
        let play = (0..8)
            .fold(Play::new().head_sse(), |play, _| play.sleep(PATIENCE).chunk("data: 1\n\n"));
        let proxy = Proxy::cutting(wire, limits, play.last_chunk()).await;
        let mut reader = Reader::get(wire, &proxy.server).await;
        assert_eq!(reader.rest().await, ("data: 1\n\n".repeat(8), Over::Clean), "{wire:?}");
    }
}

// faults.md 6.
#[tokio::test]
async fn while_a_client_does_not_read_the_upstream_is_not_to_blame() {
    for wire in Wire::BOTH {
        let limits = Limits::new().first_frame(PATIENCE).idle(PATIENCE);
        let mut proxy = Proxy::telling(wire, limits, flood()).await;
        let mut reader = reader_that_waits(wire, &proxy).await;
        proxy.last_poll(2 * PATIENCE, || false).await;
        proxy.endings.none_within(MOMENT / 4).await;

        // It goes on where it was.
        reader.read_to("data: 1\n\n").await;
        proxy.endings.none_within(MOMENT).await;
        assert!(proxy.upstream.conns()[0].closed_at.is_none(), "{wire:?}");
    }
}
