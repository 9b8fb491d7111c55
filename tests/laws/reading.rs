//! Reads bodies and keeps what came, with what the body had said of it before.

use std::{
    fmt::Display,
    future::poll_fn,
    pin::{Pin, pin},
    task::Poll,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use http_body::Body;
use testkit::{Polled, Wakes, poll_body};

/// The result of a poll.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Item {
    Data(Bytes),
    Trailers(HeaderMap),
    Error(String),
    End,
}

impl Item {
    pub(crate) fn is_terminal(&self) -> bool {
        !matches!(self, Self::Data(_))
    }
}

/// One poll that was ready, and the hints before it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Seen {
    pub(crate) lower: u64,
    pub(crate) upper: Option<u64>,
    pub(crate) end_of_stream: bool,
    pub(crate) item: Item,
}

/// Reads to the first terminal result, asking for the hints each time.
pub(crate) async fn observe<B: Body<Data = Bytes, Error: Display>>(body: B) -> Vec<Seen> {
    let mut body = pin!(body);
    let mut seen = Vec::new();
    while seen.last().is_none_or(|last: &Seen| !last.item.is_terminal()) {
        let (hint, end_of_stream) = (body.size_hint(), body.is_end_stream());
        let item = next(body.as_mut()).await;
        seen.push(Seen { lower: hint.lower(), upper: hint.upper(), end_of_stream, item });
    }
    seen
}

pub(crate) async fn next<B: Body<Data = Bytes, Error: Display>>(mut body: Pin<&mut B>) -> Item {
    match poll_fn(|cx| body.as_mut().poll_frame(cx).map(|polled| item::<B>(Poll::Ready(polled))))
        .await
    {
        Some(item) => item,
        None => unreachable!("it was ready"),
    }
}

/// Polls once; `None` stands for `Pending`.
pub(crate) fn poll<B>(body: &mut B, wakes: &Wakes) -> Option<Item>
where
    B: Body<Data = Bytes, Error: Display> + Unpin,
{
    item::<B>(poll_body(Pin::new(body), &wakes.waker()))
}

fn item<B: Body<Data = Bytes, Error: Display>>(polled: Polled<B>) -> Option<Item> {
    Some(match polled {
        Poll::Pending => return None,
        Poll::Ready(None) => Item::End,
        Poll::Ready(Some(Err(error))) => Item::Error(error.to_string()),
        Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
            Ok(data) => Item::Data(data),
            Err(frame) => Item::Trailers(frame.into_trailers().unwrap()),
        },
    })
}

pub(crate) fn data(text: &'static str) -> Item {
    Item::Data(Bytes::from_static(text.as_bytes()))
}

/// Trailers with a name that stands there twice.
pub(crate) fn trailers() -> HeaderMap {
    let mut trailers = HeaderMap::new();
    for (name, value) in [("grpc-status", "0"), ("x-sum", "1"), ("x-sum", "2")] {
        trailers.append(name, HeaderValue::from_static(value));
    }
    trailers
}
