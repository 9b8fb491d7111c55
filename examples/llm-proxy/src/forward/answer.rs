//! The body of the upstream's answer. As long as it is there, the request's body does not end the exchange.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::sync::watch;

/// The answer's side: to be dropped when there is none.
#[derive(Debug)]
pub(super) struct Begin(watch::Sender<bool>);

/// The upload's side.
#[derive(Debug)]
pub(super) struct Begun(watch::Receiver<bool>);

pub(super) fn watch() -> (Begin, Begun) {
    let (begin, begun) = watch::channel(false);
    (Begin(begin), Begun(begun))
}

impl Begin {
    pub(super) fn answer(self, body: Incoming) -> Answer {
        self.0.send_replace(true);
        Answer { body, _begin: self }
    }
}

impl Begun {
    /// Waits for the end of the answer if it has begun.
    pub(super) async fn answered(&mut self) {
        // It fails when the answer is dropped.
        let _ = self.0.wait_for(|begun| !begun).await;
    }
}

/// The body of the upstream's answer.
#[derive(Debug)]
pub(crate) struct Answer {
    body: Incoming,
    _begin: Begin,
}

impl Body for Answer {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
