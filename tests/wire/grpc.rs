//! The layers in a tonic server (truths.md 14; faults.md 12, 14, 24, 25, 47).

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http::Response;
use http_body::Body as HttpBody;
use testkit::{H2, H2Body};
use tonic::Code;
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
mod clients;
mod ends;
mod limits;
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

/// What a tonic client makes of a call: the messages, and the status.
async fn read(stage: &Stage) -> (Vec<Bytes>, Code, String) {
    let mut messages = Vec::new();
    let status = match call(stage.addr()).await {
        Err(status) => status,
        Ok(mut call) => loop {
            match call.next().await {
                Ok(message) => messages.push(message),
                Err(status) => break status,
            }
        },
    };
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
