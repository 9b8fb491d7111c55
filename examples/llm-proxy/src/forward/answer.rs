//! The body of the upstream's answer. As long as it is there, the request's body does not end the exchange.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::sync::watch;
use tower_lifeline::{
    exchange::{Cause, Exchange},
    timeouts::Limit,
};

/// The answer's side: to be dropped when there is none.
#[derive(Debug)]
pub(super) struct Begin(watch::Sender<bool>);

/// The upload's side.
#[derive(Debug)]
pub(super) struct Begun {
    begun: watch::Receiver<bool>,
    exchange: Exchange,
}

pub(super) fn watch(exchange: Exchange) -> (Begin, Begun) {
    let (begin, begun) = watch::channel(false);
    (Begin(begin), Begun { begun, exchange })
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
        let _ = self.begun.wait_for(|begun| !begun).await;
    }

    pub(super) fn exchange(&self) -> &Exchange {
        &self.exchange
    }

    /// Whether the client was given up because it did not send on.
    pub(super) fn gave_client_up(&self) -> bool {
        matches!(self.exchange.cause(), Some(Cause::TimedOut(hit)) if hit.limit() == Limit::Upload)
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
