//! A queue inside: what waits in `poll_ready` is a request like any other to all layers outside of it.
#![cfg(feature = "final-frame")]
// Clippy's own exception for tests does not reach the functions that tests share.
#![allow(clippy::panic, clippy::unwrap_used)]

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use testkit::Gate;
use tokio::{
    sync::mpsc::{UnboundedReceiver, unbounded_channel},
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};
use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
use tower_lifeline::{
    Lifeline,
    early_head::EarlyHead,
    error::BoxError,
    exchange::{Exchange, Outcome},
    finalize::{Ending, FinalizeLayer},
    timeouts::{Limits, TimeoutsLayer},
};

const SECOND: Duration = Duration::from_secs(1);

type Answer = Result<Response<UnsyncBoxBody<Bytes, BoxError>>, Infallible>;
type Calling = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// A lifeline around a service that answers one request at a time, when the gate is open.
struct Queue {
    lifeline: Lifeline,
    call: Box<dyn FnMut(Request<Full<Bytes>>) -> Calling>,
    gate: Gate,
    called: Arc<AtomicUsize>,
    told: UnboundedReceiver<Ending>,
}

impl Queue {
    fn new(lifeline: Lifeline) -> Self {
        let ((tell, told), gate) = (unbounded_channel(), Gate::new());
        let (opened, called) = (gate.clone(), Arc::<AtomicUsize>::default());
        let calls = called.clone();
        let inner = service_fn(move |_: Request<Full<Bytes>>| {
            calls.fetch_add(1, Ordering::SeqCst);
            let opened = opened.clone();
            async move {
                opened.opened().await;
                let event = Full::<Bytes>::from("data: 1\n\n");
                let response = Response::builder().header("content-type", "text/event-stream");
                Ok::<_, Infallible>(response.body(event).unwrap())
            }
        });
        let service = ServiceBuilder::new()
            .layer(lifeline.layer(FinalizeLayer::new(move |_| {
                let tell = tell.clone();
                move |ending| tell.send(ending).unwrap()
            })))
            .concurrency_limit(1)
            .service(inner);
        let call = Box::new(move |request| -> Calling {
            let service = service.clone();
            Box::pin(async move { Ok(service.oneshot(request).await?.map(BodyExt::boxed_unsync)) })
        });
        Self { lifeline, call, gate, called, told }
    }

    /// Sends a request, and gives the exchange of it.
    async fn send(&mut self) -> (Exchange, JoinHandle<Answer>) {
        let request = Request::builder().header("accept", "text/event-stream");
        let mut request = request.body(Full::default()).unwrap();
        let exchange = Exchange::of(&mut request);
        let answer = tokio::spawn((self.call)(request));
        tokio::task::yield_now().await;
        (exchange, answer)
    }

    fn called(&self) -> usize {
        self.called.load(Ordering::SeqCst)
    }

    async fn ended(&mut self) -> Outcome {
        timeout(100 * SECOND, self.told.recv()).await.unwrap().unwrap().outcome
    }

    /// There is an ending for each request, and these are all.
    async fn assert_ended(mut self, outcomes: &[Outcome]) {
        let mut ended = Vec::new();
        for _ in outcomes {
            ended.push(self.ended().await);
        }
        assert_eq!(ended, outcomes);
        assert!(self.told.try_recv().is_err(), "one each");
        assert_eq!(self.lifeline.streams().keys(), [], "nothing is left");
    }
}

async fn read(answer: JoinHandle<Answer>) -> (u16, Bytes) {
    let response = answer.await.unwrap().unwrap();
    let status = response.status().as_u16();
    (status, response.into_body().collect().await.unwrap().to_bytes())
}

#[tokio::test(start_paused = true)]
async fn requests_that_wait_are_listed_can_be_aborted_and_have_an_ending_if_their_client_leaves() {
    let mut queue = Queue::new(Lifeline::new());
    let (_, first) = queue.send().await;
    let (_, second) = queue.send().await;
    let (third_id, third) = queue.send().await;
    let (_, fourth) = queue.send().await;
    assert_eq!((queue.lifeline.streams().keys().len(), queue.called()), (4, 1));

    assert_eq!(queue.lifeline.streams().abort(&third_id.id(), "stop"), Some(true));
    assert_eq!(read(third).await, (503, "aborted: stop\n".into()));
    second.abort(); // Its client leaves.
    assert!(second.await.is_err());
    assert_eq!((queue.lifeline.streams().keys().len(), queue.called()), (2, 1));

    queue.gate.open();
    assert_eq!(read(first).await, (200, "data: 1\n\n".into()));
    assert_eq!(read(fourth).await, (200, "data: 1\n\n".into()));
    assert_eq!(queue.called(), 2);
    let completed = Outcome::Completed;
    queue.assert_ended(&[Outcome::Aborted, Outcome::Disconnected, completed, completed]).await;
}

#[tokio::test(start_paused = true)]
async fn a_request_that_waits_for_too_long_is_answered_by_the_head_limit_and_gives_up_its_place() {
    let timeouts = TimeoutsLayer::new(Limits::new().head(30 * SECOND));
    let mut queue = Queue::new(Lifeline::new().timeouts(timeouts));
    let start = Instant::now();
    let (_, first) = queue.send().await;
    sleep(10 * SECOND).await;
    let (_, second) = queue.send().await;
    sleep(5 * SECOND).await;
    let (_, third) = queue.send().await;
    assert_eq!(read(first).await.0, 504);
    assert_eq!((start.elapsed(), queue.called()), (30 * SECOND, 2), "the second has its place");
    second.abort();
    assert_eq!(read(third).await.0, 504);
    assert_eq!((start.elapsed(), queue.called()), (45 * SECOND, 3));
    queue.gate.open();
    let (_, fourth) = queue.send().await;
    assert_eq!(read(fourth).await, (200, "data: 1\n\n".into()));
    let (disconnected, timed_out) = (Outcome::Disconnected, Outcome::TimedOut);
    queue.assert_ended(&[timed_out, disconnected, timed_out, Outcome::Completed]).await;
}

#[tokio::test(start_paused = true)]
async fn a_request_that_waits_is_given_an_early_head_and_then_its_stream() {
    let mut queue = Queue::new(Lifeline::new().early_head(5 * SECOND));
    let (_, first) = queue.send().await;
    let (exchange, second) = queue.send().await;
    let start = Instant::now();
    let response = second.await.unwrap().unwrap();
    assert_eq!((response.status().as_u16(), start.elapsed()), (200, 5 * SECOND));
    assert!(exchange.fact::<EarlyHead>().is_some());
    assert_eq!(queue.called(), 1, "it waits still");
    queue.gate.open();
    assert_eq!(read(first).await, (200, "data: 1\n\n".into()));
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "data: 1\n\n");
    queue.assert_ended(&[Outcome::Completed, Outcome::Completed]).await;
}

// A service that sheds load when its inner one is not ready stands where it can see that.
#[tokio::test]
async fn load_is_shed_inside_of_the_layers_and_told_as_a_failure() {
    let (tell, mut told) = unbounded_channel();
    let mut service = ServiceBuilder::new()
        .layer(FinalizeLayer::new(move |_| {
            let tell = tell.clone();
            move |ending: Ending| tell.send(ending.outcome).unwrap()
        }))
        .load_shed()
        .concurrency_limit(1)
        .service(service_fn(|_: Request<()>| async {
            Ok::<_, Infallible>(std::future::pending::<Response<Full<Bytes>>>().await)
        }));
    let first = service.ready().await.unwrap().call(Request::new(()));
    let shed = service.ready().await.unwrap().call(Request::new(())).await;
    assert!(shed.unwrap_err().is::<tower::load_shed::error::Overloaded>());
    assert_eq!(told.try_recv(), Ok(Outcome::Failed));
    drop(first);
    assert_eq!(told.try_recv(), Ok(Outcome::Disconnected));
}
