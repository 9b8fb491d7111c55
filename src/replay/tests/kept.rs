//! Which answers are kept.

use std::{future::poll_fn, panic::AssertUnwindSafe, pin::pin, sync::atomic::AtomicUsize};

use bytes::Bytes;
use http_body::Body;
use tokio::task::yield_now;

use super::*;
use crate::{
    abort::{AbortHandle, AbortLayer},
    detach::{DetachLayer, DrainLimits},
    exchange::Cause,
    replay::{Key, Recorded, ReplayStore},
};

/// Whether a request gets the answer again that was given to an equal one before.
async fn is_kept_by(
    layer: ReplayLayer<MemoryStore, RequestKey>,
    request: impl Fn() -> Request<Script>,
    response: Response<Script>,
) -> bool {
    let service = layer.layer(upstream([response, text(Script::new().data("again"))]));
    assert_eq!(ask(&service, request()).await.replayed, Some(Replayed::Miss));
    let second = ask(&service, request()).await;
    assert_eq!(second.body.data == "again", second.replayed == Some(Replayed::Miss));
    second.replayed == Some(Replayed::Hit)
}

async fn is_kept(response: Response<Script>) -> bool {
    is_kept_by(layer(), get, response).await
}

#[tokio::test]
async fn a_complete_answer_is_kept_whatever_tells_that_it_is_complete() {
    let data = || Script::new().data("ab");
    assert!(is_kept(text(data())).await, "the flag");
    assert!(is_kept(text(data().eos(testkit::Eos::Never))).await, "the end");
    assert!(is_kept(text(data().exact_size(2).eos(testkit::Eos::Never))).await, "the size");
    assert!(is_kept(text(data().trailers(http::HeaderMap::new()))).await, "trailers");
}

#[tokio::test]
async fn an_answer_that_failed_or_was_cut_short_is_not_kept() {
    assert!(!is_kept(text(Script::new().data("ab").error("boom"))).await);
    assert!(!is_kept(text(Script::new().data("ab").exact_size(3))).await, "truncated");
    let mut announced = text(Script::new().data("ab"));
    announced.headers_mut().insert("content-length", 3.into());
    assert!(!is_kept(announced).await, "truncated, by its header");
}

#[tokio::test]
async fn an_answer_without_success_or_without_a_body_is_not_kept() {
    for status in [100, 203, 204, 206, 301, 304, 401, 404, 429, 500, 503] {
        let mut response = text(Script::new().data("ab"));
        *response.status_mut() = status.try_into().unwrap();
        assert_eq!(is_kept(response).await, status == 203, "{status}");
    }
    assert!(!is_kept(text(Script::new())).await, "no body");
    assert!(!is_kept(text(Script::new().data("").eos(testkit::Eos::Never))).await, "an empty one");
}

#[tokio::test]
async fn an_answer_whose_head_says_that_it_is_for_one_only_is_not_kept() {
    let kept = [
        ("cache-control", "no-cache"),
        ("cache-control", "max-age=0, must-revalidate"),
        ("vary", "origin"),
        ("content-encoding", "identity"),
    ];
    let not = [
        ("set-cookie", "session=1"),
        ("cache-control", "no-cache, No-Store"),
        ("cache-control", "private=\"x-name\""),
        ("cache-control", "max-age=9,private"),
        ("vary", "*"),
        ("content-encoding", "gzip"),
    ];
    for (at, (name, value)) in kept.into_iter().chain(not).enumerate() {
        let mut response = text(Script::new().data("ab"));
        response.headers_mut().append(name, value.parse().unwrap());
        assert_eq!(is_kept(response).await, at < kept.len(), "{name}: {value}");
    }
    let grpc = Response::builder().header("content-type", "application/grpc");
    assert!(!is_kept(grpc.body(Script::new().data("ab")).unwrap()).await);
}

#[tokio::test]
async fn an_answer_that_is_too_large_is_not_kept_and_passes_all_the_same() {
    for (limit, kept) in [(4, true), (3, false)] {
        let stream = text(Script::new().data("ab").data("cd"));
        let sized = text(Script::new().data("ab").data("cd").exact_size(4));
        for response in [stream, sized] {
            assert_eq!(is_kept_by(layer().answer_limit(limit), get, response).await, kept);
        }
    }
    let many = (0..1025).fold(Script::new(), |body, _| body.data("x"));
    assert!(is_kept_by(layer().answer_limit(2000), get, text(many)).await);
    let many = (0..1025).fold(Script::new(), |body, _| body.data("x"));
    let service = layer().answer_limit(20).layer(upstream([text(many)]));
    assert_eq!(ask(&service, get()).await.body.frames.len(), 1025);
}

const CHAT: &str = "/v1/chat/completions";
const DELTA: &str = "data: {\"model\":\"m\",\"choices\":[{\"delta\":{\"content\":\"Hi\"}}]}\n\n";
const DONE: &str = "data: [DONE]\n\n";

fn events(events: &[&'static str]) -> Response<Script> {
    let body = events.iter().fold(Script::new(), |body, event| body.data(*event));
    Response::builder().header("content-type", "text/event-stream").body(body).unwrap()
}

#[tokio::test]
async fn a_stream_without_the_terminator_of_its_dialect_is_not_kept() {
    let chat = || post(CHAT, "{}");
    assert!(is_kept_by(layer(), chat, events(&[DELTA, DONE])).await);
    assert!(!is_kept_by(layer(), chat, events(&[DELTA, DELTA])).await);
    let never = events(&[DELTA]).map(|body| body.eos(testkit::Eos::Never));
    assert!(!is_kept_by(layer(), chat, never).await);
    // The path says nothing of it, the events do.
    assert!(!is_kept_by(layer(), || post("/x", "{}"), events(&[DELTA, DELTA])).await);
    assert!(is_kept_by(layer(), get, events(&["data: 1\n\n"])).await, "no dialect, no terminator");
}

#[tokio::test]
async fn a_stream_that_tells_of_a_failure_is_not_kept() {
    let error = "data: {\"error\":{\"message\":\"overloaded\",\"type\":\"server_error\"}}\n\n";
    assert!(!is_kept_by(layer(), || post(CHAT, "{}"), events(&[DELTA, error, DONE])).await);
}

#[tokio::test]
async fn an_answer_whose_client_left_is_not_kept() {
    let bodies = [Script::new().data("ab").data("c"), Script::new().data("again")];
    let service = layer().layer(upstream(bodies.map(text)));
    let mut body = Box::pin(service.clone().oneshot(get()).await.unwrap().into_body());
    assert!(poll_fn(|cx| body.as_mut().poll_frame(cx)).await.is_some());
    drop(body);
    assert_eq!(ask(&service, get()).await.body.data, "again");
    // Nor one of which nobody read anything.
    let bodies = [Script::new().data("ab"), Script::new().data("again")];
    let service = layer().layer(upstream(bodies.map(text)));
    drop(service.clone().oneshot(get()).await.unwrap());
    assert_eq!(ask(&service, get()).await.body.data, "again");
}

#[tokio::test]
async fn an_answer_that_is_read_to_its_end_after_its_client_left_is_kept() {
    let completes = Script::new().data("ab").pending().data("c");
    let fails = Script::new().data("d").pending().error("e");
    let bodies = [completes, fails, Script::new().data("again")];
    let replay = layer().layer(upstream(bodies.map(text)));
    let service = DetachLayer::new(DrainLimits::new()).layer(replay.clone());
    let leave = async |path: &str| {
        let request = Request::get(path).body(Script::new()).unwrap();
        let mut body = Box::pin(service.clone().oneshot(request).await.unwrap().into_body());
        assert!(poll_fn(|cx| body.as_mut().poll_frame(cx)).await.is_some());
        drop(body);
        for _ in 0..10 {
            yield_now().await;
        }
    };
    leave("/").await;
    assert_eq!(ask(&replay, get()).await.body.frames, ["ab", "c"]);
    leave("/fails").await;
    let again = Request::get("/fails").body(Script::new()).unwrap();
    assert_eq!(ask(&replay, again).await.body.data, "again");
}

#[tokio::test]
async fn an_answer_that_was_aborted_is_not_kept() {
    let handle = AbortHandle::new();
    let source = handle.clone();
    let bodies = [Script::new().data("ab").stall(), Script::new().data("again")];
    let replay = layer().layer(upstream(bodies.map(text)));
    let service = AbortLayer::new(move |_| source.clone()).layer(replay.clone());
    let mut body = pin!(service.oneshot(get()).await.unwrap().into_body());
    assert!(poll_fn(|cx| body.as_mut().poll_frame(cx)).await.is_some());
    assert!(handle.abort("stop"));
    assert!(poll_fn(|cx| body.as_mut().poll_frame(cx)).await.unwrap().is_err());
    assert_eq!(ask(&replay, get()).await.body.data, "again");
}

#[tokio::test]
async fn an_answer_that_a_handler_gave_in_place_of_a_failure_is_not_kept() {
    let bodies = ["sorry", "again"].map(|text| Script::new().data(text));
    let service = layer().layer(upstream(bodies.map(text)));
    let mut request = get();
    Exchange::of(&mut request).record(Cause::failed(&std::io::Error::other("refused")));
    assert_eq!(ask(&service, request).await.body.data, "sorry");
    assert_eq!(ask(&service, get()).await.body.data, "again");
}

#[tokio::test]
async fn an_answer_whose_body_panicked_is_not_kept() {
    let bodies = [Script::new().data("ab").panic("boom"), Script::new().data("again")];
    let service = layer().layer(upstream(bodies.map(text)));
    let first = tokio::spawn({
        let service = service.clone();
        async move { AssertUnwindSafe(ask(&service, get())).0.await.body.data }
    });
    assert!(first.await.unwrap_err().is_panic());
    assert_eq!(ask(&service, get()).await.body.data, "again");
}

/// Finds nothing, and panics as it keeps.
struct Broken(Arc<AtomicUsize>);

impl ReplayStore for Broken {
    fn get(&self, _: &Key) -> impl Future<Output = Option<Recorded>> + Send + 'static {
        Box::pin(async {
            yield_now().await;
            None
        })
    }

    fn put(&self, _: Key, recorded: Recorded) {
        let frames: Vec<_> = recorded.frames().map(|(_, frame)| frame).collect();
        assert_eq!(frames, ["ab", "c"].map(Bytes::from));
        self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        panic!("no room");
    }
}

#[tokio::test]
async fn a_store_that_takes_its_time_or_panics_harms_no_answer() {
    let puts = Arc::new(AtomicUsize::new(0));
    let layer = ReplayLayer::new(Broken(puts.clone()), every());
    let bodies = [Script::new().data("ab").data("c"), Script::new().data("ab").data("c")];
    let service = layer.layer(upstream(bodies.map(text)));
    for calls in 1..=2 {
        let answer = ask(&service, get()).await;
        assert_eq!(
            (answer.replayed, &*answer.body.data),
            (Some(Replayed::Miss), b"abc".as_slice())
        );
        assert_eq!(puts.load(std::sync::atomic::Ordering::Relaxed), calls);
    }
}
