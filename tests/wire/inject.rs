//! What is put into a stream over the wire, and where nothing may be (faults.md 14, 21, 32, 42-46, 48, 49, 51).

use std::{convert::Infallible, time::Duration};

use axum::body::Body;
use bytes::Bytes;
use http::{Request, Response};
use http_body::Body as HttpBody;
use tower::{Service, ServiceBuilder};
use tower_lifeline::{
    abort::{AbortHandle, AbortLayer},
    error::{AsError, BoxError},
    final_frame::FinalFrameLayer,
    keepalive::IdleKeepaliveLayer,
    tee::{Limit, TeeLayer},
};

use crate::{
    reader::Wire,
    server::{Endings, Server, endings},
};

mod aside;
mod clock;
mod data;
mod empty;
mod heartbeats;
mod tunnels;

/// What the layers send by default.
const BEAT: &str = ": keep-alive\n";

/// Is short, for the tests, and long against what loopback takes.
const INTERVAL: Duration = Duration::from_millis(10);

/// Is an interval that no test lives to see.
const NEVER: Duration = Duration::from_secs(3600);

/// What a recording of the stack keeps.
const KEPT: usize = 1000;

/// A server under the whole stack.
struct Stage {
    server: Server,
    handle: AbortHandle,
    endings: Endings,
}

impl Stage {
    async fn start<S, B, M>(wire: Wire, interval: Duration, service: S) -> Self
    where
        S: Service<Request<Body>, Response = Response<B>, Error = Infallible, Future: Send>,
        S: Clone + Send + Sync + 'static,
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError> + AsError<M>,
        M: Send + Sync + 'static,
    {
        let handle = AbortHandle::new();
        let given = handle.clone();
        let (tell, endings) = endings();
        let stack = ServiceBuilder::new()
            .layer(IdleKeepaliveLayer::new(interval))
            .layer(FinalFrameLayer::by_media())
            .layer(AbortLayer::new(move |_| given.clone()))
            .layer(tell.layer())
            .layer(TeeLayer::recording(Limit::first(KEPT)))
            .service(service);
        Self { server: Server::start(wire.front(), stack).await, handle, endings }
    }
}
