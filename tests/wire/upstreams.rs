//! A proxy in front of an upstream that fails, and what becomes of the upstream when the client leaves: truths.md 4, 5 and
//! 7, faults.md 11 and 15 to 19.

mod behind;
mod departures;
mod failures;
mod panics;

use std::{net::SocketAddr, time::Duration};

use axum::body::Body;
use http::{Request, Uri, Version};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use testkit::{H1, H2, H2Next, ReadEnd};
use tower::{ServiceBuilder, ServiceExt, util::MapRequest};
use tower_lifeline::{
    abort::{AbortHandle, AbortLayer},
    final_frame::FinalFrameLayer,
    keepalive::IdleKeepaliveLayer,
    tee::{Limit, TeeLayer},
};

use crate::server::{Endings, Front, LIMIT, Server, endings};

type ToUpstream = MapRequest<Client<HttpConnector, Body>, fn(Request<Body>) -> Request<Body>>;

/// Says where a request goes.
#[derive(Clone, Copy)]
struct Target(SocketAddr);

/// hyper's client, sending each request to its [`Target`].
fn to_upstream() -> ToUpstream {
    Client::builder(TokioExecutor::new()).build_http().map_request(|mut request: Request<Body>| {
        let Target(addr) = *request.extensions().get().unwrap();
        *request.uri_mut() = Uri::try_from(format!("http://{addr}/")).unwrap();
        *request.version_mut() = Version::HTTP_11;
        request
    })
}

/// Serves what the upstream says; watched and taped, and nothing more.
async fn watched(front: Front, upstream: SocketAddr) -> (Server, Endings) {
    let (tell, endings) = endings();
    let stack = ServiceBuilder::new()
        .map_request(move |request| aimed(request, upstream))
        .layer(tell.layer())
        .layer(TeeLayer::recording(Limit::first(1024)))
        .service(to_upstream());
    (Server::start(front, stack).await, endings)
}

/// The same with all layers.
async fn whole(front: Front, upstream: SocketAddr) -> (Server, Endings) {
    let (tell, endings) = endings();
    let stack = ServiceBuilder::new()
        .map_request(move |request| aimed(request, upstream))
        .layer(IdleKeepaliveLayer::new(Duration::from_secs(60)))
        .layer(FinalFrameLayer::by_media())
        .layer(AbortLayer::new(|_| AbortHandle::new()))
        .layer(tell.layer())
        .layer(TeeLayer::recording(Limit::first(1024)))
        .service(to_upstream());
    (Server::start(front, stack).await, endings)
}

fn aimed(mut request: Request<Body>, upstream: SocketAddr) -> Request<Body> {
    request.extensions_mut().insert(Target(upstream));
    request
}

/// Asks over HTTP/1 and reads to the end.
async fn ask_h1(server: &Server) -> ReadEnd {
    let mut client = H1::connect(server.addr()).await.unwrap();
    client.get_with("/", &[("connection", "close")]).await.unwrap();
    client.read_head(LIMIT).await.unwrap();
    client.read_to_end(LIMIT).await
}

/// Asks over HTTP/2 and reads to the end.
async fn ask_h2(server: &Server) -> (Vec<u8>, H2Next) {
    let mut client = H2::connect(server.addr()).await.unwrap();
    let (_, mut body) = client.request("GET", "/", &[]).await.unwrap();
    body.rest(LIMIT).await
}
