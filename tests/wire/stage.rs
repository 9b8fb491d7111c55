//! The services that the abort and injection tests put behind a server.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use axum::body::Body;
use bytes::Bytes;
use http::{Request, Response, header};
use http_body::{Body as HttpBody, Frame};
use tower::{Service, ServiceBuilder, service_fn};
use tower_lifeline::{
    abort::{AbortHandle, AbortLayer},
    error::{AsError, BoxError},
    final_frame::FinalFrameLayer,
};

use crate::{
    reader::Wire,
    server::{Endings, Server, endings},
};

/// Answers every request with what `make` makes.
pub(crate) fn answering<B: Send>(
    make: impl Fn() -> Response<B> + Clone + Send + Sync + 'static,
) -> impl Service<Request<Body>, Response = Response<B>, Error = Infallible, Future: Send>
+ Clone
+ Send
+ Sync
+ 'static {
    service_fn(move |_| {
        let response = make();
        async { Ok(response) }
    })
}

/// An event stream of this body.
pub(crate) fn sse<B>(body: B) -> Response<B> {
    typed("text/event-stream", body)
}

/// A response with this content type.
pub(crate) fn typed<B>(media: &'static str, body: B) -> Response<B> {
    Response::builder().header(header::CONTENT_TYPE, media).body(body).unwrap()
}

/// Serves with a final frame, under a handle that all requests share, and reports from inside of it.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) server: Server,
    pub(crate) handle: AbortHandle,
    pub(crate) endings: Endings,
}

impl Stage {
    /// Serves responses of `make`, which is given the handle that aborts them.
    pub(crate) async fn start<B, M>(
        wire: Wire,
        make: impl Fn(&AbortHandle) -> Response<B> + Clone + Send + Sync + 'static,
    ) -> Self
    where
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError> + AsError<M>,
        M: Send + Sync + 'static,
    {
        let handle = AbortHandle::new();
        let (given, own) = (handle.clone(), handle.clone());
        let (tell, endings) = endings();
        let stack = ServiceBuilder::new()
            .layer(FinalFrameLayer::by_media())
            .layer(AbortLayer::new(move |_| given.clone()))
            .layer(tell.layer())
            .service(answering(move || make(&own)));
        Self { server: Server::start(wire.front(), stack).await, handle, endings }
    }
}

/// The last event that a client sees of an abort.
pub(crate) fn aborted_event(reason: &str) -> String {
    format!(
        "event: error\ndata: {{\"type\":\"error\",\"error\":{{\"type\":\"aborted\",\"message\":\"{reason}\",\"code\":\"{reason}\"}}}}\n\n"
    )
}

/// A body that does what a function says.
pub(crate) struct Does<F>(F);

impl<E, F> Does<F>
where
    F: FnMut(&mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, E>>> + Unpin,
{
    pub(crate) const fn new(does: F) -> Self {
        Self(does)
    }
}

impl<E, F> HttpBody for Does<F>
where
    F: FnMut(&mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, E>>> + Unpin,
{
    type Data = Bytes;
    type Error = E;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, E>>> {
        (self.0)(cx)
    }
}
