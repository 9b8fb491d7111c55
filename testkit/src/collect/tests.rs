use std::pin::Pin;
use std::task::Poll;

use bytes::Bytes;
use http::HeaderMap;

use super::{drain, poll_body};
use crate::{Event, Script, Wakes};

#[tokio::test]
async fn drain_keeps_the_frames_and_their_sum() {
    let seen = drain(Script::new().data("ab").pending().data("").data("c")).await;
    assert_eq!(seen.data, "abc");
    assert_eq!(seen.frames, ["ab", "", "c"].map(Bytes::from));
    assert!(seen.trailers.is_none() && seen.error.is_none());
}

#[tokio::test]
async fn drain_stops_at_trailers_and_drops_the_body() {
    let mut map = HeaderMap::new();
    map.insert("grpc-status", "0".parse().unwrap());
    let body = Script::new().data("a").trailers(map.clone()).data("lost");
    let log = body.log();
    let seen = drain(body).await;
    assert_eq!((seen.trailers, seen.data), (Some(map), Bytes::from("a")));
    let dropped = Event::Dropped { panicking: false };
    assert_eq!(log.story(), [Event::Poll, Event::Data(1), Event::Poll, Event::Trailers, dropped]);
}

#[tokio::test]
async fn drain_stops_at_an_error_and_keeps_it() {
    let seen = drain(Script::new().data("a").error("boom").data("lost")).await;
    assert_eq!((seen.error.unwrap().to_string(), seen.data), ("boom".into(), Bytes::from("a")));
}

#[test]
fn poll_body_polls_once_with_the_given_waker() {
    let wakes = Wakes::new();
    let mut body = Script::new().pending().data("a");
    assert!(poll_body(Pin::new(&mut body), &wakes.waker()).is_pending());
    assert_eq!(wakes.count(), 1);
    let Poll::Ready(Some(Ok(frame))) = poll_body(Pin::new(&mut body), &wakes.waker()) else {
        panic!("no frame");
    };
    assert_eq!(frame.into_data().unwrap(), "a");
}
