//! How a body ends, and the outcome of each end (truths.md, "how to tell the end").

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::Bytes;
use http::{HeaderMap, Method, header};
use http_body::Body;
use http_body_util::BodyExt;
use testkit::{Eos, Event, Polled, drain};

use super::*;
use crate::{
    abort::{AbortHandle, AbortLayer},
    exchange::{Exchange, Outcome},
    timeouts::{Limit, tests::hit},
};

async fn drained(response: Response<Script>) -> Ending {
    let (layer, mut told) = telling();
    let mut body = through(&layer, get(), response).await;
    drain(&mut body).await;
    let ending = only(&mut told);
    drop(body);
    assert!(told.try_recv().is_err(), "the drop tells nothing new");
    ending
}

#[tokio::test]
async fn none_trailers_and_the_end_of_stream_flag_are_a_completed_end_at_once() {
    let none = Script::new().data("x").eos(Eos::Never);
    let trailers = Script::new().data("x").trailers(HeaderMap::new());
    for script in [none, trailers, Script::new().eos(Eos::Never)] {
        assert_eq!(drained(Response::new(script)).await.outcome, Outcome::Completed);
    }
    let (layer, mut told) = telling();
    let mut body = through(&layer, get(), Response::new(Script::new().data("x"))).await;
    body.frame().await.unwrap().unwrap();
    assert!(body.is_end_stream());
    assert_eq!(only(&mut told).outcome, Outcome::Completed, "hyper polls no more");
}

/// truths.md 1: hyper drops a body without having seen `None` once the length is met.
#[tokio::test]
async fn every_announced_byte_and_then_the_drop_is_a_completed_end() {
    let by_header = Response::builder().header(header::CONTENT_LENGTH, "3");
    let by_header = by_header.body(Script::new().data("ab").data("c").stall()).unwrap();
    let by_hint = Response::new(Script::new().data("abc").stall().exact_size(3));
    for response in [by_header, by_hint] {
        let (layer, mut told) = telling();
        let mut body = through(&layer, get(), response).await;
        let mut length = 0;
        while length < 3 {
            assert!(told.try_recv().is_err());
            length += body.frame().await.unwrap().unwrap().into_data().unwrap().len();
        }
        assert!(told.try_recv().is_err(), "trailers may follow");
        drop(body);
        assert_eq!(only(&mut told).outcome, Outcome::Completed);
    }
}

#[tokio::test]
async fn a_response_without_a_body_is_completed_though_nobody_polls_it() {
    for (method, status) in [(Method::HEAD, 200), (Method::GET, 204), (Method::GET, 304)] {
        let (layer, mut told) = telling();
        let request = Request::builder().method(&method).body(()).unwrap();
        let response = Response::builder().status(status).body(Script::new().endless("x")).unwrap();
        drop(through(&layer, request, response).await);
        assert_eq!(only(&mut told).outcome, Outcome::Completed, "{method} {status}");
    }
    let (layer, mut told) = telling();
    drop(through(&layer, get(), Response::new(Script::new())).await);
    assert_eq!(only(&mut told).outcome, Outcome::Completed, "an empty one");
}

#[tokio::test]
async fn a_tunnel_is_completed_at_the_head() {
    for (method, status) in [(Method::GET, 101), (Method::CONNECT, 200)] {
        let (layer, mut told) = telling();
        let request = Request::builder().method(method).body(()).unwrap();
        let response = Response::builder().status(status).body(Script::new().data("raw")).unwrap();
        let body = through(&layer, request, response).await;
        assert_eq!(only(&mut told).outcome, Outcome::Completed);
        assert_eq!(drain(body).await.data, "raw");
    }
}

#[tokio::test]
async fn a_clean_end_with_fewer_bytes_than_announced_is_truncated() {
    let short = || Script::new().data("abc");
    let by_header = Response::builder().header(header::CONTENT_LENGTH, "4").body(short()).unwrap();
    assert_eq!(drained(by_header).await.outcome, Outcome::Truncated);
    assert_eq!(drained(Response::new(short().exact_size(4))).await.outcome, Outcome::Truncated);
    let trailers = Script::new().data("abc").trailers(HeaderMap::new()).exact_size(4);
    assert_eq!(drained(Response::new(trailers)).await.outcome, Outcome::Truncated);
}

#[tokio::test]
async fn an_error_goes_to_the_reader_and_its_chain_to_the_hook() {
    let (layer, mut told) = telling();
    let body = through(&layer, get(), Response::new(Script::new().data("x").error("boom"))).await;
    let error: ScriptError = drain(body).await.error.unwrap();
    assert_eq!(error.to_string(), "boom");
    let ending = only(&mut told);
    assert_eq!((ending.outcome, ending.reason()), (Outcome::Failed, None));
    assert_eq!(ending.error().unwrap().messages(), ["boom", "root of boom"]);
}

#[tokio::test]
async fn a_client_that_leaves_in_the_stream_or_before_its_first_frame_is_disconnected() {
    let (layer, mut told) = telling();
    let mut body = through(&layer, get(), Response::new(Script::new().data("x").stall())).await;
    body.frame().await.unwrap().unwrap();
    drop(body);
    let ending = only(&mut told);
    assert_eq!((ending.outcome, ending.frames), (Outcome::Disconnected, 1));

    let mut body = through(&layer, get(), Response::new(Script::new().stall())).await;
    tokio::select! {
        biased;
        _ = body.frame() => panic!("it stalls"),
        () = tokio::task::yield_now() => {}
    }
    drop(body);
    let ending = only(&mut told);
    assert_eq!((ending.outcome, ending.frames), (Outcome::Disconnected, 0));
}

#[tokio::test]
async fn a_body_that_nobody_began_to_read_was_discarded() {
    let (layer, mut told) = telling();
    drop(through(&layer, get(), Response::new(Script::new().data("x"))).await);
    assert_eq!(only(&mut told).outcome, Outcome::Discarded);
}

#[tokio::test]
async fn an_abort_or_a_time_limit_is_told_with_its_reason_though_the_client_does_not_read() {
    let (layer, mut told) = telling();
    let handle = AbortHandle::new();
    let source = handle.clone();
    let layer =
        tower::ServiceBuilder::new().layer(AbortLayer::new(move |_| source.clone())).layer(layer);
    let service = layer.service(service_fn(|_: Request<()>| async {
        Ok::<_, ScriptError>(Response::new(Script::new().data("x").stall()))
    }));
    let response = service.oneshot(get()).await.unwrap();
    assert!(handle.abort("operator"));
    let ending = told.recv().await.unwrap(); // Without a poll.
    assert_eq!((ending.outcome, ending.reason()), (Outcome::Aborted, Some("operator")));
    drop(response);
    assert!(told.try_recv().is_err());

    let (layer, mut told) = telling();
    let mut request = get();
    let exchange = Exchange::of(&mut request);
    let body = through(&layer, request, Response::new(Script::new().data("x"))).await;
    exchange.record(hit(Limit::Total));
    drop(body);
    let ending = only(&mut told);
    assert_eq!((ending.outcome, ending.reason()), (Outcome::TimedOut, Some("total")));
}

#[tokio::test]
async fn a_panic_of_the_body_is_told_with_its_message_and_goes_on() {
    let (layer, mut told) = telling();
    let script = Script::new().data("x").panic("boom");
    let log = script.log();
    let body = through(&layer, get(), Response::new(script)).await;
    let panic = tokio::spawn(drain(body)).await.unwrap_err();
    assert_eq!(panic.into_panic().downcast_ref::<String>().unwrap(), "boom");
    let ending = only(&mut told);
    assert_eq!((ending.outcome, ending.reason()), (Outcome::Panicked, Some("boom")));
    assert_eq!(log.count(|event| *event == Event::Dropped { panicking: false }), 1);
}

/// truths.md 6.
#[test]
fn a_runtime_that_shuts_down_tells_on_the_thread_that_drops_the_body() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (tell, told) = std::sync::mpsc::channel();
    runtime.spawn(async move {
        let layer = FinalizeLayer::new(move |_| {
            let tell = tell.clone();
            move |ending: Ending| tell.send((ending.outcome, std::thread::current().id())).unwrap()
        });
        let mut body = through(&layer, get(), Response::new(Script::new().data("x").stall())).await;
        while body.frame().await.is_some() {}
    });
    runtime.block_on(tokio::task::yield_now());
    assert!(told.try_recv().is_err());
    drop(runtime);
    assert_eq!(told.try_recv(), Ok((Outcome::Disconnected, std::thread::current().id())));
}

#[tokio::test]
async fn a_body_reports_its_end_without_tower_too() {
    let (tell, mut told) = unbounded_channel();
    let body = FinalizeBody::new(Script::new().data("abc"), |ending| tell.send(ending).unwrap());
    assert_eq!(drain(body).await.data, "abc");
    let ending = only(&mut told);
    assert_eq!((ending.outcome, ending.bytes, ending.status), (Outcome::Completed, 3, None));
    let body = FinalizeBody::new(Script::new().data("abc").exact_size(9), |ending| {
        tell.send(ending).unwrap();
    });
    drain(body).await;
    assert_eq!(only(&mut told).outcome, Outcome::Truncated);
}

#[tokio::test]
async fn the_hook_runs_after_the_inner_body_was_dropped() {
    for finish in [Script::new(), Script::new().error("boom"), Script::new().data("x").stall()] {
        let log = finish.log();
        let hook = {
            let log = log.clone();
            move |_: Ending| log.note("hook")
        };
        let mut body = FinalizeBody::new(finish.eos(Eos::Never), hook);
        let _ = body.frame().await;
        drop(body);
        let story = log.story();
        let [.., Event::Dropped { .. }, Event::Note(note)] = &story[..] else {
            panic!("{story:?}")
        };
        assert_eq!(note, "hook");
    }
}

/// Panics when it is asked for the end of the stream, once that is armed.
#[derive(Debug)]
struct Asked(Script, Arc<AtomicBool>);

impl Body for Asked {
    type Data = Bytes;
    type Error = ScriptError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled<Script> {
        Pin::new(&mut self.0).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        assert!(!self.1.load(Ordering::SeqCst), "asked");
        false
    }
}

#[test]
fn a_flag_that_panics_is_a_panic_of_the_body_polled_or_dropped_or_dropped_in_a_panic() {
    let outcome = |reader: fn(FinalizeBody<Asked, Hook, _>)| {
        let (tell, mut told) = unbounded_channel();
        let hook: Hook = Box::new(move |ending| tell.send(ending).unwrap());
        let armed = Arc::new(AtomicBool::new(false));
        let body = FinalizeBody::new(Asked(Script::new().data("a").stall(), armed.clone()), hook);
        armed.store(true, Ordering::SeqCst);
        let _ = catch_unwind(AssertUnwindSafe(|| reader(body)));
        let ending = only(&mut told);
        (ending.outcome, ending.reason().unwrap().to_owned())
    };
    let panicked = (Outcome::Panicked, "asked".to_owned());
    assert_eq!(outcome(|mut body| drop(at_once(body.frame()))), panicked);
    assert_eq!(outcome(drop), panicked);
    assert_eq!(outcome(|body| panic!("with {body:?}")), panicked);
}
