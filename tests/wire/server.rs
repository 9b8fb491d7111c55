//! Serves a stack on loopback, and gathers the endings that it reports.
//!
//! ```ignore
//! let (tell, mut endings) = endings();
//! let stack = ServiceBuilder::new().layer(tell.layer()).service(service_fn(|_: Request<Body>| async { .. }));
//! let server = Server::start(Front::H1, stack).await;
//! let mut client = H1::connect(server.addr()).await.unwrap();
//! ..
//! assert_eq!(endings.next(LIMIT).await.outcome, Outcome::Completed);
//! ```

use std::{net::SocketAddr, time::Duration};

use axum::{Router, body::Body, error_handling::HandleError, routing::any_service};
use bytes::Bytes;
use http::{Request, Response, StatusCode, request::Parts};
use http_body::Body as HttpBody;
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{mpsc, oneshot},
    task::{JoinHandle, JoinSet},
    time::timeout,
};
use tower::{Service, ServiceExt};
use tower_lifeline::{
    error::BoxError,
    finalize::{Ending, FinalizeLayer, Finalizer},
};

/// Bounds whatever must happen.
pub(crate) const LIMIT: Duration = Duration::from_secs(5);

/// Is how long a test watches that something does not happen.
pub(crate) const MOMENT: Duration = Duration::from_millis(200);

/// Says who serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Front {
    /// hyper's http1.
    H1,
    /// hyper's http1 with `half_close(true)`.
    HalfClose,
    /// hyper's http2, with prior knowledge.
    H2,
    /// The same with a PING every 50 ms, which must be answered within another 50.
    H2Pings,
    /// hyper-util's auto, which speaks whichever of the two the client speaks.
    Auto,
    /// `axum::serve`, which speaks both too. A service error, which axum does not know, is answered with 500.
    Axum,
}

impl Front {
    /// Those that speak HTTP/1, as they are by default.
    pub(crate) const H1S: [Self; 3] = [Self::H1, Self::Auto, Self::Axum];
    /// Those that speak HTTP/2.
    pub(crate) const H2S: [Self; 3] = [Self::H2, Self::Auto, Self::Axum];
}

/// Serves until it is stopped or dropped.
#[derive(Debug)]
pub(crate) struct Server {
    addr: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl Server {
    /// Serves `service` on a port of its own. The request body is axum's in every case, the response body is the
    /// service's own.
    pub(crate) async fn start<S, B>(front: Front, service: S) -> Self
    where
        S: Service<Request<Body>, Response = Response<B>> + Clone + Send + Sync + 'static,
        S::Future: Send,
        S::Error: Into<BoxError> + Send,
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let task = if front == Front::Axum {
            let service = HandleError::new(service, |error: S::Error| {
                let error: BoxError = error.into();
                async move { (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()) }
            });
            let service = any_service(service);
            let app = Router::new().route("/", service.clone()).route("/{*path}", service);
            let serving = axum::serve(listener, app);
            tokio::spawn(async {
                let _ = serving.with_graceful_shutdown(async { drop(stopped.await) }).await;
            })
        } else {
            let accepting = async move {
                let mut connections = JoinSet::new();
                while let Ok((stream, _)) = listener.accept().await {
                    connections.spawn(serve(front, stream, service.clone()));
                }
            };
            tokio::spawn(async {
                tokio::select! {
                    () = accepting => {}
                    _ = stopped => {}
                }
            })
        };
        Self { addr, stop: Some(stop), task }
    }

    /// Tells where it listens.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Ends all connections; axum only those that are idle, so let its clients leave first.
    pub(crate) async fn stop(mut self) {
        drop(self.stop.take());
        let _ = timeout(LIMIT, &mut self.task).await.expect("the server did not stop");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve<S, B>(front: Front, stream: TcpStream, service: S)
where
    S: Service<Request<Body>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<BoxError>,
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let _ = stream.set_nodelay(true);
    let service = service.map_request(|request: Request<Incoming>| request.map(Body::new));
    let (io, service) = (TokioIo::new(stream), TowerToHyperService::new(service));
    // How a connection ends is for its client to see.
    match front {
        Front::H2 => {
            let _ = http2::Builder::new(TokioExecutor::new()).serve_connection(io, service).await;
        }
        Front::H2Pings => {
            let mut http2 = http2::Builder::new(TokioExecutor::new());
            http2.timer(TokioTimer::new()).keep_alive_interval(AT_ONCE).keep_alive_timeout(AT_ONCE);
            let _ = http2.serve_connection(io, service).await;
        }
        Front::Auto | Front::Axum => {
            let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(io, service).await;
        }
        Front::H1 | Front::HalfClose => {
            let half_close = front == Front::HalfClose;
            let mut http1 = http1::Builder::new();
            let _ = http1.half_close(half_close).serve_connection(io, service).await;
        }
    }
}

/// Makes a layer that tells endings, and the place where they arrive.
pub(crate) fn endings() -> (Tell, Endings) {
    let (tell, told) = mpsc::unbounded_channel();
    (Tell(tell), Endings(told))
}

/// Makes [`FinalizeLayer`]s, and is the hook of their exchanges too.
#[derive(Clone, Debug)]
pub(crate) struct Tell(mpsc::UnboundedSender<Ending>);

/// Gathers the endings of all layers of its [`Tell`], in the order in which they were reported.
#[derive(Debug)]
pub(crate) struct Endings(mpsc::UnboundedReceiver<Ending>);

impl Tell {
    /// Makes a layer that tells how each of its exchanges ended.
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
    /// Waits for the next ending, and fails the test when none comes in time.
    pub(crate) async fn next(&mut self, limit: Duration) -> Ending {
        let next = timeout(limit, self.0.recv()).await;
        next.unwrap_or_else(|_| panic!("no ending within {limit:?}"))
            .expect("nobody can tell any more")
    }

    /// Watches for this long that nothing ends.
    pub(crate) async fn none_within(&mut self, moment: Duration) {
        if let Ok(Some(ending)) = timeout(moment, self.0.recv()).await {
            panic!("ended: {ending:?}");
        }
    }

    /// Waits for the one ending there is. The server is stopped, so that nothing else can end after it.
    pub(crate) async fn only(mut self, server: Server) -> Ending {
        let ending = self.next(LIMIT).await;
        server.stop().await;
        let more = timeout(LIMIT, self.0.recv()).await.expect("an exchange outlived its server");
        assert!(more.is_none(), "a second ending: {more:?}, after {ending:?}");
        ending
    }
}

/// Is the promised limit to release an upstream and to call a hook (faults.md, R).
pub(crate) const AT_ONCE: Duration = Duration::from_millis(50);

/// Measures five times and gives the middle one, for the machine may be busy.
pub(crate) async fn median_of_five(mut measure: impl AsyncFnMut() -> Duration) -> Duration {
    let mut all = Vec::new();
    for _ in 0..5 {
        all.push(measure().await);
    }
    all.sort();
    all[2]
}
