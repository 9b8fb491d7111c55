//! The services that the abort and injection tests put behind a server.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use axum::body::Body;
use bytes::Bytes;
use http::{Request, Response, header};
use http_body::{Body as HttpBody, Frame};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{Client, Error},
    rt::TokioExecutor,
};
use testkit::Upstream;
use tower::{Service, ServiceBuilder, service_fn};
use tower_lifeline::{
    abort::{AbortHandle, AbortLayer, AbortReason},
    error::{AsError, BoxError},
    final_frame::FinalFrameLayer,
    timeouts::TimedOut,
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

/// Forwards every request to the upstream, with hyper-util's client.
pub(crate) fn forwarding(
    upstream: &Upstream,
) -> impl Service<Request<Body>, Response = Response<Incoming>, Error = Error, Future: Send>
+ Clone
+ Send
+ Sync
+ use<> {
    let client = Client::builder(TokioExecutor::new()).build_http();
    let uri = format!("http://{}/", upstream.addr());
    service_fn(move |_: Request<Body>| {
        client.request(Request::get(&uri).body(Body::empty()).unwrap())
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
pub(crate) fn aborted_event(reason: impl Into<AbortReason>) -> String {
    let reason = reason.into();
    let code = reason.kind().as_str();
    format!(
        "event: error\ndata: {{\"type\":\"error\",\"error\":{{\"type\":\"aborted\",\"message\":\"{reason}\",\"code\":\"{code}\"}}}}\n\n"
    )
}

/// The last event that a client sees of a time limit.
pub(crate) fn timed_out_event(limit: &TimedOut) -> String {
    let code = limit.limit();
    format!(
        "event: error\ndata: {{\"type\":\"error\",\"error\":{{\"type\":\"timeout\",\"message\":\"{limit}\",\"code\":\"{code}\"}}}}\n\n"
    )
}

/// Counts how often a body is polled.
pub(crate) fn count_polls<B>(
    body: B,
    polls: Arc<AtomicUsize>,
) -> impl HttpBody<Data = B::Data, Error = B::Error>
where
    B: HttpBody<Data = Bytes>,
{
    let mut body = Box::pin(body);
    Does::new(move |cx| {
        polls.fetch_add(1, Ordering::SeqCst);
        body.as_mut().poll_frame(cx)
    })
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
