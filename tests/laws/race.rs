//! An abort at the very moment of the end: whatever comes first counts, for everyone (faults.md 26).

use std::{
    future::ready,
    hint::spin_loop,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    thread,
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use testkit::{Polled, Script, ScriptError, Wakes};
use tokio::{runtime::Builder, time::Instant};
use tower::{Service, ServiceBuilder, service_fn};
use tower_lifeline::{
    abort::{AbortHandle, AbortLayer},
    exchange::Outcome,
    finalize::FinalizeLayer,
};

use crate::{
    calling::{call, poll_call},
    probe::Probe,
    reading::{Item, data, poll, trailers},
    subjects::{Outer, Part, REVERSE, SSE, STACK, Subject, answering, boxed, reply},
};

/// For each of the five stacks.
const TRIES: usize = 2500;

const WATCHED_INSIDE: Subject =
    Subject::layer("Abort > Finalize", &[Part::Abort, Part::Finalize], |upstream, probe| {
        let (reporter, handle) = (probe.clone(), probe.handle.clone());
        let abort = AbortLayer::new(move |_| handle.clone());
        let finalize = FinalizeLayer::new(move |_| reporter.hook());
        boxed(ServiceBuilder::new().layer(abort).layer(finalize).service(upstream))
    });

const WATCHED_OUTSIDE: Subject =
    Subject::layer("Finalize > Abort", &[Part::Finalize, Part::Abort], |upstream, probe| {
        let (reporter, handle) = (probe.clone(), probe.handle.clone());
        let abort = AbortLayer::new(move |_| handle.clone());
        let finalize = FinalizeLayer::new(move |_| reporter.hook());
        boxed(ServiceBuilder::new().layer(finalize).layer(abort).service(upstream))
    });

/// What the other thread does.
#[derive(Default)]
struct Aborter {
    handle: Mutex<Option<AbortHandle>>,
    delay: AtomicUsize,
    said: Mutex<Option<bool>>,
    stop: AtomicBool,
}

/// Lets the aborter go home, also when the test has failed.
struct GoHome<'a>(&'a Aborter);

impl Drop for GoHome<'_> {
    fn drop(&mut self) {
        self.0.stop.store(true, Ordering::Release);
    }
}

impl Aborter {
    fn run(&self) {
        while !self.stop.load(Ordering::Acquire) {
            let handle = self.handle.lock().unwrap().take();
            let Some(handle) = handle else {
                thread::yield_now();
                continue;
            };
            spin(self.delay.load(Ordering::Relaxed));
            let said = handle.abort("stop");
            *self.said.lock().unwrap() = Some(said);
        }
    }

    /// Returns when the aborter is on its way.
    fn start(&self, handle: &AbortHandle, delay: usize) {
        self.delay.store(delay, Ordering::Relaxed);
        *self.handle.lock().unwrap() = Some(handle.clone());
        wait_until(|| self.handle.lock().unwrap().is_none().then_some(()));
    }

    /// What `abort` said, once it has.
    fn said(&self) -> bool {
        wait_until(|| self.said.lock().unwrap().take())
    }
}

fn wait_until<T>(mut ready: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = ready() {
            return value;
        }
        assert!(start.elapsed() < Duration::from_secs(20), "it never comes");
        thread::yield_now();
    }
}

fn spin(turns: usize) {
    (0..turns).for_each(|_| spin_loop());
}

/// How much later the aborter sets out than the reader, in turns of [`spin`].
#[derive(Default)]
struct Delay {
    turns: isize,
    step: isize,
}

impl Delay {
    /// Closer to the moment at which it goes the other way; in haste while that is far.
    fn adjust(&mut self, aborted: bool) {
        let later = if aborted { 1 } else { -1 };
        let same_way = self.step.signum() == later;
        self.step = if same_way { (self.step * 2).clamp(-4096, 4096) } else { later };
        self.turns += self.step;
    }
}

fn read(body: &mut Outer) -> Item {
    let wakes = Wakes::new();
    wait_until(|| poll(body, &wakes).filter(Item::is_terminal))
}

/// Reads and aborts at once, again and again, and checks that all agree on who was first.
fn race(subject: &Subject) {
    // Two threads that race need both cores.
    static TRACK: Mutex<()> = Mutex::new(());
    let _track = TRACK.lock().unwrap_or_else(PoisonError::into_inner);
    let aborter = Aborter::default();
    let (mut aborted_first, mut delay) = (0, Delay::default());
    thread::scope(|scope| {
        scope.spawn(|| aborter.run());
        let _go_home = GoHome(&aborter);
        for _ in 0..TRIES {
            let probe = Probe::new();
            let script = Script::new().data("data: 1\n\n").data("data: 2\n\n").trailers(trailers());
            let upstream = answering(reply(SSE, script.log_into(&probe.log)));
            let Poll::Ready(Ok(response)) = poll_call(&mut call(subject, &probe, upstream)) else {
                unreachable!("it answers at once")
            };
            let mut body = response.into_body();

            aborter.start(&probe.handle, delay.turns.max(0).unsigned_abs());
            spin(delay.turns.min(0).unsigned_abs());
            let last = read(&mut body);
            let said = aborter.said();
            drop(body);
            // The body that was cut may be on its way out, on a thread of the runtime.
            wait_until(|| (probe.outcomes().len() == subject.reporters()).then_some(()));
            assert_told_once(subject, &probe, said);
            assert_eq!(last != Item::Trailers(trailers()), said, "{subject}: {last:?}");
            delay.adjust(said);
            aborted_first += usize::from(said);
        }
    });
    assert!((1..TRIES).contains(&aborted_first), "{subject}: {aborted_first} of {TRIES}");
}

/// One ending each. A Tee that had captured everything when the abort came may say so.
fn assert_told_once(subject: &Subject, probe: &Probe, aborted: bool) {
    let outcome = if aborted { Outcome::Aborted } else { Outcome::Completed };
    let mut told = probe.outcomes();
    if probe.recording.trailers().is_some() && !subject.has_around(Part::Tee, Part::Abort) {
        told.retain(|told| *told != (Part::Tee, Outcome::Completed));
    }
    let expected = [(Part::Finalize, outcome), (Part::Tee, outcome)];
    assert_eq!(told, expected[..told.len().max(1)], "{subject}");
}

#[test]
fn an_abort_that_races_the_end_agrees_with_the_outcome_where_there_is_no_runtime() {
    race(&WATCHED_INSIDE);
    race(&WATCHED_OUTSIDE);
}

#[test]
fn an_abort_that_races_the_end_agrees_with_the_outcome_under_a_runtime() {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let _within = runtime.enter();
    race(&WATCHED_INSIDE);
    race(&STACK);
    race(&REVERSE);
    runtime.shutdown_timeout(Duration::from_secs(5));
}

/// Aborts itself while it is polled, and goes on.
struct Suicidal {
    handle: AbortHandle,
    then: Option<Poll<Item>>,
    flags_its_end: bool,
}

impl Body for Suicidal {
    type Data = Bytes;
    type Error = ScriptError;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Polled<Self> {
        assert!(self.handle.abort("stop"));
        self.then.take().unwrap().map(|item| match item {
            Item::Data(data) => Some(Ok(Frame::data(data))),
            Item::Trailers(trailers) => Some(Ok(Frame::trailers(trailers))),
            Item::Error(message) => Some(Err(ScriptError::new(message))),
            Item::End => None,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.flags_its_end && self.then.is_none()
    }
}

async fn assert_aborted_while_polled(then: Poll<Item>, flags_its_end: bool) {
    let probe = Probe::new();
    let reporter = probe.clone();
    let handle = probe.handle.clone();
    let body = Suicidal { handle: handle.clone(), then: Some(then.clone()), flags_its_end };
    let body = Arc::new(Mutex::new(Some(body)));
    let mut service = ServiceBuilder::new()
        .layer(AbortLayer::new(move |_| handle.clone()))
        .layer(FinalizeLayer::new(move |_| reporter.hook()))
        .service(service_fn(move |_: Request<()>| {
            ready(Ok::<_, ScriptError>(Response::new(body.lock().unwrap().take().unwrap())))
        }));
    let mut body = service.call(Request::new(())).await.unwrap().into_body().boxed_unsync();
    let wakes = Wakes::new();
    // A data frame that was already there is handed on.
    if let Poll::Ready(Item::Data(frame)) = then {
        assert_eq!(poll(&mut body, &wakes), Some(Item::Data(frame)));
    }
    assert_eq!(poll(&mut body, &wakes), Some(Item::Error("aborted: stop".into())));
    assert_eq!(poll(&mut body, &wakes), Some(Item::End));
    probe.assert_ended(&WATCHED_INSIDE, Outcome::Aborted);
}

#[tokio::test]
async fn an_abort_within_a_poll_follows_the_frame_that_this_poll_gives() {
    assert_aborted_while_polled(Poll::Ready(data("x")), false).await;
    assert_aborted_while_polled(Poll::Ready(data("x")), true).await;
}

// Nobody else would wake the reader.
#[tokio::test]
async fn an_abort_within_a_poll_that_is_pending_is_told_by_that_poll() {
    assert_aborted_while_polled(Poll::Pending, false).await;
}

#[tokio::test]
async fn an_abort_within_the_poll_that_gives_the_end_is_what_ends_it() {
    for end in [Item::End, Item::Trailers(trailers()), Item::Error("boom".into())] {
        assert_aborted_while_polled(Poll::Ready(end), false).await;
    }
}
