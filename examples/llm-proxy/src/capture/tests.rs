//! What is captured, and how much of it is held.

use std::convert::Infallible;

use bytes::Bytes;
use http::{Request, Response};
use testkit::{Script, drain};
use tower::{Layer, ServiceExt, service_fn};

use super::*;

/// A response of 10 bytes through the layer, what was told of it, and what it takes while it waits for its end.
async fn captured(
    bytes: Option<usize>,
    total: &Budget,
    replayed: Option<Replayed>,
) -> (Captured, usize, Bytes) {
    let mut request = Request::new(());
    let exchange = Exchange::of(&mut request);
    let inner = exchange.clone();
    let service = layer(bytes, total).layer(service_fn(move |_: Request<()>| {
        if let Some(replayed) = replayed {
            inner.insert(replayed);
        }
        async { Ok::<_, Infallible>(Response::new(Script::new().data("0123456789"))) }
    }));
    let read = drain(service.oneshot(request).await.unwrap().into_body()).await;
    assert_eq!(read.data, "0123456789");
    let captured = exchange.fact::<Captured>().unwrap();
    let kept = captured.recording.to_bytes();
    (captured, total.used(), kept)
}

#[tokio::test]
async fn a_capture_is_bounded_by_itself_and_with_all_others() {
    let (first, one, kept) = captured(Some(10), &total(None), None).await;
    // What counts is memory, and the first bytes of a recording take a block of it.
    assert!((10..1024).contains(&one), "{one}");
    assert_eq!((&*kept, first.is_truncated()), (&b"0123456789"[..], false));

    for (bytes, room, expected) in [
        (Some(4), None, [4, 4]),
        (Some(10), Some(one + 9), [10, 0]),
        (None, Some(one + 9), [10, 0]),
        (None, Some(one * 2), [10, 10]),
        (None, None, [10, 10]),
        (Some(0), None, [0, 0]),
    ] {
        let total = total(room);
        let (first, _, one) = captured(bytes, &total, None).await;
        let (second, _, other) = captured(bytes, &total, None).await;
        assert_eq!([one.len(), other.len()], expected, "{bytes:?} of {room:?}");
        let truncated = [first.is_truncated(), second.is_truncated()];
        assert_eq!(truncated, expected.map(|kept| kept < 10), "{bytes:?} of {room:?}");
    }
}

#[tokio::test]
async fn what_replay_holds_is_not_held_twice_and_its_size_is_known_all_the_same() {
    for replayed in [Replayed::Hit, Replayed::Join, Replayed::Miss] {
        for (bytes, truncated) in [(Some(10), false), (Some(9), true), (None, false)] {
            let total = total(None);
            let (captured, used, kept) = captured(bytes, &total, Some(replayed)).await;
            assert_eq!((used, kept.len()), (0, 0), "{replayed}");
            assert_eq!(captured.is_truncated(), truncated, "{replayed} {bytes:?}");
        }
    }
}
