//! What becomes of the request.

use std::{future::poll_fn, pin::pin};

use bytes::Bytes;
use http::{HeaderMap, Method};
use http_body::Body;
use testkit::Gate;

use testkit::ScriptError;

use crate::tee::Budget;

use super::*;

/// Sends a request through the layer, and gives what the service read of it, its hint and the fact.
async fn sent(
    layer: ReplayLayer<MemoryStore, RequestKey>,
    mut request: Request<Script>,
) -> (Collected<ScriptError>, http_body::SizeHint, Option<Replayed>) {
    let exchange = Exchange::of(&mut request);
    let read = Arc::new(Mutex::new(None));
    let seen = read.clone();
    let service = layer.layer(service_fn(move |request: Request<ReplayRequest<Script>>| {
        let seen = seen.clone();
        async move {
            let body = request.into_body();
            let hint = body.size_hint();
            let body = drain(body).await;
            *seen.lock().unwrap() = Some((body, hint));
            Ok::<_, Infallible>(text(Script::new().data("ok")))
        }
    }));
    drop(service.oneshot(request).await);
    let (body, hint) = read.lock().unwrap().take().unwrap();
    (body, hint, exchange.fact())
}

fn with(body: Script) -> Request<Script> {
    Request::post("/").body(body).unwrap()
}

#[tokio::test]
async fn the_service_gets_the_very_frames_and_the_size_of_the_body_that_was_read() {
    let body = Script::new().data("ab").pending().data("").data("c").exact_size(3);
    let (read, hint, replayed) = sent(layer(), with(body)).await;
    assert_eq!((read.frames, hint.exact()), (vec!["ab".into(), Bytes::new(), "c".into()], Some(3)));
    assert_eq!(replayed, Some(Replayed::Miss));
    let (read, hint, replayed) = sent(layer(), with(Script::new())).await;
    assert_eq!((read.frames.len(), hint.exact(), replayed), (0, Some(0), Some(Replayed::Miss)));
}

#[tokio::test]
async fn a_request_with_trailers_is_passed_on_with_them_and_has_no_key() {
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", "7".parse().unwrap());
    let body = Script::new().data("ab").exact_size(2).eos(testkit::Eos::Never);
    let (read, _, replayed) = sent(layer(), with(body.trailers(trailers.clone()))).await;
    assert_eq!((read.frames, read.trailers, replayed), (vec!["ab".into()], Some(trailers), None));
}

#[tokio::test]
async fn a_request_that_fails_is_passed_on_with_its_error_and_has_no_key() {
    let body = Script::new().data("ab").exact_size(4).error("boom");
    let (read, hint, replayed) = sent(layer(), with(body)).await;
    assert_eq!((read.frames, hint.exact(), replayed), (vec!["ab".into()], None, None));
    assert_eq!(read.error.unwrap().to_string(), "boom");
}

#[tokio::test]
async fn a_request_without_a_bound_or_above_it_is_passed_on_unread() {
    let unbounded = Script::new().data("ab").data("cd");
    let large = Script::new().data("ab").data("cd").exact_size(4);
    for body in [unbounded, large] {
        let log = body.log();
        let service = layer().request_limit(3).layer(service_fn({
            let log = log.clone();
            move |request: Request<ReplayRequest<Script>>| {
                assert_eq!(log.polls(), 0, "the service is called before anything is read");
                async move {
                    let read = drain(request.into_body()).await;
                    assert_eq!(read.frames, ["ab", "cd"]);
                    Ok::<_, Infallible>(text(Script::new().data("ok")))
                }
            }
        }));
        assert_eq!(ask(&service, with(body)).await.replayed, None);
    }
    let connect = Request::builder().method(Method::CONNECT).uri("a:1").body(Script::new());
    assert_eq!(sent(layer(), connect.unwrap()).await.2, None);
}

#[tokio::test]
async fn a_request_that_is_larger_than_it_said_is_passed_on_whole_and_has_no_key() {
    let body = Script::new().data("ab").data("cd").data("ef").exact_size(3);
    let (read, _, replayed) = sent(layer().request_limit(3), with(body)).await;
    assert_eq!((read.frames.len(), &*read.data, replayed), (3, b"abcdef".as_slice(), None));
}

#[tokio::test]
async fn a_request_of_single_bytes_is_held_within_bounds() {
    let body = (0..40_000).fold(Script::new(), |body, _| body.data(""));
    let (read, _, replayed) = sent(layer().request_limit(64), with(body.exact_size(0))).await;
    assert_eq!((read.frames.len(), replayed), (40_000, None));
}

/// A request of `pieces` times 32 bytes, each of them a slice of one of these buffers, behind which the client waits.
fn in_pieces(pieces: usize, gate: &Gate) -> (Vec<Bytes>, Request<Script>) {
    let buffers: Vec<_> = (0..pieces).map(|_| Bytes::from(vec![b'q'; 8_192])).collect();
    let body = buffers.iter().fold(Script::new(), |body, buffer| body.data(buffer.slice(..32)));
    let size = 32 * pieces as u64;
    (buffers, with(body.wait(gate).exact_size(size).eos(testkit::Eos::Never)))
}

/// A megabyte in pieces of 32 bytes took 129 MB.
#[tokio::test]
async fn a_request_that_is_held_pins_no_read_buffer_and_is_counted_for_what_it_takes() {
    let (gate, budget) = (Gate::new(), Budget::new(100_000));
    let (buffers, request) = in_pieces(500, &gate);
    let mut future = pin!(sent(layer().requests_within(&budget), request));
    for _ in 0..20 {
        // More frames than a task may take at once.
        tokio::select! {
            biased;
            _ = &mut future => panic!("the client has not sent all of it"),
            () = tokio::task::yield_now() => {}
        }
    }
    assert!(buffers.iter().all(Bytes::is_unique));
    let used = budget.used();
    assert!((16_000..=2 * 16_000 + 1_024).contains(&used), "{used} for 16,000");
    gate.open();
    let (read, _, replayed) = future.await;
    assert_eq!((read.frames.len(), replayed), (500, Some(Replayed::Miss)));
    assert_eq!((read.data.len(), budget.used()), (16_000, 0));
}

#[tokio::test]
async fn a_request_for_which_no_memory_is_left_is_passed_on_whole_and_has_no_key() {
    let (gate, budget) = (Gate::new(), Budget::new(4_000));
    gate.open();
    let (_, request) = in_pieces(500, &gate);
    let (read, hint, replayed) = sent(layer().requests_within(&budget), request).await;
    assert_eq!((read.data.len(), replayed), (16_000, None));
    assert_eq!((hint.exact(), budget.used()), (Some(16_000), 0));
}

#[tokio::test]
async fn a_client_that_leaves_while_its_request_is_read_leaves_nothing_behind() {
    let gate = Gate::new();
    let body = Script::new().data("ab").wait(&gate).data("cd").exact_size(4);
    let log = body.log();
    let service = layer().layer(upstream([]));
    let mut future = Box::pin(service.oneshot(with(body)));
    poll_fn(|cx| {
        assert!(future.as_mut().poll(cx).is_pending());
        std::task::Poll::Ready(())
    })
    .await;
    drop(future);
    assert!(log.dropped_at().is_some());
}

#[tokio::test]
async fn the_error_of_the_service_goes_on_to_the_caller() {
    let service = layer().layer(service_fn(|_: Request<ReplayRequest<Script>>| {
        ready(Err::<Response<Script>, _>(ScriptError::new("refused")))
    }));
    assert_eq!(service.oneshot(get()).await.unwrap_err().to_string(), "refused");
}

#[tokio::test]
async fn the_service_that_was_ready_is_the_one_that_is_called() {
    let service = tower::limit::ConcurrencyLimit::new(
        upstream([text(Script::new().data("a")), text(Script::new().data("b"))]),
        1,
    );
    let service = layer().layer(service);
    for (path, answer) in [("/a", "a"), ("/a", "a"), ("/b", "b"), ("/a", "a")] {
        let answered = ask(&service, post(path, "q"));
        let answered = tokio::time::timeout(HOUR, answered).await.unwrap();
        assert_eq!(answered.body.data, answer, "a replay takes no place of a call");
    }
}

#[tokio::test]
async fn a_body_that_is_always_ready_starves_nobody() {
    let body = (0..600).fold(Script::new(), |body, _| body.data("x")).exact_size(600);
    let mut future = pin!(sent(layer(), with(body)));
    let mut pending = 0;
    poll_fn(|cx| {
        let polled = future.as_mut().poll(cx).map(|_| ());
        pending += u32::from(polled.is_pending());
        polled
    })
    .await;
    assert!(pending > 0, "it came to its end in one go");
}
