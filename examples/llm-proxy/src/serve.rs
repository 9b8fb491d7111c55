//! Accepts connections and serves HTTP/1 and HTTP/2 (prior knowledge) on each.

use std::{convert::Infallible, pin::pin, time::Duration};

use http::{
    HeaderValue, Request, Response, StatusCode, Version,
    header::{CONNECTION, CONTENT_LENGTH},
};
use http_body::Body;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulShutdown},
};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::sleep,
};
use tower::{BoxError, Service, ServiceExt};

pub(crate) use self::pace::Given;
use self::pace::Paced;
use crate::{
    heads::{self, Size},
    socket::Socket,
};

mod pace;
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
        let (given, switch) = (socket.given(), socket.switch());
        let service = service.clone();
        let service = service_fn(move |request| {
            let (service, given, switch) = (service.clone(), given.clone(), switch.clone());
            async move {
                let answer = answer(service, given, request).await;
                if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
                    switch.on();
                }
                Ok::<_, Infallible>(answer)
            }
        });
        let connection =
            server.serve_connection_with_upgrades(TokioIo::new(socket), service).into_owned();
        let connection = graceful.watch(connection);
        tasks.spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(error, "a client's connection ended");
            }
        });
    }
}

async fn answer<S, B>(service: S, given: Given, request: Request<Incoming>) -> Response<Paced<B>>
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
    B: Body,
{
    let given = (request.version() != Version::HTTP_2).then_some(given);
    let (head, body) = request.into_parts();
    if Size::of_request(&head) == Size::FarTooLarge {
        return unread(given.is_some());
    }
    let Ok(response) = service.oneshot(Request::from_parts(head, body)).await;
    response.map(|body| Paced::new(body, given))
}

/// As hyper answers a head that it does not read to its end.
fn unread<B>(http1: bool) -> Response<Paced<B>> {
    let mut response = Response::new(Paced::none());
    *response.status_mut() = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    if http1 {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

fn server() -> auto::Builder<TokioExecutor> {
    let mut server = auto::Builder::new(TokioExecutor::new());
    server
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(heads::READ_BUFFER)
        .max_headers(heads::READ_FIELDS);
    server
        .http2()
        .max_header_list_size(heads::LIST)
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
