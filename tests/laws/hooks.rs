//! Law 5: a hook or sink that panics harms nothing but itself.

use std::{
    future::ready,
    io,
    panic::{AssertUnwindSafe, catch_unwind, panic_any},
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::Context,
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, request, response};
use http_body::Body;
use testkit::{Event, Log, Polled, Script, ScriptError, Wakes, drain};
use tower::{Layer, ServiceExt, service_fn};
use tower_lifeline::{
    error::Itself,
    exchange::Outcome,
    finalize::{Ending, FinalizeBody, FinalizeLayer, Finalizer},
    tee::{Sink, TeeBody, TeeLayer},
};

use crate::reading::{Item, data, poll, trailers};

/// Where a hook or a sink panics.
#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    Head,
    Error,
    Data,
    Trailers,
    End,
}

/// Panics at one place; each of its calls counts.
#[derive(Clone)]
struct Faulty {
    at: At,
    calls: Arc<AtomicUsize>,
}

impl Faulty {
    fn new(at: At) -> Self {
        Self { at, calls: Arc::default() }
    }

    fn call(&self, at: At) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        assert!(self.at != at, "faulty");
    }

    fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }
}

impl Finalizer for Faulty {
    fn on_response(&mut self, _: &response::Parts) {
        self.call(At::Head);
    }

    fn on_error(&mut self, _: &(dyn std::error::Error + 'static)) {
        self.call(At::Error);
    }

    fn on_end(self, _: Ending) {
        self.call(At::End);
    }
}

impl Sink for Faulty {
    fn head(&mut self, _: &response::Parts) {
        self.call(At::Head);
    }

    fn data(&mut self, _: Bytes) {
        self.call(At::Data);
    }

    fn trailers(&mut self, _: &HeaderMap) {
        self.call(At::Trailers);
    }

    fn end(self, _: Outcome) {
        self.call(At::End);
    }
}

fn script() -> Script {
    Script::new().data("one").data("two").trailers(trailers())
}

/// Runs a body under a Finalize whose hook panics, and gives what that counted.
async fn finalize(
    at: At,
    body: Script,
    drive: impl AsyncFn(FinalizeBody<Script, Faulty, (Itself, Itself)>),
) -> (u64, usize) {
    let faulty = Faulty::new(at);
    let layer = FinalizeLayer::with({
        let faulty = faulty.clone();
        move |_: &request::Parts| faulty.clone()
    });
    let tracker = layer.tracker();
    let response = Mutex::new(Some(Response::new(body)));
    let service = service_fn(|_: Request<()>| {
        ready(Ok::<_, io::Error>(response.lock().unwrap().take().unwrap()))
    });
    drive(layer.layer(service).oneshot(Request::new(())).await.unwrap().into_body()).await;
    assert_eq!(tracker.live(), 0);
    (tracker.hook_panics(), faulty.calls())
}

/// Reads to the end and finds everything in its place.
async fn assert_unharmed<B>(body: B)
where
    B: Body<Data = Bytes, Error = ScriptError>,
{
    let read = drain(body).await;
    assert_eq!((read.data, read.trailers), ("onetwo".into(), Some(trailers())));
}

#[tokio::test]
async fn a_hook_that_panics_at_the_end_is_contained_and_counted() {
    assert_eq!(finalize(At::End, script(), assert_unharmed).await, (1, 2));
}

#[tokio::test]
async fn a_hook_that_panics_at_the_head_is_contained_and_counted_and_hears_no_more() {
    assert_eq!(finalize(At::Head, script(), assert_unharmed).await, (1, 1));
}

#[tokio::test]
async fn a_hook_that_panics_at_an_error_is_contained_and_the_error_goes_on() {
    let counted = finalize(At::Error, Script::new().data("one").error("boom"), async |body| {
        let read = drain(body).await;
        assert_eq!((read.data, read.error.unwrap().to_string()), ("one".into(), "boom".into()));
    });
    assert_eq!(counted.await, (1, 2));
}

#[tokio::test]
async fn a_hook_that_panics_in_a_drop_is_contained_and_counted() {
    assert_eq!(finalize(At::End, script(), async |body| drop(body)).await, (1, 2));
}

// truths.md 5: a panic that leaves a Drop while another unwinds aborts the process.
#[tokio::test]
async fn a_hook_that_panics_while_a_panic_unwinds_is_contained_and_counted() {
    let unwound = finalize(At::End, script(), async |body| {
        let caught = catch_unwind(AssertUnwindSafe(move || {
            let _held = body;
            panic!("the reader's own");
        }));
        assert_eq!(caught.unwrap_err().downcast_ref::<&str>(), Some(&"the reader's own"));
    });
    assert_eq!(unwound.await, (1, 2));

    let of_body = finalize(At::End, Script::new().panic("the body's own"), async |mut body| {
        let caught = catch_unwind(AssertUnwindSafe(move || poll(&mut body, &Wakes::new())));
        assert_eq!(caught.unwrap_err().downcast_ref::<String>().unwrap(), "the body's own");
    });
    assert_eq!(of_body.await, (1, 2));
}

#[tokio::test]
async fn a_hook_that_panics_before_the_head_is_contained_and_the_service_error_goes_on() {
    let layer = FinalizeLayer::new(|_| |_| panic!("faulty"));
    let tracker = layer.tracker();
    let service = layer.layer(service_fn(|_: Request<()>| {
        ready(Err::<Response<Script>, _>(ScriptError::new("refused")))
    }));
    let error = service.oneshot(Request::new(())).await.unwrap_err();
    assert_eq!((error.to_string().as_str(), tracker.hook_panics()), ("refused", 1));
}

#[tokio::test]
async fn a_sink_that_panics_is_dropped_and_the_stream_goes_on() {
    // The head, then two frames, then the trailers, then the end.
    for (at, calls) in [(At::Head, 1), (At::Data, 2), (At::Trailers, 4), (At::End, 5)] {
        let faulty = Faulty::new(at);
        let layer = TeeLayer::new({
            let faulty = faulty.clone();
            move |_: &request::Parts| faulty.clone()
        });
        let service = layer
            .layer(service_fn(|_: Request<()>| ready(Ok::<_, io::Error>(Response::new(script())))));
        assert_unharmed(service.oneshot(Request::new(())).await.unwrap().into_body()).await;
        assert_eq!(faulty.calls(), calls);
    }
}

#[test]
fn a_sink_that_panics_while_a_panic_unwinds_is_contained() {
    let faulty = Faulty::new(At::End);
    let body = TeeBody::new(script(), faulty.clone());
    let caught = catch_unwind(AssertUnwindSafe(move || {
        let _held = body;
        panic!("the reader's own");
    }));
    assert!(caught.is_err());
    assert_eq!(faulty.calls(), 1);
}

/// Panics wherever it can.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("dropped");
    }
}

impl Sink for Bomb {
    fn data(&mut self, _: Bytes) {
        panic_any(Bomb);
    }
}

#[tokio::test]
async fn a_sink_that_panics_with_a_payload_that_panics_and_in_its_drop_is_contained() {
    assert_unharmed(TeeBody::new(script(), Bomb)).await;
}

/// Its upstream's connection can not even be closed without a panic.
struct Undroppable(Script, Bomb);

impl Body for Undroppable {
    type Data = Bytes;
    type Error = ScriptError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled<Self> {
        Pin::new(&mut self.0).poll_frame(cx)
    }
}

#[test]
fn a_body_that_panics_in_its_drop_is_reported_like_any_other() {
    for (reads, outcome) in
        [(0, Outcome::Discarded), (1, Outcome::Disconnected), (3, Outcome::Completed)]
    {
        let log = Log::new();
        let mut body = FinalizeBody::new(Undroppable(script(), Bomb), {
            let log = log.clone();
            move |ending| log.note(ending.outcome.as_str())
        });
        for item in [data("one"), data("two"), Item::Trailers(trailers())].into_iter().take(reads) {
            assert_eq!(poll(&mut body, &Wakes::new()), Some(item));
        }
        let dropped = catch_unwind(AssertUnwindSafe(move || drop(body)));
        // What was released at the trailers is not dropped again.
        assert_eq!(dropped.is_ok(), reads == 3);
        assert_eq!(log.story(), [Event::Note(outcome.to_string())]);
    }
}
