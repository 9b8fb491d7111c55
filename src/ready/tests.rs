//! What is called at once, and what waits.

use std::{
    future::{Ready, ready},
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
};

use testkit::{Gate, Wakes};
use tower::{Service, limit::ConcurrencyLimit, service_fn};

use super::AlwaysReady;

type Readiness = Poll<Result<(), &'static str>>;

/// Is as ready as it was told, and counts what becomes of it.
#[derive(Default)]
struct Told {
    answers: Arc<Mutex<Vec<Readiness>>>,
    calls: Arc<AtomicUsize>,
    clones: Arc<AtomicUsize>,
}

impl Told {
    /// `answers`, first to last.
    fn new<const N: usize>(mut answers: [Readiness; N]) -> Self {
        answers.reverse();
        Self { answers: Arc::new(Mutex::new(answers.into())), ..Self::default() }
    }

    fn counts(&self) -> (usize, usize) {
        (self.calls.load(Ordering::SeqCst), self.clones.load(Ordering::SeqCst))
    }
}

impl Clone for Told {
    fn clone(&self) -> Self {
        self.clones.fetch_add(1, Ordering::SeqCst);
        let Self { answers, calls, clones } = self;
        Self { answers: answers.clone(), calls: calls.clone(), clones: clones.clone() }
    }
}

impl Service<u8> for Told {
    type Response = u8;
    type Error = &'static str;
    type Future = Ready<Result<u8, &'static str>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Readiness {
        self.answers.lock().unwrap().pop().unwrap()
    }

    fn call(&mut self, request: u8) -> Self::Future {
        self.calls.fetch_add(1, Ordering::SeqCst);
        ready(Ok(request))
    }
}

const READY: Readiness = Poll::Ready(Ok(()));
const FAILED: Readiness = Poll::Ready(Err("closed"));

fn poll_ready<S>(service: &mut AlwaysReady<S>) -> Poll<Result<(), S::Error>>
where
    S: Service<u8> + Clone,
{
    service.poll_ready(&mut Context::from_waker(Waker::noop()))
}

fn poll_for<F: Future>(future: &mut Pin<Box<F>>, wakes: &Wakes) -> Poll<F::Output> {
    future.as_mut().poll(&mut Context::from_waker(&wakes.waker()))
}

fn poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn a_service_that_is_ready_is_called_at_once_and_never_cloned() {
    let mut service = AlwaysReady::new(Told::new([READY, Poll::Pending, READY]));
    assert_eq!(poll_ready(&mut service), READY);
    let mut first = service.call(1);
    assert_eq!(service.get_ref().counts(), (1, 0));
    // It is asked again, and is ready then.
    assert_eq!([poll_ready(&mut service), poll_ready(&mut service)], [READY, READY]);
    let mut second = service.call(2);
    assert_eq!(service.get_ref().counts(), (2, 0));
    assert_eq!((poll(&mut first), poll(&mut second)), (Poll::Ready(Ok(1)), Poll::Ready(Ok(2))));
}

#[test]
fn a_request_waits_in_its_future_until_the_service_is_ready() {
    let mut service = AlwaysReady::new(Told::new([Poll::Pending, Poll::Pending, READY]));
    assert_eq!(poll_ready(&mut service), READY);
    let mut calling = service.call(1);
    assert_eq!(poll(&mut calling), Poll::Pending);
    assert_eq!(service.get_ref().counts(), (0, 1));
    assert_eq!(poll(&mut calling), Poll::Ready(Ok(1)));
    assert_eq!(service.get_ref().counts(), (1, 1));
}

#[test]
fn a_failure_is_told_before_the_call_or_else_by_the_future_that_waits() {
    let mut service = AlwaysReady::new(Told::new([FAILED, Poll::Pending, FAILED]));
    assert_eq!(poll_ready(&mut service), FAILED);
    assert_eq!(poll_ready(&mut service), READY);
    let mut calling = service.call(1);
    assert_eq!(poll(&mut calling), Poll::Ready(Err("closed")));
    assert_eq!(service.get_ref().counts(), (0, 1));
    assert_eq!(poll(&mut calling), Poll::Pending, "polled after its end");
}

/// One request at a time, until the gate of it is opened.
fn one_at_a_time(
    gates: [&Gate; 3],
) -> AlwaysReady<impl Service<u8, Response = u8, Error = (), Future: Send> + Clone> {
    let gates = gates.map(Gate::clone);
    let inner = service_fn(move |request: u8| {
        let gate = gates[usize::from(request)].clone();
        Box::pin(async move {
            gate.opened().await;
            Ok(request)
        })
    });
    AlwaysReady::new(ConcurrencyLimit::new(inner, 1))
}

#[tokio::test]
async fn a_queue_keeps_its_order_whoever_polls_first_and_a_place_that_is_given_up_is_free() {
    let gates = [(); 3].map(|()| Gate::new());
    let [first, second, third] = &gates;
    let mut service = one_at_a_time([first, second, third]);
    let mut call = |request| {
        assert_eq!(poll_ready(&mut service), Poll::Ready(Ok(())));
        Box::pin(service.call(request))
    };
    let (mut a, mut b, mut c) = (call(0), call(1), call(2));
    let wakes = [(); 3].map(|()| Wakes::new());
    // The last one is polled first.
    assert!(poll_for(&mut c, &wakes[2]).is_pending());
    assert!(poll_for(&mut b, &wakes[1]).is_pending());
    gates.iter().for_each(Gate::open);
    assert!(poll_for(&mut c, &wakes[2]).is_pending(), "the first one holds the only place");
    assert_eq!(poll_for(&mut a, &wakes[0]), Poll::Ready(Ok(0)));
    drop(a);
    assert!(poll_for(&mut c, &wakes[2]).is_pending(), "it is the second one's turn");
    assert_eq!(wakes[1].count(), 1);
    drop(b);
    assert_eq!(wakes[2].count(), 1, "the second one gave up its place");
    assert_eq!(poll_for(&mut c, &wakes[2]), Poll::Ready(Ok(2)));
}
