//! Serves a stack with axum, and gathers the endings that it reports.

use std::{
    convert::Infallible,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::{Router, body::Body, error_handling::HandleError, serve::ListenerExt};
use bytes::Bytes;
use http::{Request, Response, StatusCode, Uri, Version, header, request::Parts};
use http_body::{Body as HttpBody, Frame};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{self, Client},
    rt::TokioExecutor,
};
use tokio::{net::TcpListener, sync::mpsc, time::timeout};
use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
use tower_lifeline::{
    abort::{AbortHandle, AbortLayer},
    error::{AsError, BoxError},
    exchange::Exchange,
    final_frame::FinalFrameLayer,
    finalize::{Ending, FinalizeLayer, Finalizer},
    keepalive::IdleKeepaliveLayer,
    tee::{Limit, TeeLayer},
};

/// Bounds whatever must happen.
pub(crate) const LIMIT: Duration = Duration::from_secs(5);

/// Is how long a test watches that something does not happen.
pub(crate) const MOMENT: Duration = Duration::from_millis(200);

/// In this time a consumer is to be free after a cancel.
pub(crate) const UNWOUND: Duration = Duration::from_millis(100);

/// In this time an upstream is to be closed after a limit.
pub(crate) const AT_ONCE: Duration = Duration::from_millis(50);

/// Serves until the test ends. A service error is answered with 502.
pub(crate) async fn serve<S, B>(stack: S) -> SocketAddr
where
    S: Service<Request<Body>, Response = Response<B>> + Clone + Send + Sync + 'static,
    S::Future: Send,
    S::Error: Into<BoxError> + Send,
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let stack = HandleError::new(stack, |error: S::Error| {
        let error: BoxError = error.into();
        async move { (StatusCode::BAD_GATEWAY, error.to_string()) }
    });
    // Or the end of an answer waits for the acknowledgement of its beginning, 40 ms.
    let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
    let serving = axum::serve(listener, Router::new().fallback_service(stack));
    tokio::spawn(async { serving.await });
    addr
}

/// An address that nobody listens at.
pub(crate) async fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

/// Is a service that a server can have at its heart.
pub(crate) trait Heart<B>:
    Service<Request<Body>, Response = Response<B>, Future: Send + 'static>
    + Clone
    + Send
    + Sync
    + 'static
{
}

impl<S, B> Heart<B> for S where
    S: Service<Request<Body>, Response = Response<B>, Future: Send + 'static>
        + Clone
        + Send
        + Sync
        + 'static
{
}

/// hyper's client, which sends every request to this upstream.
pub(crate) fn proxy(upstream: SocketAddr) -> impl Heart<Incoming, Error = legacy::Error> {
    let client = Client::builder(TokioExecutor::new()).build_http();
    client.map_request(move |mut request: Request<Body>| {
        let path = request.uri().path();
        *request.uri_mut() = Uri::try_from(format!("http://{upstream}{path}")).unwrap();
        *request.version_mut() = Version::HTTP_11;
        request
    })
}

/// A producer in the process: answers each exchange with what `make` makes.
pub(crate) fn answering<B: Send + 'static>(
    make: impl Fn(Exchange) -> Response<B> + Clone + Send + Sync + 'static,
) -> impl Heart<B, Error = Infallible> {
    service_fn(move |request: Request<Body>| {
        let response = make(Exchange::get(request.extensions()).unwrap());
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

/// A body that does what a function says.
pub(crate) struct Does<F>(pub(crate) F);

impl<F: FnMut() -> Poll<Option<Result<Bytes, BoxError>>> + Unpin> HttpBody for Does<F> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        (self.0)().map(|next| next.map(|data| data.map(Frame::data)))
    }
}

/// The last event of a stream that ended badly.
pub(crate) fn error_event(kind: &str, message: &str, code: &str) -> String {
    let error = format!(r#"{{"type":"{kind}","message":"{message}","code":"{code}"}}"#);
    format!("event: error\ndata: {{\"type\":\"error\",\"error\":{error}}}\n\n")
}

/// The last event of a stream that was aborted.
pub(crate) fn aborted_event(reason: &str) -> String {
    error_event("aborted", reason, "aborted")
}

/// Is a server with the layers of the front page around a heart, and one handle for all of its requests.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) addr: SocketAddr,
    pub(crate) handle: AbortHandle,
    pub(crate) endings: Endings,
}

impl Run {
    pub(crate) async fn of<S, B, M, N>(heart: S) -> Self
    where
        S: Heart<B, Error: AsError<N> + Into<BoxError> + Send>,
        B: HttpBody<Data = Bytes, Error: AsError<M> + Into<BoxError>> + Send + 'static,
        M: Send + Sync + 'static,
        N: Send + Sync + 'static,
    {
        let (handle, (tell, endings)) = (AbortHandle::new(), endings());
        let given = handle.clone();
        let stack = ServiceBuilder::new()
            .layer(IdleKeepaliveLayer::new(Duration::from_secs(60)))
            .layer(FinalFrameLayer::by_media())
            .layer(AbortLayer::new(move |_| given.clone()))
            .layer(tell.layer())
            .layer(TeeLayer::recording(Limit::first(64 * 1024)))
            .service(heart);
        Self { addr: serve(stack).await, handle, endings }
    }
}

/// Makes layers that tell endings, and the place where they arrive.
pub(crate) fn endings() -> (Tell, Endings) {
    let (tell, told) = mpsc::unbounded_channel();
    (Tell(tell), Endings(told))
}

/// Makes [`FinalizeLayer`]s, and is the hook of their exchanges too.
#[derive(Clone, Debug)]
pub(crate) struct Tell(mpsc::UnboundedSender<Ending>);

/// Gathers endings, in the order in which they were told.
#[derive(Debug)]
pub(crate) struct Endings(mpsc::UnboundedReceiver<Ending>);

impl Tell {
    pub(crate) fn layer<M>(&self) -> FinalizeLayer<impl Fn(&Parts) -> Self + Clone + use<M>, M> {
        let tell = self.clone();
        FinalizeLayer::with(move |_: &Parts| tell.clone())
    }
}

impl Finalizer for Tell {
    fn on_end(self, ending: Ending) {
        let _ = self.0.send(ending);
    }
}

impl Endings {
    /// Waits for the next ending.
    pub(crate) async fn next(&mut self) -> Ending {
        timeout(LIMIT, self.0.recv()).await.expect("nothing ended").expect("nobody can tell")
    }

    /// Waits for the next ending, and then for a moment that there is no second one.
    pub(crate) async fn only(&mut self) -> Ending {
        let ending = self.next().await;
        let more = timeout(MOMENT, self.0.recv()).await;
        assert!(!matches!(more, Ok(Some(_))), "told twice: {ending:?}, {more:?}");
        ending
    }
}

/// Measures five times and gives the middle one, for the machine may be busy.
pub(crate) async fn middle_of_five(mut measure: impl AsyncFnMut() -> Duration) -> Duration {
    let mut all = Vec::new();
    for _ in 0..5 {
        all.push(measure().await);
    }
    all.sort();
    all[2]
}
