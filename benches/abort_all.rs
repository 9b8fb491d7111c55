//! How long it takes to abort ten thousand idle streams through one registry: for the call itself, until the last upstream
//! stream is closed, until the last ending is told, and until the last client has seen its end.
//!
//! `cargo bench --bench abort_all`. Everything goes over loopback sockets, as HTTP/2: clients, the stack, the upstream.
#![allow(clippy::expect_used, clippy::unwrap_used)]

use std::{
    convert::Infallible,
    error::Error,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Empty};
use hyper::{
    client::conn::http2::SendRequest,
    server::conn::http2::Builder,
    service::{Service, service_fn},
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    task::JoinSet,
    time::{Instant, timeout},
};
use tower::{BoxError, ServiceBuilder};
use tower_lifeline::{
    abort::{AbortLayer, AbortRegistry},
    exchange::Exchange,
    final_frame::FinalFrameLayer,
    finalize::FinalizeLayer,
    keepalive::IdleKeepaliveLayer,
    tee::{Limit, TeeLayer},
    timeouts::{Limits, TimeoutsLayer},
};

const STREAMS: usize = 10_000;
const CONNECTIONS: usize = 10;
const LIMIT: Duration = Duration::from_secs(60);

/// One event, then silence. Tells when it is dropped.
struct Idle {
    event: Option<Bytes>,
    dropped: UnboundedSender<Instant>,
}

impl Body for Idle {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.event.take() {
            Some(event) => Poll::Ready(Some(Ok(Frame::data(event)))),
            None => Poll::Pending,
        }
    }
}

impl Drop for Idle {
    fn drop(&mut self) {
        let _ = self.dropped.send(Instant::now());
    }
}

/// Serves on a port of its own, and gives clients to it.
async fn serve<S, B>(service: S) -> Vec<SendRequest<Empty<Bytes>>>
where
    S: Service<Request<hyper::body::Incoming>, Response = Response<B>>,
    S: Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<BoxError>,
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let mut server = Builder::new(TokioExecutor::new());
            server.max_concurrent_streams(u32::MAX);
            tokio::spawn(server.serve_connection(TokioIo::new(stream), service.clone()));
        }
    });
    let mut clients = Vec::new();
    for _ in 0..CONNECTIONS {
        let stream = TokioIo::new(TcpStream::connect(address).await.unwrap());
        let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream);
        let (client, connection) = handshake.await.unwrap();
        tokio::spawn(connection);
        clients.push(client);
    }
    clients
}

/// The time from `start` to the last of all.
async fn last(start: Instant, told: &mut UnboundedReceiver<Instant>) -> Duration {
    let mut last = start;
    for _ in 0..STREAMS {
        let at = timeout(LIMIT, told.recv()).await.expect("one is missing").unwrap();
        last = last.max(at);
    }
    last - start
}

async fn round() -> Result<[Duration; 4], Box<dyn Error>> {
    let (dropped, mut closed) = unbounded_channel();
    let (ended, mut endings) = unbounded_channel();
    let (done, mut ends) = unbounded_channel();

    let upstream = serve(service_fn(move |_| {
        let body = Idle { event: Some("data: one\n\n".into()), dropped: dropped.clone() };
        let response = Response::builder().header("content-type", "text/event-stream");
        std::future::ready(response.body(body))
    }));
    let upstream = upstream.await;
    let registry = AbortRegistry::new();
    let streams = registry.clone();
    let minute = Duration::from_secs(60);
    let limits = Limits::new().head(minute).first_frame(minute).idle(minute).unread(minute);
    let stack = ServiceBuilder::new()
        .layer(IdleKeepaliveLayer::new(Duration::from_secs(15)))
        .layer(FinalFrameLayer::by_media())
        .layer(AbortLayer::new(move |request| {
            streams.handle(Exchange::get(&request.extensions).map(|exchange| exchange.id()))
        }))
        .layer(TimeoutsLayer::new(limits))
        .layer(FinalizeLayer::new(move |_| {
            let ended = ended.clone();
            move |ending| {
                assert_eq!(ending.outcome.as_str(), "aborted");
                let _ = ended.send(Instant::now());
            }
        }))
        .layer(TeeLayer::recording(Limit::first(1024)))
        .service(tower::service_fn(move |request: Request<hyper::body::Incoming>| {
            let number: usize = request.uri().path()[1..].parse().unwrap();
            let mut upstream = upstream[number % CONNECTIONS].clone();
            async move {
                upstream.ready().await?;
                upstream.send_request(Request::new(Empty::new())).await
            }
        }));
    let clients = serve(TowerToHyperService::new(stack)).await;

    let mut reading = JoinSet::new();
    let (begun, mut all_begun) = unbounded_channel();
    for number in 0..STREAMS {
        let mut client = clients[number % CONNECTIONS].clone();
        let (begun, done) = (begun.clone(), done.clone());
        reading.spawn(async move {
            client.ready().await.unwrap();
            let request = Request::get(format!("http://stack/{number}")).body(Empty::new());
            let mut body = client.send_request(request.unwrap()).await.unwrap().into_body();
            let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
            assert_eq!(first, "data: one\n\n");
            begun.send(()).unwrap();
            let last = body.collect().await.unwrap().to_bytes();
            assert!(last.starts_with(b"event: error\n"));
            done.send(Instant::now()).unwrap();
        });
    }
    for _ in 0..STREAMS {
        timeout(LIMIT, all_begun.recv()).await?.unwrap();
    }
    let start = Instant::now();
    assert_eq!(registry.abort_all("maintenance"), STREAMS);
    let call = start.elapsed();
    let closed = last(start, &mut closed).await;
    let told = last(start, &mut endings).await;
    let seen = last(start, &mut ends).await;
    assert!(registry.keys().is_empty());
    Ok([call, closed, told, seen])
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    println!(
        "{STREAMS} idle streams over {CONNECTIONS} + {CONNECTIONS} HTTP/2 connections, one abort_all; milliseconds"
    );
    println!("{:>8}{:>18}{:>16}{:>16}", "call", "upstreams closed", "endings told", "clients told");
    for _ in 0..5 {
        let [call, closed, told, seen] = round().await?.map(|taken| taken.as_secs_f64() * 1000.0);
        println!("{call:>8.2}{closed:>18.1}{told:>16.1}{seen:>16.1}");
    }
    Ok(())
}
