use std::{
    pin::Pin,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http_body::Body;
use testkit::Script;

use super::{Given, HELD, Paced};

fn poll(body: &mut Paced<Script>) -> Poll<usize> {
    let polled = Pin::new(body).poll_frame(&mut Context::from_waker(Waker::noop()));
    polled.map(|frame| frame.map_or(0, |frame| frame.unwrap().into_data().unwrap().len()))
}

#[test]
fn hyper_is_given_no_more_than_it_may_hold_until_all_is_written() {
    let given = Given::default();
    let frame = Bytes::from(vec![0; HELD / 4]);
    let mut body = Paced::new(Script::new().endless(frame), Some(given.clone()));
    for _ in 0..3 {
        let taken: usize = std::iter::from_fn(|| match poll(&mut body) {
            Poll::Ready(taken) => Some(taken),
            Poll::Pending => None,
        })
        .sum();
        assert_eq!(taken, HELD);
        assert!(given.written(), "nobody waits");
    }
    assert!(poll(&mut body).is_ready());
    assert!(!given.written(), "nobody waited");
}

#[test]
fn a_body_of_http2_is_not_held_back() {
    let mut body = Paced::new(Script::new().endless(Bytes::from(vec![0; HELD])), None);
    for _ in 0..10 {
        assert!(poll(&mut body).is_ready());
    }
    assert!(Paced::<Script>::none().is_end_stream());
}
