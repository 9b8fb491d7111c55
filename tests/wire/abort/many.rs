//! Ten thousand streams under one handle (faults.md 30).

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use http::{Request, Response};
use http_body_util::BodyExt;
use testkit::Script;
use tokio::{
    sync::Semaphore,
    task::JoinSet,
    time::{Instant, sleep, timeout},
};
use tower::{ServiceBuilder, ServiceExt, service_fn};
use tower_lifeline::{
    abort::{AbortHandle, AbortLayer, Aborted},
    exchange::Outcome,
};

use super::{SIGNAL, median};
use crate::server::{LIMIT, endings};

const STREAMS: usize = 10_000;

/// Times of one abort of all.
struct Times {
    /// Of the call of `abort()`.
    call: Duration,
    /// Until 99 of 100 endings were told.
    told: Duration,
    /// The longest time for which the runtime let a task wait that only wanted to sleep a millisecond.
    stall: Duration,
}

async fn abort_all() -> Times {
    let root = AbortHandle::new();
    let (tell, mut endings) = endings();
    let (given, hooks) = (root.clone(), tell.layer());
    let tracker = hooks.tracker();
    let stack = ServiceBuilder::new()
        .layer(AbortLayer::new(move |_| given.child()))
        .layer(hooks)
        .service(service_fn(async |_: Request<()>| {
            Ok::<_, Infallible>(Response::new(Script::new().data("data: one\n\n").stall()))
        }));
    let streaming = Arc::new(Semaphore::new(0));
    let mut tasks = JoinSet::new();
    for _ in 0..STREAMS {
        let (stack, streaming) = (stack.clone(), streaming.clone());
        tasks.spawn(async move {
            let mut body = stack.oneshot(Request::new(())).await.unwrap().into_body();
            assert!(body.frame().await.unwrap().unwrap().is_data());
            streaming.add_permits(1);
            let error = body.frame().await.unwrap().unwrap_err();
            assert!(body.frame().await.is_none());
            error.downcast::<Aborted>().unwrap().reason().text().to_owned()
        });
    }
    let all = u32::try_from(STREAMS).unwrap();
    let _ = timeout(LIMIT, streaming.acquire_many(all)).await.expect("not all began").unwrap();
    tokio::task::yield_now().await;
    assert_eq!(root.dependents(), STREAMS);

    let over = Arc::new(AtomicBool::new(false));
    let ticker = tokio::spawn(tick_until(over.clone()));
    tokio::task::yield_now().await;
    let start = Instant::now();
    assert!(root.abort("all of you"));
    let call = start.elapsed();
    assert_eq!(tracker.live(), STREAMS, "a hook ran within the call");
    assert!(!root.abort("once more"));
    let mut told = Duration::ZERO;
    for n in 0..STREAMS {
        let ending = endings.next(LIMIT).await;
        assert_eq!((ending.outcome, ending.reason()), (Outcome::Aborted, Some("all of you")));
        if n < STREAMS * 99 / 100 {
            told = start.elapsed();
        }
    }
    while let Some(reason) = timeout(LIMIT, tasks.join_next()).await.expect("a stream sleeps on") {
        assert_eq!(reason.unwrap(), "all of you");
    }
    over.store(true, Ordering::SeqCst);
    assert_eq!((root.dependents(), tracker.live()), (0, 0));
    Times { call, told, stall: ticker.await.unwrap() }
}

/// Sleeps a millisecond again and again, and says by how much the worst was late.
async fn tick_until(over: Arc<AtomicBool>) -> Duration {
    let mut worst = Duration::ZERO;
    while !over.load(Ordering::SeqCst) {
        let start = Instant::now();
        sleep(Duration::from_millis(1)).await;
        worst = worst.max(start.elapsed());
    }
    worst
}

// On one thread, so that whatever holds it up holds up everything.
#[tokio::test]
async fn ten_thousand_streams_are_aborted_by_one_handle_and_the_runtime_goes_on() {
    let mut all = Vec::new();
    for _ in 0..5 {
        all.push(abort_all().await);
    }
    let middle = |of: fn(&Times) -> Duration| median(all.iter().map(of).collect());
    let (call, told, stall) = (middle(|t| t.call), middle(|t| t.told), middle(|t| t.stall));
    // The bounds are those of a build that is optimized.
    let slow = if cfg!(debug_assertions) { 10 } else { 1 };
    assert!(call <= Duration::from_millis(10) * slow, "abort() took {call:?}");
    assert!(told <= SIGNAL * slow, "the endings took {told:?}");
    assert!(stall <= Duration::from_millis(20) * slow, "the runtime stood still for {stall:?}");
}
