//! Time limits, in a proxy in front of an upstream that is slow: truths.md 2, faults.md 6, 7, 12 to 14, 50, 52.

mod clock;
mod stalled;
mod unread;

use std::{
    sync::{Arc, atomic::AtomicUsize},
    time::Duration,
};

use http::Response;
use testkit::{Play, Upstream};
use tokio::time::Instant;
use tower::ServiceBuilder;
use tower_lifeline::{
    exchange::{Cause, Outcome},
    final_frame::FinalFrameLayer,
    keepalive::IdleKeepaliveLayer,
    timeouts::{Limit, Limits, TimedOut, TimeoutsLayer},
};

use crate::{
    reader::Wire,
    server::{AT_ONCE, Endings, LIMIT, Server, endings},
    stage::{count_polls, forwarding, timed_out_event},
};

const BEAT: &str = ": keep-alive\n";

/// Is between heartbeats: many fit into a limit.
const INTERVAL: Duration = Duration::from_millis(20);

/// Is the limit that is hit.
const PATIENCE: Duration = Duration::from_millis(200);

/// When the upstream must be released and the ending told.
const RELEASED: Duration = PATIENCE.saturating_add(AT_ONCE);

/// A proxy with time limits.
struct Proxy {
    upstream: Upstream,
    server: Server,
    endings: Endings,
    /// How often the outermost body was polled.
    polls: Arc<AtomicUsize>,
}

impl Proxy {
    /// Sends heartbeats, and tells its clients of a limit in the stream.
    async fn telling(wire: Wire, limits: Limits, play: Play) -> Self {
        let (upstream, polls) = (Upstream::start([play]).await, Arc::new(AtomicUsize::new(0)));
        let (counted, (tell, endings)) = (Arc::clone(&polls), endings());
        let stack = ServiceBuilder::new()
            .map_response(move |response: Response<_>| {
                let counted = counted.clone();
                response.map(|body| count_polls(body, counted))
            })
            .layer(IdleKeepaliveLayer::new(INTERVAL))
            .layer(FinalFrameLayer::by_media())
            .layer(TimeoutsLayer::new(limits))
            .layer(tell.layer())
            .service(forwarding(&upstream));
        Self { server: Server::start(wire.front(), stack).await, upstream, endings, polls }
    }

    /// Has nothing but the limits.
    async fn cutting(wire: Wire, limits: Limits, play: Play) -> Self {
        let (upstream, (tell, endings)) = (Upstream::start([play]).await, endings());
        let stack = ServiceBuilder::new()
            .layer(TimeoutsLayer::new(limits))
            .layer(tell.layer())
            .service(forwarding(&upstream));
        let server = Server::start(wire.front(), stack).await;
        Self { server, upstream, endings, polls: Arc::default() }
    }

    /// Waits until the upstream was left and the ending told, and tells how long after `start` that was.
    async fn hits(&mut self, limit: Limit, start: Instant) -> Duration {
        let closed = self.upstream.closed(0, LIMIT).await;
        let ending = self.endings.next(LIMIT).await;
        let took = closed.max(Instant::now()) - start;
        assert_eq!((ending.outcome, ending.reason()), (Outcome::TimedOut, Some(limit.as_str())));
        let Cause::TimedOut(hit) = ending.cause else { panic!("{:?}", ending.cause) };
        assert_eq!((hit.limit(), hit.after()), (limit, PATIENCE));
        assert!(took >= PATIENCE, "too early: {took:?}");
        took
    }
}

/// The last event that a client sees when it was this limit.
fn last_event(limit: Limit) -> String {
    timed_out_event(&TimedOut::new(limit, PATIENCE))
}
