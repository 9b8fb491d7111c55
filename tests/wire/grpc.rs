//! The layers in a tonic server (truths.md 14; faults.md 24, 25, 47).

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http::Response;
use http_body::Body as HttpBody;
use testkit::{H2, H2Body};
use tokio_stream::StreamExt;
use tonic::{Code, Status, Streaming};
use tower::ServiceBuilder;
use tower_lifeline::{
    abort::{AbortHandle, AbortLayer},
    final_frame::FinalFrameLayer,
    keepalive::IdleKeepaliveLayer,
    tee::{Limit, TeeLayer},
};

use self::service::{Answer, Tonic, call};
use crate::server::{Endings, endings};

mod aborts;
mod ends;
mod service;

/// A tonic server under the whole stack, with heartbeats far too often.
struct Stage {
    tonic: Tonic,
    handle: AbortHandle,
    endings: Endings,
    /// What `is_end_stream` said of each response at its head.
    at_end: Arc<Mutex<Vec<bool>>>,
}

impl Stage {
    async fn start(answer: impl Fn() -> Answer + Clone + Send + Sync + 'static) -> Self {
        Self::under(AbortHandle::new(), answer).await
    }

    /// The same under a handle that is already known.
    async fn under(
        handle: AbortHandle,
        answer: impl Fn() -> Answer + Clone + Send + Sync + 'static,
    ) -> Self {
        let given = handle.clone();
        let (tell, endings) = endings();
        let at_end = Arc::new(Mutex::new(Vec::new()));
        let seen = at_end.clone();
        let layers = ServiceBuilder::new()
            .map_response(move |response: Response<_>| {
                seen.lock().unwrap().push(HttpBody::is_end_stream(response.body()));
                response
            })
            .layer(IdleKeepaliveLayer::new(Duration::from_millis(5)))
            .layer(FinalFrameLayer::by_media())
            .layer(AbortLayer::new(move |_| given.clone()))
            .layer(tell.layer())
            .layer(TeeLayer::recording(Limit::first(1000)));
        Self { tonic: Tonic::start(layers, answer).await, handle, endings, at_end }
    }

    fn addr(&self) -> SocketAddr {
        self.tonic.addr()
    }
}

/// Reads a call to its end: the messages, and the status when it was not OK.
async fn read(call: Result<Streaming<Bytes>, Status>) -> (Vec<Bytes>, Option<Status>) {
    let mut messages = Vec::new();
    let mut stream = match call {
        Ok(stream) => stream,
        Err(status) => return (messages, Some(status)),
    };
    while let Some(next) = stream.next().await {
        match next {
            Ok(message) => messages.push(message),
            Err(status) => return (messages, Some(status)),
        }
    }
    (messages, None)
}

/// What a tonic client makes of a call that ends badly.
async fn ends_with(stage: &Stage) -> (Vec<Bytes>, Code, String) {
    let (messages, status) = read(call(stage.addr()).await).await;
    let status = status.expect("the call ended with OK");
    (messages, status.code(), status.message().to_owned())
}

/// The same call by a client that shows what is on the wire.
async fn raw(addr: SocketAddr) -> (H2, http::response::Parts, H2Body) {
    let mut client = H2::connect(addr).await.unwrap();
    let headers = [("content-type", "application/grpc"), ("te", "trailers")];
    let (head, body) = client.request("POST", service::PATH, &headers).await.unwrap();
    (client, head, body)
}

/// A message as it goes over the wire.
fn message(text: &str) -> Bytes {
    let length = u32::try_from(text.len()).unwrap().to_be_bytes();
    [&[0][..], &length[..], text.as_bytes()].concat().into()
}
