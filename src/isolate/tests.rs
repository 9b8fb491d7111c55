//! Each row of the module's table. A body that blocks its thread, and threads at all, need real time here.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use testkit::{Eos, Event, Gate, Log, Script, ScriptError, drain};
use tokio::{
    runtime::{Builder, Runtime},
    time::{Instant, sleep, timeout},
};
use tower::{Layer, ServiceExt, service_fn};

use super::{IsolateBody, IsolateLayer, PumpLost};
use crate::{
    abort::{AbortBody, AbortHandle, Aborted},
    error::{BodyPanicked, BoxError},
    exchange::{Exchange, Outcome},
    finalize::{Ending, FinalizeLayer},
};

const LIMIT: Duration = Duration::from_secs(5);
const STUCK: Duration = Duration::from_secs(1);

/// One chunk, then a poll that blocks its thread.
#[derive(Default)]
struct Blocking {
    polls: usize,
    stuck: Arc<AtomicBool>,
    dropped: Arc<AtomicBool>,
}

impl Body for Blocking {
    type Data = Bytes;
    type Error = Infallible;

    #[allow(clippy::disallowed_methods)] // The very thing that is to be survived.
    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.polls += 1;
        if self.polls == 1 {
            return Poll::Ready(Some(Ok(Frame::data("kept".into()))));
        }
        self.stuck.store(true, Ordering::SeqCst);
        std::thread::sleep(STUCK);
        Poll::Ready(Some(Ok(Frame::data("late".into()))))
    }
}

impl Drop for Blocking {
    fn drop(&mut self) {
        self.dropped.store(true, Ordering::SeqCst);
    }
}

async fn until(what: impl Fn() -> bool) {
    timeout(LIMIT, async {
        while !what() {
            sleep(Duration::from_millis(1)).await;
        }
    })
    .await
    .unwrap();
}

fn one_worker() -> Runtime {
    Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

/// A body through the layer.
async fn through(request: Request<()>, response: Response<Script>) -> IsolateBody<Script> {
    let response = std::sync::Mutex::new(Some(response));
    let service = IsolateLayer::new(2).layer(service_fn(|_: Request<()>| async {
        Ok::<_, ScriptError>(response.lock().unwrap().take().unwrap())
    }));
    service.oneshot(request).await.unwrap().into_body()
}

#[test]
fn an_abort_ends_a_stream_whose_body_blocks_its_thread_and_what_came_before_is_kept() {
    let runtime = one_worker();
    let body = Blocking::default();
    let (stuck, dropped) = (body.stuck.clone(), body.dropped.clone());
    let handle = AbortHandle::new();
    let abort = handle.clone();
    let task = runtime.spawn(async move {
        let mut body = AbortBody::new(IsolateBody::new(body, 4), &abort);
        let chunk = body.frame().await.unwrap().unwrap().into_data().unwrap();
        let error = body.frame().await.unwrap().unwrap_err();
        assert!(body.frame().await.is_none());
        (chunk, error, Instant::now())
    });
    // On the same worker, which the body would hold.
    let (chunk, error, waited) = runtime.block_on(async move {
        tokio::spawn(async move {
            until(|| stuck.load(Ordering::SeqCst)).await;
            let start = Instant::now();
            assert!(handle.abort("stop"));
            let (chunk, error, end) = task.await.unwrap();
            (chunk, error, end - start)
        })
        .await
        .unwrap()
    });
    assert!(waited < STUCK / 10, "{waited:?}");
    assert_eq!(chunk, "kept");
    assert_eq!(error.downcast_ref::<Aborted>().unwrap().reason().text(), "stop");
    assert!(!dropped.load(Ordering::SeqCst), "nobody can drop it before its poll returns");
    runtime.block_on(until(|| dropped.load(Ordering::SeqCst)));
}

#[test]
fn a_body_that_blocks_its_thread_does_not_hold_up_other_tasks() {
    let runtime = one_worker();
    let ticks = Arc::new(AtomicUsize::new(0));
    let count = ticks.clone();
    runtime.spawn(async move {
        loop {
            sleep(Duration::from_millis(5)).await;
            count.fetch_add(1, Ordering::SeqCst);
        }
    });
    let mut body = {
        let _here = runtime.enter();
        IsolateBody::new(Blocking::default(), 1)
    };
    let reader = runtime.spawn(async move {
        let mut chunks = Vec::new();
        for _ in 0..2 {
            chunks.push(body.frame().await.unwrap().unwrap().into_data().unwrap());
        }
        chunks
    });
    assert_eq!(runtime.block_on(reader).unwrap(), ["kept", "late"]);
    assert!(ticks.load(Ordering::SeqCst) > 50, "{ticks:?} in a second");
    runtime.shutdown_background(); // It is stuck again.
}

#[tokio::test]
async fn frames_and_trailers_pass_unchanged_in_order() {
    let trailers = HeaderMap::from_iter([("x-sum".parse().unwrap(), "1".parse().unwrap())]);
    let mut script = Script::new();
    for n in 0..100 {
        script = script.data(n.to_string()).pending();
    }
    let log = script.log();
    let seen = drain(IsolateBody::new(script.trailers(trailers.clone()).stall(), 3)).await;
    assert_eq!(seen.frames, (0..100).map(|n| Bytes::from(n.to_string())).collect::<Vec<_>>());
    assert_eq!((seen.trailers, seen.error.is_none()), (Some(trailers), true));
    assert!(log.dropped_at().is_some(), "when the end is read the inner body is gone");
}

#[tokio::test]
async fn the_end_is_the_inner_bodys_by_none_and_by_its_flag() {
    for eos in [Eos::Never, Eos::Truthful] {
        let script = Script::new().data("x").eos(eos);
        let log = script.log();
        let mut body = IsolateBody::new(script, 1);
        body.frame().await.unwrap().unwrap();
        assert!(!body.is_end_stream(), "not before it was read");
        assert!(body.frame().await.is_none());
        assert!(body.is_end_stream() && log.dropped_at().is_some());
        assert!(body.frame().await.is_none(), "for ever");
        assert_eq!(log.count(|event| *event == Event::End), usize::from(eos == Eos::Never));
    }
}

#[tokio::test]
async fn an_error_reaches_the_reader_after_what_came_before_it_and_is_the_very_same() {
    let mut body = IsolateBody::new(Script::new().data("x").error("boom").data("late"), 4);
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "x");
    let error = body.frame().await.unwrap().unwrap_err();
    assert_eq!(error.downcast_ref::<ScriptError>().unwrap().to_string(), "boom");
    assert!(body.frame().await.is_none());
    assert_eq!(body.size_hint().exact(), Some(0));
}

#[tokio::test]
async fn a_panic_reaches_the_reader_as_an_error_and_is_the_cause_of_the_end() {
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let log = Log::new();
    let (outside, inside) = (tell.clone(), tell);
    let service = tower::ServiceBuilder::new()
        .layer(FinalizeLayer::new(move |_| {
            let tell = outside.clone();
            move |ending: Ending| tell.send(("outside", ending)).unwrap()
        }))
        .layer(IsolateLayer::new(4))
        .layer(FinalizeLayer::new(move |_| {
            let tell = inside.clone();
            move |ending: Ending| tell.send(("inside", ending)).unwrap()
        }))
        .service(service_fn(|_: Request<()>| async {
            let script = Script::new().data("x").panic("boom").log_into(&log);
            Ok::<_, ScriptError>(Response::new(script))
        }));
    let body = service.oneshot(Request::new(())).await.unwrap().into_body();
    let seen = drain(body).await;
    assert_eq!(seen.data, "x");
    let error: BoxError = seen.error.unwrap();
    assert_eq!(error.downcast_ref::<BodyPanicked>().unwrap().message(), "boom");
    for place in ["inside", "outside"] {
        let (at, ending) = told.recv().await.unwrap();
        assert_eq!((at, ending.outcome, ending.reason()), (place, Outcome::Panicked, Some("boom")));
    }
    assert_eq!(log.count(|event| *event == Event::Dropped { panicking: false }), 1);
}

#[tokio::test]
async fn without_a_shared_exchange_a_panic_is_told_as_one_too() {
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let body = IsolateBody::new(Script::new().panic("boom"), 1);
    let body = crate::finalize::FinalizeBody::new(body, |ending| tell.send(ending).unwrap());
    drain(body).await;
    let ending = told.recv().await.unwrap();
    assert_eq!((ending.outcome, ending.reason()), (Outcome::Panicked, Some("boom")));
}

#[tokio::test]
async fn the_body_is_read_from_the_start_but_never_more_than_its_capacity_and_one_ahead() {
    for (capacity, ahead) in [(0, 2), (1, 2), (5, 6)] {
        let script = Script::new().endless("x");
        let log = script.log();
        let taken = || log.count(|event| *event == Event::Data(1));
        let mut body = IsolateBody::new(script, capacity);
        until(|| taken() == ahead).await;
        for read in 1..4 {
            body.frame().await.unwrap().unwrap();
            until(|| taken() == ahead + read).await;
        }
        sleep(Duration::from_millis(20)).await;
        assert_eq!(taken(), ahead + 3);
        drop(body);
        log.dropped_within(LIMIT).await;
    }
    drop(IsolateBody::new(Script::new(), usize::MAX));
    drop(IsolateBody::new(Script::new().stall(), usize::MAX));
}

#[tokio::test]
async fn a_reader_that_leaves_has_the_inner_body_dropped_at_once_on_its_own_thread() {
    let script = Script::new().data("x").stall();
    let log = script.log();
    let mut body = IsolateBody::new(script, 1);
    body.frame().await.unwrap().unwrap();
    log.first(|event| *event == Event::Poll).await;
    drop(body);
    log.dropped_within(LIMIT).await;
}

#[test]
fn a_runtime_that_shuts_down_is_not_held_up_and_its_reader_gets_an_error() {
    for runtime in [one_worker(), Builder::new_current_thread().enable_all().build().unwrap()] {
        let stalled = Script::new().data("x").stall();
        let blocked = Script::new().endless("x");
        let logs = [stalled.log(), blocked.log()];
        let mut bodies = runtime
            .block_on(async { [IsolateBody::new(stalled, 4), IsolateBody::new(blocked, 1)] });
        runtime.block_on(logs[0].first(|event| *event == Event::Data(1)));
        runtime.block_on(logs[1].first(|event| *event == Event::Data(1)));
        drop(runtime); // Waits for the threads.
        assert!(logs.iter().all(|log| log.dropped_at().is_some()));
        let other = Builder::new_current_thread().build().unwrap();
        for body in &mut bodies {
            let error = other.block_on(drain(body)).error.unwrap();
            assert!(error.is::<PumpLost>(), "never a clean end: {error}");
        }
        drop(bodies);
    }
}

#[test]
fn a_body_that_waits_for_a_thread_when_the_runtime_shuts_down_is_lost_too() {
    let runtime = Builder::new_current_thread().max_blocking_threads(1).build().unwrap();
    let (first, second) = (Script::new().stall(), Script::new().data("x"));
    let log = second.log();
    let (first, second) =
        runtime.block_on(async { (IsolateBody::new(first, 1), IsolateBody::new(second, 1)) });
    drop(runtime);
    assert_eq!(log.polls(), 0);
    let other = Builder::new_current_thread().build().unwrap();
    assert!(other.block_on(drain(second)).error.unwrap().is::<PumpLost>());
    drop(first);
}

#[tokio::test]
async fn sizes_are_the_inner_bodys_less_what_was_read() {
    let exact = || Script::new().data("ab").data("c").stall().exact_size(3);
    let mut body = through(Request::new(()), Response::new(exact())).await;
    for left in [3, 1, 0] {
        assert_eq!(body.size_hint().exact(), Some(left));
        if left > 0 {
            body.frame().await.unwrap().unwrap();
        }
    }
    let mut hint = SizeHint::new();
    hint.set_lower(1);
    hint.set_upper(9);
    let mut body = IsolateBody::new(Script::new().data("ab").hint(hint), 1);
    body.frame().await.unwrap().unwrap();
    assert_eq!((body.size_hint().lower(), body.size_hint().upper()), (0, Some(7)));
    let mut lying = IsolateBody::new(Script::new().data("abc").exact_size(1), 1);
    lying.frame().await.unwrap().unwrap();
    assert_eq!(lying.size_hint().exact(), Some(0));
}

#[tokio::test]
async fn tunnels_and_responses_without_a_body_are_left_to_their_reader() {
    for (method, status) in
        [(Method::GET, 101), (Method::CONNECT, 200), (Method::HEAD, 200), (Method::GET, 204)]
    {
        let request = Request::builder().method(method).body(()).unwrap();
        let script = Script::new().data("raw");
        let log = script.log();
        let body = through(request, Response::builder().status(status).body(script).unwrap()).await;
        sleep(Duration::from_millis(5)).await;
        assert_eq!(log.polls(), 0, "no thread reads it");
        let seen = drain(body).await;
        assert_eq!(seen.data, "raw");
    }
    let body = IsolateBody::new(Script::new(), 1);
    assert!(body.is_end_stream(), "an empty one");
}

#[test]
fn without_a_runtime_the_body_is_polled_by_its_reader() {
    let log = Log::new();
    let body = IsolateBody::new(Script::new().data("x").error("boom").log_into(&log), 1);
    assert_eq!(log.polls(), 0);
    let other = Builder::new_current_thread().build().unwrap();
    let seen = other.block_on(drain(body));
    assert_eq!((&*seen.data, seen.error.unwrap().to_string()), (&b"x"[..], "boom".to_owned()));
}

#[tokio::test]
async fn a_body_that_waits_is_woken_on_its_thread() {
    let gate = Gate::new();
    let body = IsolateBody::new(
        Script::new().data("a").wait(&gate).data("b").sleep(Duration::from_millis(5)).data("c"),
        1,
    );
    let reading = tokio::spawn(drain(body));
    tokio::task::yield_now().await;
    gate.open();
    assert_eq!(timeout(LIMIT, reading).await.unwrap().unwrap().data, "abc");
}

#[tokio::test]
async fn an_error_of_the_service_is_handed_on_and_the_exchange_found() {
    let service = IsolateLayer::new(1).layer(service_fn(|request: Request<()>| async move {
        assert!(Exchange::get(request.extensions()).is_some());
        Err::<Response<Script>, _>(ScriptError::new("refused"))
    }));
    let error: ScriptError = service.oneshot(Request::new(())).await.unwrap_err();
    assert_eq!(error.to_string(), "refused");
}
