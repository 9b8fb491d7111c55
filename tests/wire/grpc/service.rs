//! A gRPC service written by hand: its messages are bytes, and it answers what a test says.

use std::{
    convert::Infallible,
    future::pending,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Buf, BufMut, Bytes};
use http::{Request, Response, uri::PathAndQuery};
use http_body::Body as HttpBody;
use tokio::{net::TcpListener, task::JoinHandle, time::timeout};
use tokio_stream::{Stream, StreamExt};
use tonic::{
    Status, Streaming,
    body::Body,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    server::NamedService,
    service::Routes,
    transport::{Channel, Endpoint, Server, server::TcpIncoming},
};
use tower::{Layer, Service, service_fn};
use tower_lifeline::error::BoxError;

use crate::server::LIMIT;

pub(super) const PATH: &str = "/kit.Stage/Play";

/// What the service does with a call.
pub(super) enum Answer {
    /// Streams messages as tonic's handlers do.
    Messages(Messages),
    /// Fails before it streams.
    Refuse(Status),
    /// Never answers.
    Never,
    /// Answers with a body that says the bytes itself.
    Bytes(Body),
}

pub(super) type Messages = Pin<Box<dyn Stream<Item = Result<Bytes, Status>> + Send>>;

impl Answer {
    pub(super) fn messages(
        stream: impl Stream<Item = Result<Bytes, Status>> + Send + 'static,
    ) -> Self {
        Self::Messages(Box::pin(stream))
    }

    pub(super) fn bytes<B>(body: B) -> Self
    where
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        Self::Bytes(Body::new(body))
    }
}

/// Serves on a port of its own until it is dropped.
#[derive(Debug)]
pub(super) struct Tonic {
    addr: SocketAddr,
    task: JoinHandle<()>,
}

impl Tonic {
    pub(super) async fn start<L, F, B>(layers: L, answer: F) -> Self
    where
        L: Layer<Routes> + Clone + Send + 'static,
        L::Service: Service<Request<Body>, Response = Response<B>> + Clone + Send + 'static,
        <L::Service as Service<Request<Body>>>::Future: Send,
        <L::Service as Service<Request<Body>>>::Error: Into<BoxError> + Send,
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
        F: Fn() -> Answer + Clone + Send + Sync + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let router = Server::builder().layer(layers).add_service(Play(answer));
        let serving = router.serve_with_incoming(TcpIncoming::from(listener));
        Self { addr, task: tokio::spawn(async { serving.await.unwrap() }) }
    }

    pub(super) fn addr(&self) -> SocketAddr {
        self.addr
    }
}

impl Drop for Tonic {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Calls the service with tonic's own client.
pub(super) async fn call(addr: SocketAddr) -> Result<Call, Status> {
    call_within(addr, None).await
}

/// The same with a time for the whole of the call, which the server is told.
pub(super) async fn call_within(addr: SocketAddr, time: Option<Duration>) -> Result<Call, Status> {
    call_through(channel(addr).await, time).await
}

/// A connection of tonic's client.
pub(super) async fn channel(addr: SocketAddr) -> Channel {
    Endpoint::from_shared(format!("http://{addr}")).unwrap().connect().await.unwrap()
}

/// Calls the service with tonic's client on top of `service`.
pub(super) async fn call_through<S, B>(service: S, time: Option<Duration>) -> Result<Call, Status>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Error: Into<BoxError>,
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError> + Send,
{
    let called = async {
        let mut client = tonic::client::Grpc::new(service);
        client.ready().await.map_err(|error| Status::from_error(error.into()))?;
        let path = PathAndQuery::from_static(PATH);
        let mut request = tonic::Request::new(Bytes::new());
        if let Some(time) = time {
            request.set_timeout(time);
        }
        client.server_streaming(request, path, Plain).await
    };
    let response = timeout(LIMIT, called).await.expect("no head")?;
    Ok(Call(response.into_inner()))
}

/// A call that has its head. To drop it is to cancel it.
#[derive(Debug)]
pub(super) struct Call(Streaming<Bytes>);

impl Call {
    /// Waits for the next message, or for the status that the call ends with.
    pub(super) async fn next(&mut self) -> Result<Bytes, Status> {
        let next = timeout(LIMIT, self.0.next()).await.expect("neither message nor status");
        next.unwrap_or_else(|| Err(Status::ok("")))
    }
}

#[derive(Clone)]
struct Play<F>(F);

impl<F> NamedService for Play<F> {
    const NAME: &'static str = "kit.Stage";
}

impl<F: Fn() -> Answer> Service<Request<Body>> for Play<F> {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let answer = (self.0)();
        Box::pin(async {
            let mut answer = Some(match answer {
                Answer::Messages(messages) => Ok(tonic::Response::new(messages)),
                Answer::Refuse(status) => Err(status),
                Answer::Never => pending().await,
                Answer::Bytes(body) => {
                    let response = Response::builder().header("content-type", "application/grpc");
                    return Ok(response.body(body).unwrap());
                }
            });
            let handler = service_fn(move |_: tonic::Request<Bytes>| {
                let answer = answer.take().expect("called twice");
                async { answer }
            });
            Ok(tonic::server::Grpc::new(Plain).server_streaming(handler, request).await)
        })
    }
}

/// Takes a message as it is.
#[derive(Clone, Copy, Debug)]
struct Plain;

impl Codec for Plain {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Plain {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, wire: &mut EncodeBuf<'_>) -> Result<(), Status> {
        wire.put(message);
        Ok(())
    }
}

impl Decoder for Plain {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, wire: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(wire.copy_to_bytes(wire.remaining())))
    }
}
