//! Requests that come while an equal one runs.

use std::{
    future::{pending, poll_fn},
    pin::Pin,
    sync::atomic::{AtomicUsize, Ordering},
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http_body::Body;
use testkit::{Eos, Gate, Log, ScriptError, Wakes, poll_body};

use super::*;
use crate::replay::{Key, Recorded, ReplayStore};

mod bill;
mod crowd;
mod ends;
mod phases;
mod readers;
mod room;
#[cfg(feature = "tracing")]
mod span;
mod vary;

fn joining() -> ReplayLayer<MemoryStore, RequestKey> {
    layer().coalesce()
}

type Answered<E> = Result<Response<Read>, E>;
type Read = Pin<Box<dyn Body<Data = Bytes, Error = BoxError> + Send>>;

/// A request under way: its exchange, and its answer once it is there.
struct Asked<E = Infallible> {
    exchange: Exchange,
    answer: Pin<Box<dyn Future<Output = Answered<E>> + Send>>,
}

impl<E> Asked<E> {
    fn of<S, B>(service: &S, mut request: Request<Script>) -> Self
    where
        S: Service<Request<Script>, Response = Response<B>, Error = E> + Clone + Send + 'static,
        S::Future: Send,
        B: Body<Data = Bytes, Error = BoxError> + Send + 'static,
        E: Send + 'static,
    {
        let exchange = Exchange::of(&mut request);
        let answer = service.clone().oneshot(request);
        let answer = async { Ok(answer.await?.map(|body| Box::pin(body) as Read)) };
        Self { exchange, answer: Box::pin(answer) }
    }

    fn poll(&mut self) -> Poll<Answered<E>> {
        self.poll_with(Waker::noop())
    }

    fn poll_with(&mut self, waker: &Waker) -> Poll<Answered<E>> {
        self.answer.as_mut().poll(&mut Context::from_waker(waker))
    }

    fn replayed(&self) -> Option<Replayed> {
        self.exchange.fact()
    }
}

impl<E: std::fmt::Debug> Asked<E> {
    /// The body, where the head is there at once.
    fn body(&mut self) -> Read {
        let Poll::Ready(answer) = self.poll() else { panic!("there is no head yet") };
        answer.unwrap().into_body()
    }
}

/// The next frame, if it is there.
fn next(body: &mut Read) -> Poll<Option<Bytes>> {
    poll_body(Pin::new(body), Waker::noop())
        .map(|frame| frame.map(|frame| frame.unwrap().into_data().unwrap()))
}

fn is(data: &'static str) -> Poll<Option<Bytes>> {
    Poll::Ready(Some(Bytes::from(data)))
}

const OVER: Poll<Option<Bytes>> = Poll::Ready(None);

/// A service whose head comes when the gate is opened.
fn after(gate: &Gate, response: Response<Script>) -> impl Serves<Infallible> {
    let (gate, response) = (gate.clone(), Arc::new(Mutex::new(Some(response))));
    service_fn(move |_| {
        let (gate, response) = (gate.clone(), response.lock().unwrap().take());
        async move {
            let response = response.expect("the service is called once too often");
            gate.opened().await;
            Ok(response)
        }
    })
}

/// A store that answers when the gate is opened.
struct Slow(Gate, MemoryStore);

impl ReplayStore for Slow {
    fn get(&self, key: &Key) -> impl Future<Output = Option<Recorded>> + Send + 'static {
        let (gate, found) = (self.0.clone(), self.1.get(key));
        async move {
            gate.opened().await;
            found.await
        }
    }

    fn put(&self, key: Key, recorded: Recorded) {
        self.1.put(key, recorded);
    }
}
