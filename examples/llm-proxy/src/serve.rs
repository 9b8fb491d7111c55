//! Accepts connections and serves HTTP/1 and HTTP/2 (prior knowledge) on each.

use std::{convert::Infallible, pin::pin, time::Duration};

use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulShutdown},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::sleep,
};
use tower::{BoxError, Service};

use crate::socket::Socket;

#[cfg(test)]
mod tests;

/// For a request head to arrive, and for an idle connection to send the next one.
const HEAD_TIME: Duration = Duration::from_secs(60);
/// An HTTP/2 peer that does not answer a PING for so long, after so long a silence, is gone.
const PING: Duration = Duration::from_secs(20);
/// One stalled upload may hold so much; its siblings on the connection are not starved by it.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 64 * 1024 * 1024;
/// When no connection can be accepted (no file descriptors left) trying at once again would only burn the processor.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The connections of a listener that is closed. To drop them is to cut them.
#[derive(Debug)]
pub(crate) struct Connections {
    tasks: JoinSet<()>,
    graceful: GracefulShutdown,
}

impl Connections {
    /// Lets each connection finish the exchanges that are under way and begin no others; resolves when all are closed.
    pub(crate) async fn close(self) {
        // Lives as long as this is polled.
        let _tasks = self.tasks;
        self.graceful.shutdown().await;
    }
}

/// Serves until `stop` resolves; from then on nobody is let in. A connection whose client takes nothing for longer than
/// `unread` is closed.
pub(crate) async fn serve<S, B>(
    listener: TcpListener,
    service: S,
    unread: Option<Duration>,
    stop: impl Future<Output = ()>,
) -> Connections
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send + 'static,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    let server = server();
    let graceful = GracefulShutdown::new();
    let mut tasks = JoinSet::new();
    let mut stop = pin!(stop);
    loop {
        let stream = tokio::select! {
            () = &mut stop => return Connections { tasks, graceful },
            Some(_) = tasks.join_next() => continue,
            stream = accept(&listener) => stream,
        };
        let socket = Socket::new(stream, unread);
        let connection = server
            .serve_connection(TokioIo::new(socket), TowerToHyperService::new(service.clone()))
            .into_owned();
        let connection = graceful.watch(connection);
        tasks.spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(error, "a client's connection ended");
            }
        });
    }
}

/// What hyper holds of an answer before its client has read it, and of a head. It asks for no more until all of that is
/// written, so a slow reader is taken for one that does not read if it takes longer for so much than `--unread-timeout`.
const WRITE_BUFFER: usize = 64 * 1024;

fn server() -> auto::Builder<TokioExecutor> {
    let mut server = auto::Builder::new(TokioExecutor::new());
    server
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(WRITE_BUFFER);
    server
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING)
        .keep_alive_timeout(PING)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW);
    server
}

async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            Err(error) => {
                tracing::warn!(%error, "no connection accepted");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}
