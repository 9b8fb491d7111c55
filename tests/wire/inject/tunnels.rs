//! 101 and 2xx to CONNECT: the connection becomes something else, untouched (faults.md 49).

use std::{convert::Infallible, net::SocketAddr};

use axum::body::Body;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body::Body as HttpBody;
use hyper::{
    body::Incoming,
    client::conn,
    upgrade::{self, Upgraded},
};
use hyper_util::{
    client::legacy::Client,
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use testkit::Script;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};
use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
use tower_lifeline::{
    abort::{AbortHandle, AbortLayer},
    error::{AsError, BoxError},
    exchange::Outcome,
    final_frame::FinalFrameLayer,
    keepalive::IdleKeepaliveLayer,
    tee::{Limit, TeeLayer},
};

use super::INTERVAL;
use crate::server::{LIMIT, Tell, endings};

/// How a client asks for a tunnel.
#[derive(Clone, Copy, Debug)]
enum Ask {
    Upgrade,
    Connect,
    ConnectOverH2,
}

/// Puts the whole stack around a service.
fn stacked<S, B, M, N>(
    service: S,
    handle: &AbortHandle,
    tell: &Tell,
) -> impl Service<
    Request<Body>,
    Response = Response<impl HttpBody<Data = Bytes, Error = BoxError> + Send + 'static>,
    Error = S::Error,
    Future: Send,
> + Clone
+ Send
+ Sync
+ 'static
where
    S: Service<Request<Body>, Response = Response<B>, Future: Send + 'static>,
    S: Clone + Send + Sync + 'static,
    S::Error: AsError<N> + Send,
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError> + AsError<M>,
    M: Send + Sync + 'static,
    N: Send + Sync + 'static,
{
    let handle = handle.clone();
    ServiceBuilder::new()
        .layer(IdleKeepaliveLayer::new(INTERVAL))
        .layer(FinalFrameLayer::by_media())
        .layer(AbortLayer::new(move |_| handle.clone()))
        .layer(tell.layer())
        .layer(TeeLayer::recording(Limit::first(1000)))
        .service(service)
}

/// Serves with hyper, and lets go of connections that are upgraded.
async fn serve<S, B>(service: S) -> SocketAddr
where
    S: Service<Request<Body>, Response = Response<B>, Future: Send>,
    S: Clone + Send + Sync + 'static,
    S::Error: Into<BoxError>,
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let service = service.map_request(|request: Request<Incoming>| request.map(Body::new));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (io, service) = (TokioIo::new(stream), service.clone());
            tokio::spawn(async move {
                let service = TowerToHyperService::new(service);
                let auto = auto::Builder::new(TokioExecutor::new());
                let _ = auto.serve_connection_with_upgrades(io, service).await;
            });
        }
    });
    addr
}

/// Opens a tunnel, and sends everything that comes through it back in capitals.
async fn shout(mut request: Request<Body>) -> Result<Response<Script>, Infallible> {
    let upgraded = upgrade::on(&mut request);
    tokio::spawn(async move {
        let mut io = TokioIo::new(upgraded.await.unwrap());
        let mut bytes = [0; 1024];
        while let Ok(length @ 1..) = io.read(&mut bytes).await {
            io.write_all(&bytes[..length].to_ascii_uppercase()).await.unwrap();
        }
        let _ = io.shutdown().await;
    });
    // A body that would have something to say, were it asked.
    let response = Response::new(Script::new().data("data: never\n\n"));
    Ok(if request.method() == Method::CONNECT { response } else { switching(response) })
}

fn switching<B>(mut response: Response<B>) -> Response<B> {
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    for (name, value) in [("connection", "upgrade"), ("upgrade", "shouting")] {
        response.headers_mut().insert(name, value.parse().unwrap());
    }
    response.headers_mut().insert("content-type", "text/event-stream".parse().unwrap());
    response
}

/// Asks for a tunnel as hyper's clients do, and gives the status and the tunnel.
async fn open(ask: Ask, addr: SocketAddr) -> (StatusCode, TokioIo<Upgraded>) {
    let io = TokioIo::new(TcpStream::connect(addr).await.unwrap());
    let request = match ask {
        Ask::Upgrade => Request::get("/")
            .header("host", "test")
            .header("connection", "upgrade")
            .header("upgrade", "shouting"),
        Ask::Connect | Ask::ConnectOverH2 => Request::connect("test:80"),
    };
    let request = request.body(Body::empty()).unwrap();
    let response = match ask {
        Ask::Upgrade | Ask::Connect => {
            let (mut client, connection) = conn::http1::handshake(io).await.unwrap();
            tokio::spawn(connection.with_upgrades());
            timeout(LIMIT, client.send_request(request)).await.unwrap().unwrap()
        }
        Ask::ConnectOverH2 => {
            let executor = TokioExecutor::new();
            let (mut client, connection) = conn::http2::handshake(executor, io).await.unwrap();
            tokio::spawn(connection);
            timeout(LIMIT, client.send_request(request)).await.unwrap().unwrap()
        }
    };
    let status = response.status();
    let upgraded = timeout(LIMIT, upgrade::on(response)).await.unwrap().unwrap();
    (status, TokioIo::new(upgraded))
}

/// Speaks through the tunnel both ways, with a pause that is long for a heartbeat.
async fn speak(io: &mut TokioIo<Upgraded>) {
    for (word, echo) in [("hello", b"HELLO"), ("again", b"AGAIN")] {
        io.write_all(word.as_bytes()).await.unwrap();
        let mut heard = [0; 5];
        timeout(LIMIT, io.read_exact(&mut heard)).await.unwrap().unwrap();
        assert_eq!(&heard, echo);
        let more = timeout(INTERVAL * 5, io.read_u8()).await;
        assert!(more.is_err(), "nobody said {more:?}");
    }
}

async fn hang_up(mut io: TokioIo<Upgraded>) {
    io.shutdown().await.unwrap();
    let mut rest = Vec::new();
    timeout(LIMIT, io.read_to_end(&mut rest)).await.unwrap().unwrap();
    assert_eq!(rest, b"");
}

#[tokio::test]
async fn an_upgraded_connection_flows_both_ways_untouched_and_out_of_reach() {
    let asks = [(Ask::Upgrade, 101), (Ask::Connect, 200), (Ask::ConnectOverH2, 200)];
    for (ask, expected) in asks {
        let handle = AbortHandle::new();
        let (tell, mut endings) = endings();
        let addr = serve(stacked(service_fn(shout), &handle, &tell)).await;
        let (status, mut io) = open(ask, addr).await;
        assert_eq!(status.as_u16(), expected, "{ask:?}");
        speak(&mut io).await;

        // The exchange ended with its head, though the tunnel is still open.
        let ending = endings.next(LIMIT).await;
        assert_eq!(
            (ending.outcome, ending.status, ending.frames),
            (Outcome::Completed, Some(status), 0)
        );
        assert_eq!(handle.dependents(), 0, "{ask:?}");
        assert!(!handle.abort("stop"), "{ask:?}: a tunnel can not be aborted");
        speak(&mut io).await;
        hang_up(io).await;
    }
}

#[tokio::test]
async fn an_upgrade_passes_a_stack_that_stands_around_a_client() {
    let backend = serve(service_fn(shout)).await;
    let client = Client::builder(TokioExecutor::new()).build_http::<Body>();
    let forward = service_fn(move |request: Request<Body>| {
        let (parts, body) = request.into_parts();
        let mut onward = Request::get(format!("http://{backend}/")).body(body).unwrap();
        *onward.headers_mut() = parts.headers;
        client.request(onward)
    });
    let (handle, (tell, mut endings)) = (AbortHandle::new(), endings());
    let inner = stacked(forward, &handle, &tell);
    let proxy = service_fn(move |mut request: Request<Body>| {
        let inner = inner.clone();
        async move {
            let before = upgrade::on(&mut request);
            let mut response = inner.oneshot(request).await?;
            let behind = upgrade::on(&mut response);
            tokio::spawn(async move {
                let (before, behind) = (before.await.unwrap(), behind.await.unwrap());
                let (mut before, mut behind) = (TokioIo::new(before), TokioIo::new(behind));
                let _ = copy_bidirectional(&mut before, &mut behind).await;
            });
            Ok::<_, hyper_util::client::legacy::Error>(response)
        }
    });
    let (status, mut io) = open(Ask::Upgrade, serve(proxy).await).await;
    assert_eq!(status, StatusCode::SWITCHING_PROTOCOLS);
    assert_eq!(endings.next(LIMIT).await.outcome, Outcome::Completed);
    sleep(INTERVAL).await;
    assert!(!handle.abort("stop"));
    speak(&mut io).await;
    hang_up(io).await;
}
