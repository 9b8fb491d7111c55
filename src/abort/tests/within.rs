//! An abort at the very moment in which a frame is taken (faults.md 26): from within the poll of the body.

use std::pin::Pin;

use http::HeaderMap;
use http_body::Frame;
use testkit::Wakes;

use super::*;
use crate::abort::AbortBody;

/// Aborts its handle in its second poll, and gives this.
struct Aborts {
    handle: AbortHandle,
    polls: u32,
    gives: fn() -> Polled,
    ends: bool,
}

type Polled = Poll<Option<Result<Frame<Bytes>, BoxError>>>;

impl Body for Aborts {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Polled {
        self.polls += 1;
        if self.polls < 2 {
            return data();
        }
        assert!(self.handle.abort("stop"));
        (self.gives)()
    }

    fn is_end_stream(&self) -> bool {
        self.ends && self.polls > 1
    }
}

fn data() -> Polled {
    Poll::Ready(Some(Ok(Frame::data("x".into()))))
}

fn aborts(gives: fn() -> Polled) -> AbortBody<Aborts> {
    let handle = AbortHandle::new();
    let body = Aborts { handle: handle.clone(), polls: 0, gives, ends: false };
    let mut body = AbortBody::new(body, &handle);
    assert!(matches!(poll(&mut body), Poll::Ready(Some(Ok(_)))));
    body
}

#[test]
fn a_frame_is_handed_on_and_the_error_follows() {
    assert_eq!(read(&mut aborts(data)), (b"x".to_vec(), Some("stop".into())));
}

#[test]
fn so_is_a_last_frame_and_the_end_is_not_reported_for_the_error_follows() {
    let handle = AbortHandle::new();
    let body = Aborts { handle: handle.clone(), polls: 1, gives: data, ends: true };
    let mut body = AbortBody::new(body, &handle);
    // The flag is true from the second poll on.
    assert!(matches!(poll(&mut body), Poll::Ready(Some(Ok(_)))));
    assert!(!body.is_end_stream());
    assert_eq!(read(&mut body), (Vec::new(), Some("stop".into())));
}

#[test]
fn a_pending_body_gives_the_error_at_once_for_nobody_else_would_wake_the_reader() {
    let mut body = aborts(|| Poll::Pending);
    let wakes = Wakes::new();
    let polled = testkit::poll_body(Pin::new(&mut body), &wakes.waker());
    assert!(matches!(polled, Poll::Ready(Some(Err(_)))));
}

#[test]
fn in_place_of_the_end_of_trailers_or_of_an_error_there_is_the_abort_for_its_caller_was_told_so() {
    let ends: [fn() -> Polled; 3] = [
        || Poll::Ready(None),
        || Poll::Ready(Some(Ok(Frame::trailers(HeaderMap::new())))),
        || Poll::Ready(Some(Err("boom".into()))),
    ];
    for gives in ends {
        assert_eq!(read(&mut aborts(gives)), (Vec::new(), Some("stop".into())));
    }
}
