use std::time::Duration;

use http::{Request, Response, Version};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper_util::{client::legacy, rt::TokioExecutor};
use tokio::{sync::oneshot, task::JoinHandle, time::timeout};
use tower::service_fn;

use super::{Connections, Limits, serve};
use crate::testing::{Endless, Wire, full, listener, server, soon};

const REQUEST: &str = "GET / HTTP/1.1\r\nhost: x\r\n\r\n";

#[tokio::test]
async fn http1_and_http2_are_served_on_the_same_port() {
    let address = server(service_fn(|request: Request<Incoming>| async move {
        Ok(Response::new(full(format!("{:?}", request.version()))))
    }))
    .await;
    for version in [Version::HTTP_11, Version::HTTP_2] {
        let client = legacy::Client::builder(TokioExecutor::new())
            .http2_only(version == Version::HTTP_2)
            .build_http::<Empty<bytes::Bytes>>();
        let uri = format!("http://{address}/").parse().unwrap();
        let response = soon(client.get(uri)).await.unwrap();
        let body = soon(response.into_body().collect()).await.unwrap();
        assert_eq!(body.to_bytes(), format!("{version:?}"));
    }
}

/// A server whose answers never end.
async fn endless() -> (Wire, oneshot::Sender<()>, JoinHandle<Connections>) {
    let (listener, address) = listener().await;
    let (stop, stopped) = oneshot::channel();
    let service = service_fn(|_: Request<Incoming>| async {
        let (body, _) = Endless::new("begun");
        Ok(Response::new(body))
    });
    let stopped = async {
        let _ = stopped.await;
    };
    let serving = tokio::spawn(serve(listener, service, Limits::default(), stopped));
    (Wire::connect(address).await, stop, serving)
}

#[tokio::test]
async fn to_close_waits_for_no_idle_connection() {
    let (_idle, stop, serving) = endless().await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    stop.send(()).unwrap();
    soon(soon(serving).await.unwrap().close()).await;
}

#[tokio::test]
async fn to_close_lets_a_stream_go_on_until_its_client_has_enough() {
    let (mut client, stop, serving) = endless().await;
    client.write(REQUEST).await;
    client.read_until("begun\r\n").await;
    stop.send(()).unwrap();
    let mut closing = Box::pin(soon(serving).await.unwrap().close());
    timeout(Duration::from_millis(100), &mut closing).await.unwrap_err();
    drop(client);
    soon(closing).await;
}

#[tokio::test]
async fn to_drop_the_connections_is_to_cut_them() {
    let (mut client, stop, serving) = endless().await;
    client.write(REQUEST).await;
    client.read_until("begun\r\n").await;
    stop.send(()).unwrap();
    let closing = soon(serving).await.unwrap().close();
    timeout(Duration::from_millis(100), closing).await.unwrap_err();
    assert_eq!(client.read_to_close().await, b"");
}

#[tokio::test]
async fn from_the_stop_on_nobody_is_let_in() {
    let (client, stop, serving) = endless().await;
    let address = client.0.peer_addr().unwrap();
    stop.send(()).unwrap();
    soon(serving).await.unwrap();
    tokio::net::TcpStream::connect(address).await.unwrap_err();
}
