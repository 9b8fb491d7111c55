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
    server::conn::auto,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep, sleep_until},
};
use tower::{BoxError, Service, ServiceExt};

pub(crate) use self::pace::Given;
use self::{
    idle::{Activity, Answer, Close, Observed},
    pace::Paced,
    resets::{Counted, Resets},
    room::Room,
};
use crate::{
    heads::{self, Size},
    socket::{Socket, Switch},
};

mod idle;
mod pace;
mod resets;
mod room;
#[cfg(test)]
mod tests;

/// For the first byte of a connection, and for a request head that has begun, to be there.
const HEAD_TIME: Duration = Duration::from_secs(30);
/// An HTTP/2 peer that does not answer a PING for so long, after so long a silence, is gone: together the time above,
/// which bounds a connection that is opened and a head that is begun and then never finished, since no peer can answer
/// in the middle of a head.
const PING: Duration = Duration::from_secs(15);
/// One stalled upload may hold so much; its siblings on the connection are not starved by it.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 64 * 1024 * 1024;
/// When no connection can be accepted (no file descriptors left) trying at once again would only burn the processor.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// When a client's connection is closed.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Limits {
    /// It has taken nothing of what was written for it for so long.
    pub(crate) unread: Option<Duration>,
    /// It has had no exchange for so long.
    pub(crate) idle: Option<Duration>,
    /// There are so many, this one is the oldest of those without an exchange, and another one comes.
    pub(crate) connections: Option<usize>,
}

/// The connections of a listener that is closed. To drop them is to cut them.
#[derive(Debug)]
pub(crate) struct Connections {
    tasks: JoinSet<()>,
    stop: watch::Sender<()>,
}

impl Connections {
    /// Lets each connection finish the exchanges that are under way and begin no others; resolves when all are closed.
    pub(crate) async fn close(mut self) {
        self.stop.send_replace(());
        while self.tasks.join_next().await.is_some() {}
    }
}

/// Serves until `stop` resolves; from then on nobody is let in.
pub(crate) async fn serve<S, B>(
    listener: TcpListener,
    service: S,
    limits: Limits,
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
    let mut connections = Connections { tasks: JoinSet::new(), stop: watch::Sender::new(()) };
    let mut stop = pin!(stop);
    let mut room = limits.connections.map(Room::new);
    loop {
        let stream = tokio::select! {
            () = &mut stop => return connections,
            Some(_) = connections.tasks.join_next() => continue,
            stream = accept(&listener) => stream,
        };
        if room.as_mut().is_some_and(|room| !room.make()) {
            continue;
        }
        let activity = Activity::new();
        let doing = activity.watch();
        let socket = Socket::new(stream, limits.unread);
        let told = (socket.given(), socket.switch());
        let reset = socket.reset();
        let connection = connection(
            server.clone(),
            socket,
            told,
            service.clone(),
            activity,
            limits.idle,
            connections.stop.subscribe(),
        );
        let task = connections.tasks.spawn(async move {
            tokio::select! {
                () = connection => {}
                // hyper does not look while the upload waits for a reader.
                () = reset => {}
            }
        });
        if let Some(room) = &mut room {
            room.take(doing, task);
        }
    }
}

/// Serves one connection to its end, which comes when it has nothing to do, too. `told` is what its socket is told.
async fn connection<S, B>(
    server: auto::Builder<TokioExecutor>,
    io: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    told: (Given, Switch),
    service: S,
    activity: Activity,
    idle: Option<Duration>,
    mut stop: watch::Receiver<()>,
) where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send + 'static,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    let mut changes = activity.watch();
    let io = TokioIo::new(Observed::new(io, activity.clone()));
    let resets = Resets::new();
    let counted = resets.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        let exchange = activity.begin();
        // In HTTP/1 the connection ends with it.
        let open = (request.version() == Version::HTTP_2).then(|| counted.begin());
        let (service, (given, switch)) = (service.clone(), told.clone());
        async move {
            let answer = answer(service, given, request).await;
            if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
                switch.on();
            }
            let answer = answer.map(|body| Counted::new(body, open));
            Ok::<_, Infallible>(answer.map(|body| Answer { body, exchange }))
        }
    });
    let mut connection = pin!(server.serve_connection_with_upgrades(io, service));
    let mut closing = false;
    loop {
        let state = *changes.borrow_and_update();
        // What is closed gracefully is closed once.
        let deadline =
            state.deadline(HEAD_TIME, idle).filter(|(_, close)| *close == Close::Now || !closing);
        tokio::select! {
            ended = &mut connection => {
                if let Err(error) = ended {
                    tracing::debug!(error, "a client's connection ended");
                }
                return;
            }
            Ok(()) = changes.changed() => {}
            close = async {
                tokio::select! {
                    close = at(deadline) => close,
                    close = resets.exceed(closing) => close,
                }
            } => match close {
                Close::Now => return,
                Close::Gracefully => {
                    closing = true;
                    connection.as_mut().graceful_shutdown();
                }
            },
            Ok(()) = stop.changed() => {
                closing = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

async fn at(deadline: Option<(Instant, Close)>) -> Close {
    match deadline {
        Some((at, close)) => {
            sleep_until(at).await;
            close
        }
        None => std::future::pending().await,
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
        // It would count from the end of the exchange before, not from the first byte.
        .header_read_timeout(None)
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
