//! What a replay is.

use std::{future::poll_fn, pin::pin};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, StatusCode};
use http_body::Body;
use proptest::{collection::vec, prelude::*};
use tokio::time::{Instant, advance};

use super::*;

const MS: Duration = Duration::from_millis(1);

#[tokio::test]
async fn a_replay_is_the_same_bytes_in_the_same_frames_with_status_and_trailers() {
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", "7".parse().unwrap());
    let body = Script::new().data("a").data("").data("bc").pending().data("d");
    let mut response = text(body.trailers(trailers));
    *response.status_mut() = StatusCode::CREATED;
    let service = layer().layer(upstream([response]));

    let live = ask(&service, get()).await;
    assert_eq!(live.replayed, Some(Replayed::Miss));
    assert_eq!(live.body.frames, ["a", "", "bc", "d"]);
    for _ in 0..2 {
        let replay = ask(&service, get()).await;
        assert_eq!(replay.replayed, Some(Replayed::Hit));
        assert_eq!(replay.head.status, StatusCode::CREATED);
        assert_eq!(replay.body.frames, ["a", "bc", "d"]);
        assert_eq!(replay.body.trailers, live.body.trailers);
        assert!(replay.body.error.is_none());
    }
}

proptest! {
    #[test]
    fn whatever_the_bytes_and_the_frames_the_replay_has_them_all(
        frames in vec(vec(any::<u8>(), 1..40), 1..40), paced in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let body = frames.iter().fold(Script::new(), |body, frame| body.data(frame.clone()));
            let layer = if paced { layer().paced() } else { layer() };
            let service = layer.layer(upstream([text(body)]));
            ask(&service, get()).await;
            let replay = ask(&service, get()).await;
            prop_assert_eq!(replay.replayed, Some(Replayed::Hit));
            prop_assert_eq!(replay.body.frames, frames);
            Ok(())
        })?;
    }
}

#[tokio::test]
async fn a_replay_has_the_chosen_headers_the_content_type_first_and_no_others() {
    let mut response = text(Script::new().data("x"));
    for (name, value) in [("x-request-id", "1"), ("x-model", "m"), ("cache-control", "no-cache")] {
        response.headers_mut().insert(name, value.parse().unwrap());
    }
    response.headers_mut().append("x-model", "n".parse().unwrap());
    let layer = layer().keep_header(HeaderName::from_static("x-model"));
    let service = layer.layer(upstream([response]));

    let live = ask(&service, get()).await;
    assert_eq!(live.head.headers["x-request-id"], "1", "the live one is left alone");
    let headers = ask(&service, get()).await.head.headers;
    let headers: Vec<_> =
        headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
    let expected = [
        ("content-type", "text/plain"),
        ("cache-control", "no-cache"),
        ("x-model", "m"),
        ("x-model", "n"),
    ];
    assert_eq!(headers, expected);
}

#[tokio::test]
async fn a_replay_has_a_size_where_the_original_announced_one_and_else_none() {
    let stream = text(Script::new().data("abc").data("de"));
    let sized = text(Script::new().data("abc").data("de").exact_size(5));
    for (response, exact) in [(stream, None), (sized, Some(5))] {
        let service = layer().layer(upstream([response]));
        ask(&service, get()).await;
        let mut body = pin!(service.oneshot(get()).await.unwrap().into_body());
        assert_eq!((body.size_hint().exact(), body.size_hint().lower()), (exact, 5));
        assert!(!body.is_end_stream());
        assert!(poll_fn(|cx| body.as_mut().poll_frame(cx)).await.is_some());
        assert_eq!((body.size_hint().exact(), body.size_hint().lower()), (exact.map(|_| 2), 2));
        assert!(poll_fn(|cx| body.as_mut().poll_frame(cx)).await.is_some());
        assert_eq!((body.size_hint().exact(), body.is_end_stream()), (Some(0), true));
        for _ in 0..3 {
            assert!(poll_fn(|cx| body.as_mut().poll_frame(cx)).await.is_none());
        }
    }
}

/// The frames with the milliseconds at which they come.
async fn timed<B: Body<Data = Bytes>>(body: B) -> Vec<(u128, Bytes)> {
    let (started, mut body, mut frames) = (Instant::now(), pin!(body), Vec::new());
    while let Some(Ok(frame)) = poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
        frames.push((started.elapsed().as_millis(), frame.into_data().unwrap_or_default()));
    }
    frames
}

fn slow() -> Response<Script> {
    text(Script::new().data("a").sleep(100 * MS).data("b").data("c").sleep(50 * MS).data("d"))
}

#[tokio::test(start_paused = true)]
async fn a_replay_comes_at_once_or_each_frame_at_the_time_of_the_original() {
    let at = |times: [u128; 4]| -> Vec<_> {
        times.into_iter().zip(["a", "b", "c", "d"].map(Bytes::from)).collect()
    };
    for (layer, times) in [(layer(), [0; 4]), (layer().paced(), [0, 100, 100, 150])] {
        let service = layer.layer(upstream([slow()]));
        let live = timed(service.clone().oneshot(get()).await.unwrap().into_body()).await;
        assert_eq!(live, at([0, 100, 100, 150]));
        let replay = timed(service.oneshot(get()).await.unwrap().into_body()).await;
        assert_eq!(replay, at(times));
    }
}

#[tokio::test(start_paused = true)]
async fn a_reader_of_a_paced_replay_who_is_late_gets_what_is_due_at_once() {
    let service = layer().paced().layer(upstream([slow()]));
    ask(&service, get()).await;
    let body = service.oneshot(get()).await.unwrap().into_body();
    advance(120 * MS).await;
    let times: Vec<_> = timed(body).await.into_iter().map(|(at, _)| at).collect();
    assert_eq!(times, [0, 0, 0, 30]);
}

#[tokio::test]
async fn an_equal_request_that_comes_before_the_answer_is_complete_calls_the_service() {
    let service = layer().layer(upstream([slow(), text(Script::new().data("own"))]));
    let first = service.clone().oneshot(get()).await.unwrap();
    let second = ask(&service, get()).await;
    assert_eq!((second.replayed, &*second.body.data), (Some(Replayed::Miss), b"own".as_slice()));
    drop(first);
    assert_eq!(ask(&service, get()).await.body.data, "own");
}

#[tokio::test]
async fn readers_of_one_answer_read_apart() {
    let service = layer().layer(upstream([text(Script::new().data("a").data("b"))]));
    ask(&service, get()).await;
    let mut early = pin!(service.clone().oneshot(get()).await.unwrap().into_body());
    assert!(poll_fn(|cx| early.as_mut().poll_frame(cx)).await.is_some());
    assert_eq!(ask(&service, get()).await.body.frames, ["a", "b"]);
    let rest = poll_fn(|cx| early.as_mut().poll_frame(cx)).await.unwrap().unwrap();
    assert_eq!(rest.into_data().unwrap(), "b");
}
