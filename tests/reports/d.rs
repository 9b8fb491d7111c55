//! A run that is cancelled from outside: its stop is written to a store that another process reads, and what is known about it
//! has to reach the client, the producer, and the books.

use std::{
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::Poll::{Pending, Ready},
    time::Duration,
};

use bytes::Bytes;
use http::{Response, StatusCode, request::Parts};
use http_body_util::Channel;
use testkit::{Gate, Play, Script, Upstream};
use tokio::{
    sync::mpsc::{UnboundedSender, unbounded_channel},
    time::{Instant, sleep, timeout},
};
use tower::{Layer, ServiceBuilder};
use tower_lifeline::{
    abort::{self, AbortHandle, AbortLayer, AbortRegistry},
    detach::{DetachLayer, DrainLimits},
    error::{AsError, BoxError},
    exchange::{Cause, DrainEnd, Exchange, Outcome},
    final_frame::{Failure, Final, FinalFrameLayer},
    first_frame::{FailedStart, FirstFrameLayer},
    keepalive::{Heartbeat, IdleKeepaliveLayer},
    tee::{Limit, Recording, TeeLayer},
    timeouts::{Limits, TimeoutsLayer},
};

use crate::{
    client::{Answer, Over, Wire},
    log::Lines,
    server::{
        Does, Endings, Heart, LIMIT, MOMENT, Run, UNWOUND, answering, endings, error_event, proxy,
        serve, sse, typed,
    },
};

const ONE: &str = "data: one\n\n";
const TWO: &str = "data: two\n\n";

/// How often the store is asked. It was every half a second.
const EVERY: Duration = Duration::from_millis(100);

/// Tells the client of a cancel with an event of its own.
fn cancelled(failure: &Failure<'_>) -> Final {
    match failure.cause {
        Cause::Aborted(reason) => {
            Final::Data(format!("event: cancelled\ndata: {reason}\n\n").into())
        }
        _ => Final::by_media(failure),
    }
}

fn cancelled_event(reason: &str) -> String {
    format!("event: cancelled\ndata: {reason}\n\n")
}

/// Serves runs that are stopped by the handle that `source` gives.
async fn runs<F, S, B, M, N>(source: F, heart: S) -> (std::net::SocketAddr, Endings)
where
    F: Fn(&Parts) -> AbortHandle + Clone + Send + Sync + 'static,
    S: Heart<B, Error: AsError<N> + Into<BoxError> + Send>,
    B: http_body::Body<Data = Bytes, Error: AsError<M> + Into<BoxError>> + Send + 'static,
    M: Send + Sync + 'static,
    N: Send + Sync + 'static,
{
    let (tell, endings) = endings();
    let stack = ServiceBuilder::new()
        .layer(FinalFrameLayer::new(cancelled))
        .layer(AbortLayer::new(source))
        .layer(tell.layer())
        .service(heart);
    (serve(stack).await, endings)
}

#[tokio::test]
async fn a_ping_says_the_id_of_the_last_event_that_the_client_has() {
    for wire in Wire::BOTH {
        let (first, second) = (Gate::new(), Gate::new());
        let play = Play::new().head_sse().wait(&first);
        let play = play.chunk("id: 41\ndata: a\n\nid: 42\ndata: b\n\nid: 43\ndata: ha");
        let play = play.wait(&second).chunk("lf\n\n").stall();
        let upstream = Upstream::start([play]).await;
        let pings = |_: &Parts| {
            |_: &http::response::Parts| {
                Heartbeat::from_last_event(|last| match last {
                    Some(event) => format!(": at {}\n", event.last_event_id()).into(),
                    None => ": not begun\n".into(),
                })
            }
        };
        let layer = IdleKeepaliveLayer::new(Duration::from_millis(40)).heartbeat(pings);
        let addr = serve(layer.layer(proxy(upstream.addr()))).await;
        let mut answer = Answer::get(wire, addr).await;
        answer.read_to(": not begun\n").await;
        first.open();
        answer.read_to("data: b\n\n: at 42\n").await;
        second.open();
        answer.read_to("data: half\n\n: at 43\n").await;
    }
}

const LOT: &[u8] = &[b'x'; 16 * 1024];
const LOTS: usize = 256;

#[tokio::test]
async fn a_queue_of_one_holds_the_producer_back_while_the_client_does_not_read() {
    for wire in Wire::BOTH {
        let sent = Arc::new(AtomicUsize::new(0));
        let counted = sent.clone();
        let run = Run::of(answering(move |_| {
            let (mut queue, body) = Channel::<Bytes>::new(1);
            let counted = counted.clone();
            tokio::spawn(async move {
                while counted.load(Ordering::SeqCst) < LOTS
                    && queue.send_data(LOT.into()).await.is_ok()
                {
                    counted.fetch_add(1, Ordering::SeqCst);
                }
            });
            typed("text/plain", body)
        }))
        .await;
        let mut answer = Answer::get_slowly(wire, run.addr).await;
        sleep(2 * MOMENT).await;
        let waiting = sent.load(Ordering::SeqCst);
        assert!(waiting < 64, "{wire:?}: {waiting} lots of 16 KiB wait");
        let (body, over) = answer.rest().await;
        assert_eq!((body.len(), over), (LOTS * LOT.len(), Over::Clean), "{wire:?}");
    }
}

/// Is the store in which a stop is written.
#[derive(Clone, Default)]
struct Store {
    stop: Arc<Mutex<Option<String>>>,
    asked: Arc<AtomicUsize>,
    /// How many questions fail before it works.
    broken: usize,
}

impl Store {
    fn ask(&self) -> io::Result<Option<String>> {
        match self.asked.fetch_add(1, Ordering::SeqCst) {
            n if n < self.broken => Err(io::Error::other("store unreachable")),
            _ => Ok(self.stop.lock().unwrap().clone()),
        }
    }

    /// Gives a handle for each request that asks this store.
    fn source(&self) -> impl Fn(&Parts) -> AbortHandle + Clone + Send + Sync + 'static {
        let store = self.clone();
        move |_| {
            let (handle, store) = (AbortHandle::new(), store.clone());
            handle.abort_when(abort::ask_every(EVERY, move || {
                let store = store.clone();
                async move { store.ask() }
            }));
            handle
        }
    }
}

#[tokio::test]
async fn a_stop_that_is_written_to_a_store_reaches_the_client_as_a_cancelled_event() {
    for wire in Wire::BOTH {
        let store = Store::default();
        let upstream = Upstream::start([Play::new().head_sse().chunk(ONE).stall()]).await;
        let (addr, mut endings) = runs(store.source(), proxy(upstream.addr())).await;
        let mut answer = Answer::get(wire, addr).await;
        answer.read_to(ONE).await;
        *store.stop.lock().unwrap() = Some("stopped by alice".into());
        let written = Instant::now();
        let all = (format!("{ONE}{}", cancelled_event("stopped by alice")), Over::Clean);
        assert_eq!(answer.rest().await, all, "{wire:?}");
        assert!(written.elapsed() < EVERY + MOMENT, "{wire:?}: {:?}", written.elapsed());
        let ending = endings.only().await;
        assert_eq!((ending.outcome, ending.reason()), (Outcome::Aborted, Some("stopped by alice")));
        upstream.closed(0, LIMIT).await;
    }
}

#[tokio::test]
async fn the_store_is_asked_no_more_when_the_run_is_over() {
    for wire in Wire::BOTH {
        let store = Store::default();
        let heart = answering(|_| sse(Script::new().data(ONE)));
        let (addr, mut endings) = runs(store.source(), heart).await;
        Answer::get(wire, addr).await.rest().await;
        assert_eq!(endings.next().await.outcome, Outcome::Completed);
        let asked = store.asked.load(Ordering::SeqCst);
        sleep(3 * EVERY).await;
        assert_eq!(store.asked.load(Ordering::SeqCst), asked, "{wire:?}");
    }
}

#[tokio::test]
async fn a_check_that_fails_is_logged_and_neither_breaks_the_stream_nor_ends_the_asking() {
    for wire in Wire::BOTH {
        let (lines, _guard) = Lines::read();
        let store = Store { broken: 3, ..Store::default() };
        let play = Play::new().head_sse().chunk(ONE).sleep(3 * EVERY).chunk(TWO);
        let upstream = Upstream::start([play.stall()]).await;
        let (addr, _endings) = runs(store.source(), proxy(upstream.addr())).await;
        let mut answer = Answer::get(wire, addr).await;
        answer.read_to(TWO).await;
        let told = lines.with("could not ask whether to abort");
        assert_eq!(told.len(), 3, "{wire:?}: {told:?}");
        assert_eq!(told[0].get("error"), Some("store unreachable"));
        assert_eq!(told[0].get("level"), Some("WARN"));

        *store.stop.lock().unwrap() = Some("stop".into());
        let all = (format!("{ONE}{TWO}{}", cancelled_event("stop")), Over::Clean);
        assert_eq!(answer.rest().await, all, "{wire:?}");
    }
}

/// Tells, when it is dropped, what the producer that holds it can read.
struct Dropped(Exchange, UnboundedSender<Option<Cause>>);

impl Drop for Dropped {
    fn drop(&mut self) {
        let _ = self.1.send(self.0.cause());
    }
}

#[tokio::test]
async fn the_producer_itself_learns_why_it_is_stopped() {
    for wire in Wire::BOTH {
        for limit in [None, Some(EVERY)] {
            let (tell, mut told) = unbounded_channel();
            let handle = AbortHandle::new();
            let given = handle.clone();
            let heart = answering(move |exchange| {
                let dropped = Dropped(exchange, tell.clone());
                let mut given = false;
                sse(Does(move || {
                    let _held = &dropped;
                    let first = !std::mem::replace(&mut given, true);
                    if first { Ready(Some(Ok(ONE.into()))) } else { Pending }
                }))
            });
            let stack = ServiceBuilder::new()
                .layer(FinalFrameLayer::new(cancelled))
                .layer(AbortLayer::new(move |_| given.clone()))
                .layer(TimeoutsLayer::new(Limits::new().idle(limit)))
                .service(heart);
            let mut answer = Answer::get(wire, serve(stack).await).await;
            answer.read_to(ONE).await;
            if limit.is_none() {
                handle.abort("stopped by alice");
            }
            let why = timeout(LIMIT, told.recv()).await.unwrap().unwrap();
            let why = why.expect("the producer is dropped before the cause is set");
            match limit {
                None => assert_eq!(why.reason(), Some("stopped by alice"), "{wire:?}"),
                Some(_) => assert_eq!(why.outcome(), Outcome::TimedOut, "{wire:?}"),
            }
        }
    }
}

#[tokio::test]
async fn of_a_run_that_is_over_nothing_is_left_in_the_registry() {
    let registry = AbortRegistry::new();
    let known = registry.clone();
    let (addr, mut endings) = runs(
        move |request: &Parts| known.handle(request.uri.path().to_owned()),
        answering(|_| sse(Script::new().data(ONE).stall())),
    )
    .await;
    for n in 0..200 {
        let run = format!("/runs/{n}");
        let mut answer = Answer::get_path(Wire::BOTH[n % 2], addr, &run).await;
        answer.read_to(ONE).await;
        assert_eq!(registry.keys().concat(), run);
        if n % 4 < 2 {
            assert_eq!(registry.abort(&run, "stop"), Some(true));
            answer.rest().await;
        }
        drop(answer);
        endings.next().await;
        // The handle goes with the rest of the body, after the hook.
        let gone = async {
            while !registry.keys().is_empty() {
                tokio::task::yield_now().await;
            }
        };
        timeout(LIMIT, gone).await.unwrap_or_else(|_| panic!("{:?}", registry.keys()));
        assert_eq!(registry.abort(&run, "again"), None);
    }
    assert_eq!(registry.root().dependents(), 0);
}

/// Runs whose head waits for their first item.
async fn judged(make: impl Fn() -> Script + Clone + Send + Sync + 'static) -> std::net::SocketAddr {
    let first = FirstFrameLayer::by_media().answer(|failed| {
        let (status, text) = match failed {
            FailedStart::InBand(data) => (StatusCode::TOO_MANY_REQUESTS, data.clone()),
            failed => (StatusCode::INTERNAL_SERVER_ERROR, failed.to_string().into()),
        };
        let mut response = Response::new(text);
        *response.status_mut() = status;
        response
    });
    let stack = ServiceBuilder::new()
        .layer(FinalFrameLayer::new(cancelled))
        .layer(first)
        .service(answering(move |_| sse(make())));
    serve(stack).await
}

#[tokio::test]
async fn the_status_depends_on_the_first_item() {
    for wire in Wire::BOTH {
        let refused = "event: error\ndata: {\"error\":{\"type\":\"rate_limit\"}}\n\n";
        let addr = judged(move || Script::new().pending().data(refused).stall()).await;
        let mut answer = Answer::get(wire, addr).await;
        assert_eq!(answer.status, 429, "{wire:?}");
        assert_eq!(answer.rest().await.0, "{\"error\":{\"type\":\"rate_limit\"}}");

        let addr = judged(|| Script::new().pending().data(ONE).data(TWO)).await;
        let mut answer = Answer::get(wire, addr).await;
        assert_eq!(answer.status, 200, "{wire:?}");
        assert_eq!(answer.rest().await, (format!("{ONE}{TWO}"), Over::Clean));
    }
}

#[tokio::test]
async fn an_error_before_the_start_is_a_500_and_one_in_the_middle_an_error_event() {
    for wire in Wire::BOTH {
        let addr = judged(|| Script::new().pending().error("boom")).await;
        let mut answer = Answer::get(wire, addr).await;
        assert_eq!(answer.status, 500, "{wire:?}");
        assert_eq!(answer.rest().await.1, Over::Clean);

        let addr = judged(|| Script::new().data(ONE).pending().error("boom")).await;
        let mut answer = Answer::get(wire, addr).await;
        assert_eq!(answer.status, 200, "{wire:?}");
        let event = error_event("upstream", "the upstream failed", "failed");
        assert_eq!(answer.rest().await, (format!("{ONE}{event}"), Over::Clean));
    }
}

/// Serves a run that is finished though its client left.
async fn shielded(upstream: &Upstream, handle: &AbortHandle) -> (std::net::SocketAddr, Endings) {
    let (handle, (tell, endings)) = (handle.clone(), endings());
    let stack = ServiceBuilder::new()
        .layer(FinalFrameLayer::new(cancelled))
        .layer(DetachLayer::new(DrainLimits::new()))
        .layer(AbortLayer::new(move |_| handle.clone()))
        .layer(tell.layer())
        .layer(TeeLayer::recording(Limit::first(1024)))
        .service(proxy(upstream.addr()));
    (serve(stack).await, endings)
}

#[tokio::test]
async fn a_client_that_leaves_need_not_stop_the_work() {
    for wire in Wire::BOTH {
        let gate = Gate::new();
        let play = Play::new().head_sse().chunk(ONE).wait(&gate).chunk(TWO).last_chunk();
        let upstream = Upstream::start([play]).await;
        let (addr, mut endings) = shielded(&upstream, &AbortHandle::new()).await;
        let mut answer = Answer::get(wire, addr).await;
        answer.read_to(ONE).await;
        drop(answer);
        sleep(MOMENT).await;
        assert_eq!(upstream.conns()[0].closed_at, None, "{wire:?}: the work was stopped");
        gate.open();
        let ending = endings.only().await;
        assert_eq!((ending.outcome, ending.bytes), (Outcome::Disconnected, 11), "{wire:?}");
        let drained = ending.drained.unwrap();
        assert_eq!((drained.end, drained.bytes), (DrainEnd::Completed, 11), "{wire:?}");
        let recording = ending.exchange.fact::<Recording>().unwrap();
        assert_eq!(recording.to_bytes(), format!("{ONE}{TWO}"), "{wire:?}");
    }
}

#[tokio::test]
async fn a_cancel_stops_work_that_goes_on_without_its_client() {
    for wire in Wire::BOTH {
        let upstream = Upstream::start([Play::new().head_sse().chunk(ONE).stall()]).await;
        let handle = AbortHandle::new();
        let (addr, mut endings) = shielded(&upstream, &handle).await;
        let mut answer = Answer::get(wire, addr).await;
        answer.read_to(ONE).await;
        drop(answer);
        sleep(MOMENT).await;
        let cancelled = Instant::now();
        assert!(handle.abort("stop"), "{wire:?}");
        let closed = upstream.closed(0, LIMIT).await - cancelled;
        assert!(closed <= UNWOUND, "{wire:?}: {closed:?}");
        let ending = endings.only().await;
        assert_eq!(ending.drained.unwrap().end, DrainEnd::Aborted, "{wire:?}");
    }
}

#[tokio::test]
async fn a_cancel_a_time_limit_and_a_client_that_gave_up_are_told_apart() {
    for wire in Wire::BOTH {
        let expected = [
            ("cancel", Outcome::Aborted, Some("stopped by alice")),
            ("limit", Outcome::TimedOut, Some("idle")),
            ("client timeout", Outcome::Disconnected, None),
        ];
        for (name, outcome, reason) in expected {
            let handle = AbortHandle::new();
            let given = handle.clone();
            let (tell, mut endings) = endings();
            let idle = if name == "limit" { EVERY } else { 10 * LIMIT };
            let upstream = Upstream::start([Play::new().head_sse().chunk(ONE).stall()]).await;
            let stack = ServiceBuilder::new()
                .layer(FinalFrameLayer::new(cancelled))
                .layer(AbortLayer::new(move |_| given.clone()))
                .layer(TimeoutsLayer::new(Limits::new().idle(idle)))
                .layer(tell.layer())
                .service(proxy(upstream.addr()));
            let mut answer = Answer::get(wire, serve(stack).await).await;
            answer.read_to(ONE).await;
            match name {
                "cancel" => assert!(handle.abort("stopped by alice")),
                "client timeout" => {
                    assert!(timeout(EVERY, answer.rest()).await.is_err());
                    drop(answer);
                }
                _ => {}
            }
            let ending = endings.only().await;
            assert_eq!((ending.outcome, ending.reason()), (outcome, reason), "{wire:?}, {name}");
            upstream.closed(0, LIMIT).await;
        }
    }
}
