//! Fifteen minutes: "no chunks for 180 s" said the log, and the code closed the wrong client. The stuck socket stayed until a
//! read timeout of 900 s: 0 bytes, 0 chunks, 930 s.

use std::{
    future::{Ready, ready},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use axum::body::Body;
use http::{HeaderName, Request, Response};
use hyper_util::client::legacy;
use testkit::{Play, Upstream};
use tokio::time::Instant;
use tower::{
    ServiceBuilder,
    retry::{Policy, RetryLayer},
};
use tower_lifeline::{
    exchange::Outcome,
    final_frame::FinalFrameLayer,
    finalize::{FinalizeLayer, Traced},
    first_frame::FirstFrameLayer,
    tee::{Limit, TeeLayer},
    timeouts::{Limits, TimeoutsLayer},
};

use crate::{
    client::{Answer, Over, Wire},
    log::{Line, Lines},
    server::{AT_ONCE, Endings, LIMIT, MOMENT, endings, error_event, middle_of_five, proxy, serve},
};

const ONE: &str = "data: one\n\n";
const TWO: &str = "data: two\n\n";

/// The limit that was 180 s.
const STALL: Duration = Duration::from_millis(200);
const TICK: Duration = Duration::from_millis(50);

fn stuck() -> Play {
    Play::new().head_sse().chunk(ONE).stall()
}

fn good() -> Play {
    Play::new().head_sse().chunk(ONE).chunk(TWO).last_chunk()
}

fn idle_event() -> String {
    error_event("timeout", "idle timeout: no progress for 200ms", "idle")
}

/// A proxy with limits.
async fn limited(limits: Limits, upstream: SocketAddr) -> (SocketAddr, Endings) {
    let (tell, endings) = endings();
    let stack = ServiceBuilder::new()
        .layer(FinalFrameLayer::by_media())
        .layer(TimeoutsLayer::new(limits))
        .layer(tell.layer())
        .layer(TeeLayer::recording(Limit::first(1024)))
        .service(proxy(upstream));
    (serve(stack).await, endings)
}

#[tokio::test]
async fn the_stall_limit_closes_the_stuck_upstream_connection_within_50_ms_and_no_other() {
    let ticking = (0..8).fold(Play::new().head_sse(), |play, _| play.chunk(ONE).sleep(TICK));
    let ticking = ticking.last_chunk();
    for wire in Wire::BOTH {
        let late = middle_of_five(async || {
            let upstream = Upstream::start([stuck(), ticking.clone()]).await;
            let limits = Limits::new().idle(STALL);
            let (addr, mut endings) = limited(limits, upstream.addr()).await;
            let mut victim = Answer::get(wire, addr).await;
            victim.read_to(ONE).await;
            let stuck_since = Instant::now();
            let mut sibling = Answer::get(wire, addr).await;

            let closed = upstream.closed(0, LIMIT).await;
            let ending = endings.next().await;
            assert_eq!((ending.outcome, ending.reason()), (Outcome::TimedOut, Some("idle")));
            let all = (format!("{ONE}{}", idle_event()), Over::Clean);
            assert_eq!(victim.rest().await, all, "{wire:?}");

            assert_eq!(upstream.conns()[1].closed_at, None, "{wire:?}: the wrong one was closed");
            assert_eq!(sibling.rest().await, (ONE.repeat(8), Over::Clean), "{wire:?}");
            assert_eq!(endings.next().await.outcome, Outcome::Completed);
            closed.saturating_duration_since(stuck_since + STALL)
        });
        let late = late.await;
        assert!(late <= AT_ONCE, "{wire:?}: {late:?}");
    }
}

#[tokio::test]
async fn an_upstream_that_never_gives_a_byte_is_closed_by_a_limit_of_its_own() {
    let head = || Play::new().head_sse().stall();
    for wire in Wire::BOTH {
        let late = middle_of_five(async || {
            let upstream = Upstream::start([head()]).await;
            let limits = Limits::new().first_frame(STALL).idle(2 * LIMIT);
            let (addr, mut endings) = limited(limits, upstream.addr()).await;
            let begun = Instant::now();
            let mut answer = Answer::get(wire, addr).await;
            assert_eq!(answer.status, 200);
            let message = "first_frame timeout: no byte of the body for 200ms";
            let event = error_event("timeout", message, "first_frame");
            assert_eq!(answer.rest().await, (event, Over::Clean), "{wire:?}");
            let ending = endings.only().await;
            assert_eq!((ending.outcome, ending.bytes), (Outcome::TimedOut, 0));
            upstream.closed(0, LIMIT).await.saturating_duration_since(begun + STALL)
        });
        let late = late.await;
        assert!(late <= AT_ONCE, "{wire:?}: {late:?}");
    }
}

#[tokio::test]
async fn an_upstream_that_never_answers_is_closed_and_the_client_is_told_504() {
    for wire in Wire::BOTH {
        let upstream = Upstream::start([Play::new().stall()]).await;
        let (addr, mut endings) = limited(Limits::new().head(STALL), upstream.addr()).await;
        let mut answer = Answer::get(wire, addr).await;
        assert_eq!(answer.status, 504);
        let message = "head timeout: no response head for 200ms\n";
        assert_eq!(answer.rest().await, (message.to_owned(), Over::Clean), "{wire:?}");
        upstream.closed(0, LIMIT).await;
        let ending = endings.only().await;
        assert_eq!((ending.outcome, ending.reason()), (Outcome::TimedOut, Some("head")));
    }
}

#[tokio::test]
async fn pings_of_a_stuck_upstream_are_no_progress() {
    let begun = Play::new().head_sse().chunk(ONE);
    let pinging = (0..100).fold(begun, |play, n| {
        let ping = if n % 2 == 0 { ": ping\n\n" } else { "event: ping\ndata: {}\n\n" };
        play.sleep(TICK / 2).chunk(ping)
    });
    for wire in Wire::BOTH {
        let late = middle_of_five(async || {
            let upstream = Upstream::start([pinging.clone()]).await;
            let limits = Limits::new().idle(STALL);
            let (addr, mut endings) = limited(limits, upstream.addr()).await;
            let mut answer = Answer::get(wire, addr).await;
            answer.read_to(ONE).await;
            let stuck_since = Instant::now();
            let closed = upstream.closed(0, LIMIT).await;
            assert!(answer.rest().await.0.ends_with(&idle_event()), "{wire:?}");
            assert_eq!(endings.next().await.reason(), Some("idle"));
            closed.saturating_duration_since(stuck_since + STALL)
        });
        let late = late.await;
        assert!(late <= AT_ONCE, "{wire:?}: {late:?}");
    }
}

/// Asks an upstream that plays this, and gives the line that is logged.
async fn logged(wire: Wire, play: Play) -> Line {
    let (lines, _guard) = Lines::read();
    let upstream = Upstream::start([play]).await;
    let ids: Arc<[HeaderName]> = ["cf-ray", "x-request-id"].map(HeaderName::from_static).into();
    let stack = ServiceBuilder::new()
        .layer(FinalFrameLayer::by_media())
        .layer(TimeoutsLayer::new(Limits::new().first_frame(STALL).idle(STALL)))
        .layer(FinalizeLayer::with(move |request| Traced::new(request).headers(ids.clone())))
        .service(proxy(upstream.addr()));
    let addr = serve(stack).await;
    Answer::get_path(wire, addr, "/v1/chat/completions").await.rest().await;
    upstream.closed(0, LIMIT).await;
    let [line] = &*lines.with("exchange ended") else { panic!("{lines:?}") };
    line.clone()
}

const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncf-ray: 8f1c-FRA\r\n\
                    x-request-id: req_7\r\ntransfer-encoding: chunked\r\n\r\n";

#[tokio::test]
async fn the_log_says_bytes_chunks_elapsed_first_byte_status_and_the_upstreams_own_ids() {
    for wire in Wire::BOTH {
        let play = Play::new().send(HEAD).sleep(2 * TICK).chunk(ONE).sleep(TICK).chunk(TWO);
        let line = logged(wire, play.stall()).await;
        assert_eq!(line.get("level"), Some("WARN"));
        assert_eq!((line.get("outcome"), line.get("reason")), (Some("timed_out"), Some("idle")));
        assert_eq!(line.get("path"), Some("/v1/chat/completions"));
        assert_eq!((line.number("bytes"), line.number("frames")), (22, 2));
        assert_eq!(line.number("status"), 200);
        assert_eq!(line.get("headers"), Some("cf-ray=8f1c-FRA; x-request-id=req_7"));
        let [first, idle, elapsed] =
            ["first_frame_ms", "idle_ms", "elapsed_ms"].map(|name| line.number(name));
        assert!((90..1000).contains(&first), "{line:?}");
        assert!((190..1000).contains(&idle), "{line:?}");
        assert!(elapsed >= first + idle, "{line:?}");
    }
}

#[tokio::test]
async fn the_log_of_an_upstream_that_gave_nothing_says_0_bytes_and_0_chunks_and_when() {
    for wire in Wire::BOTH {
        let line = logged(wire, Play::new().send(HEAD).stall()).await;
        let why = (line.get("outcome"), line.get("reason"));
        assert_eq!(why, (Some("timed_out"), Some("first_frame")));
        assert_eq!((line.number("bytes"), line.number("frames")), (0, 0));
        assert_eq!((line.get("first_frame_ms"), line.number("status")), (None, 200));
        assert_eq!(line.get("headers"), Some("cf-ray=8f1c-FRA; x-request-id=req_7"));
        assert!((190..1000).contains(&line.number("elapsed_ms")), "{line:?}");
    }
}

/// Tries again after a status of 500 or more, so many times.
#[derive(Clone)]
struct Again(usize);

impl<B> Policy<Request<Body>, Response<B>, legacy::Error> for Again {
    type Future = Ready<()>;

    fn retry(
        &mut self,
        _: &mut Request<Body>,
        result: &mut Result<Response<B>, legacy::Error>,
    ) -> Option<Ready<()>> {
        let failed = result.as_ref().map_or(true, |head| head.status().is_server_error());
        self.0 = self.0.checked_sub(usize::from(failed))?;
        failed.then(|| ready(()))
    }

    fn clone_request(&mut self, request: &Request<Body>) -> Option<Request<Body>> {
        let mut copy = Request::new(Body::empty());
        *copy.uri_mut() = request.uri().clone();
        *copy.extensions_mut() = request.extensions().clone();
        Some(copy)
    }
}

/// A proxy that tries again while nothing was delivered.
async fn retrying(upstream: SocketAddr) -> (SocketAddr, Endings) {
    let (tell, endings) = endings();
    let limits = Limits::new().head(STALL).first_frame(STALL).idle(STALL);
    let stack = ServiceBuilder::new()
        .layer(FinalFrameLayer::by_media())
        .layer(tell.layer())
        .layer(RetryLayer::new(Again(1)))
        .layer(FirstFrameLayer::by_media())
        .layer(TimeoutsLayer::new(limits))
        .service(proxy(upstream));
    (serve(stack).await, endings)
}

#[tokio::test]
async fn a_stall_before_anything_was_delivered_is_retried_and_the_client_sees_one_good_answer() {
    let silent = Play::new().head_sse().stall();
    let pinging = Play::new().head_sse().chunk(": ping\n\n").stall();
    for (name, stalls) in [("silent", silent), ("pinging", pinging)] {
        for wire in Wire::BOTH {
            let upstream = Upstream::start([stalls.clone(), good()]).await;
            let (addr, mut endings) = retrying(upstream.addr()).await;
            let mut answer = Answer::get(wire, addr).await;
            assert_eq!(answer.status, 200, "{name}, {wire:?}");
            assert_eq!(answer.rest().await, (format!("{ONE}{TWO}"), Over::Clean), "{name}");
            upstream.closed(0, LIMIT).await;
            let ending = endings.only().await;
            assert_eq!(ending.outcome, Outcome::Completed, "{name}, {wire:?}");
            assert_eq!(upstream.conns().len(), 2);
        }
    }
}

#[tokio::test]
async fn an_upstream_that_never_answers_is_retried_too() {
    for wire in Wire::BOTH {
        let upstream = Upstream::start([Play::new().stall(), good()]).await;
        let (addr, mut endings) = retrying(upstream.addr()).await;
        let mut answer = Answer::get(wire, addr).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.rest().await, (format!("{ONE}{TWO}"), Over::Clean), "{wire:?}");
        assert_eq!(endings.only().await.outcome, Outcome::Completed, "{wire:?}");
    }
}

#[tokio::test]
async fn a_stall_after_something_was_delivered_is_told_and_not_retried() {
    for wire in Wire::BOTH {
        let upstream = Upstream::start([stuck(), good()]).await;
        let (addr, mut endings) = retrying(upstream.addr()).await;
        let all = Answer::get(wire, addr).await.rest().await;
        assert_eq!(all, (format!("{ONE}{}", idle_event()), Over::Clean), "{wire:?}");
        let ending = endings.only().await;
        assert_eq!((ending.outcome, ending.reason()), (Outcome::TimedOut, Some("idle")));
        tokio::time::sleep(MOMENT).await;
        assert_eq!(upstream.conns().len(), 1, "{wire:?}: asked again");
    }
}
