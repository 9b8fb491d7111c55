use std::time::Duration;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, SendStream};
use http::{HeaderMap, Request, Response};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::timeout;

use super::{H2, H2Next};

const LIMIT: Duration = Duration::from_secs(5);
const MOMENT: Duration = Duration::from_millis(50);

type Incoming = (Request<h2::RecvStream>, SendResponse<Bytes>);

async fn bind() -> (TcpListener, std::net::SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    (listener, addr)
}

/// Connects a client to a real HTTP/2 server, whose requests come out of the channel.
async fn serve(window: u32) -> (H2, UnboundedReceiver<Incoming>) {
    let (listener, addr) = bind().await;
    let (incoming, requests) = unbounded_channel();
    tokio::spawn(async move {
        let stream = listener.accept().await.unwrap().0;
        let mut connection = h2::server::handshake(stream).await.unwrap();
        while let Some(Ok(request)) = connection.accept().await {
            let _ = incoming.send(request);
        }
    });
    (H2::with_window(addr, window).await.unwrap(), requests)
}

/// Connects a client to a socket that answers nothing.
async fn raw() -> (H2, TcpStream) {
    let (listener, addr) = bind().await;
    let client = H2::connect(addr).await.unwrap();
    (client, listener.accept().await.unwrap().0)
}

/// Answers 200 and gives the body to send.
async fn answer(requests: &mut UnboundedReceiver<Incoming>) -> SendStream<Bytes> {
    let (_, mut respond) = requests.recv().await.unwrap();
    respond.send_response(Response::new(()), false).unwrap()
}

#[tokio::test]
async fn a_request_gets_its_head_data_trailers_and_end() {
    let (mut client, mut requests) = serve(65_535).await;
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", "0".parse().unwrap());
    let sent = trailers.clone();
    tokio::spawn(async move {
        let (request, mut respond) = requests.recv().await.unwrap();
        let response = Response::builder().status(201).header("path", request.uri().path());
        let response = response.header("method", request.method().as_str());
        let response = response.header("te", &request.headers()["te"]).body(()).unwrap();
        let mut body = respond.send_response(response, false).unwrap();
        body.send_data("abc".into(), false).unwrap();
        body.send_trailers(sent).unwrap();
    });

    let (head, mut body) = client.request("POST", "/x", &[("te", "trailers")]).await.unwrap();
    let answered = [&head.headers["method"], &head.headers["path"], &head.headers["te"]];
    assert_eq!(
        (head.status.as_u16(), answered.map(|value| value.to_str().unwrap())),
        (201, ["POST", "/x", "trailers"])
    );
    assert_eq!(body.next(LIMIT).await, H2Next::Data("abc".into()));
    assert_eq!(body.next(LIMIT).await, H2Next::Trailers(trailers));
    assert_eq!(body.next(LIMIT).await, H2Next::End);
}

#[tokio::test]
async fn a_post_has_its_body_and_says_how_long_it_is() {
    let (mut client, mut requests) = serve(65_535).await;
    let call = client.post("/x", &[("a", "b")], "hello").await.unwrap();
    let (request, mut respond) = requests.recv().await.unwrap();
    assert_eq!((request.method().as_str(), request.uri().path()), ("POST", "/x"));
    assert_eq!(
        (&request.headers()["a"], &request.headers()["content-length"]),
        (&"b".parse().unwrap(), &"5".parse().unwrap())
    );
    assert_eq!(request.into_body().data().await.unwrap().unwrap(), "hello");
    respond.send_response(Response::new(()), true).unwrap();
    assert_eq!(call.head(LIMIT).await.unwrap().0.status, 200);
}

#[tokio::test]
async fn a_window_that_is_held_stops_the_server_until_it_is_released() {
    let (mut client, mut requests) = serve(10).await;
    let call = client.start("GET", "/", &[]).await.unwrap();
    let mut sending = answer(&mut requests).await;
    sending.send_data(Bytes::from(vec![7; 25]), true).unwrap();
    let (_, mut body) = call.head(LIMIT).await.unwrap();

    assert_eq!(body.next_held(LIMIT).await, H2Next::Data(Bytes::from(vec![7; 10])));
    assert_eq!(body.next_held(MOMENT).await, H2Next::TimedOut);
    body.release();
    assert_eq!(body.rest(LIMIT).await, (vec![7; 15], H2Next::End));
}

#[tokio::test]
async fn a_reset_by_the_server_tells_its_reason() {
    let (mut client, mut requests) = serve(65_535).await;
    let call = client.start("GET", "/", &[]).await.unwrap();
    let mut sending = answer(&mut requests).await;
    let (_, mut body) = call.head(LIMIT).await.unwrap();
    sending.send_reset(Reason::ENHANCE_YOUR_CALM);
    assert_eq!(body.rest(LIMIT).await, (Vec::new(), H2Next::Reset(Reason::ENHANCE_YOUR_CALM)));

    let call = client.start("GET", "/", &[]).await.unwrap();
    requests.recv().await.unwrap().1.send_reset(Reason::REFUSED_STREAM);
    assert_eq!(call.head(LIMIT).await.unwrap_err(), H2Next::Reset(Reason::REFUSED_STREAM));
}

#[tokio::test]
async fn a_client_resets_a_stream_before_and_after_its_head() {
    let (mut client, mut requests) = serve(65_535).await;
    client.start("GET", "/", &[]).await.unwrap().reset(Reason::CANCEL);
    let call = client.start("GET", "/", &[]).await.unwrap();
    // The first stream may be gone before the server has seen it.
    let mut sending = loop {
        let (request, mut respond) = requests.recv().await.unwrap();
        if request.into_body().stream_id().as_u32() == 3 {
            break respond.send_response(Response::new(()), false).unwrap();
        }
        let reason =
            timeout(LIMIT, std::future::poll_fn(|cx| respond.poll_reset(cx))).await.unwrap();
        assert_eq!(reason.unwrap(), Reason::CANCEL);
    };
    call.head(LIMIT).await.unwrap().1.reset(Reason::NO_ERROR);
    let reason = timeout(LIMIT, std::future::poll_fn(|cx| sending.poll_reset(cx))).await.unwrap();
    assert_eq!(reason.unwrap(), Reason::NO_ERROR);
}

#[tokio::test]
async fn dropping_a_call_or_a_body_cancels_its_stream() {
    let (mut client, mut requests) = serve(65_535).await;
    for drop_body in [true, false] {
        let call = client.start("GET", "/", &[]).await.unwrap();
        let mut sending = answer(&mut requests).await;
        if drop_body {
            call.head(LIMIT).await.unwrap();
        } else {
            drop(call);
        }
        let reason =
            timeout(LIMIT, std::future::poll_fn(|cx| sending.poll_reset(cx))).await.unwrap();
        assert_eq!(reason.unwrap(), Reason::CANCEL);
    }
}

#[tokio::test]
async fn a_wait_for_a_head_is_bounded() {
    let (mut client, _server) = raw().await;
    let call = client.start("GET", "/", &[]).await.unwrap();
    assert_eq!(call.head(MOMENT).await.unwrap_err(), H2Next::TimedOut);
}

#[tokio::test]
async fn close_leaves_with_fin_and_kill_with_rst() {
    let (client, mut server) = raw().await;
    client.close().await;
    assert!(timeout(LIMIT, server.read_to_end(&mut Vec::new())).await.unwrap().is_ok());

    let (client, mut server) = raw().await;
    client.kill().await;
    assert!(timeout(LIMIT, server.read_to_end(&mut Vec::new())).await.unwrap().is_err());
}

#[tokio::test]
async fn a_lost_connection_ends_its_bodies() {
    let (mut client, mut requests) = serve(65_535).await;
    let call = client.start("GET", "/", &[]).await.unwrap();
    let _sending = answer(&mut requests).await;
    let (_, mut body) = call.head(LIMIT).await.unwrap();
    client.kill().await;
    assert!(matches!(body.next(LIMIT).await, H2Next::Gone(_)));
}

#[tokio::test]
async fn a_frozen_client_stays_connected_and_can_still_be_killed() {
    let (client, mut server) = raw().await;
    client.freeze();
    assert!(timeout(MOMENT, server.read_to_end(&mut Vec::new())).await.is_err());
    client.kill().await;
    assert!(timeout(LIMIT, server.read_to_end(&mut Vec::new())).await.unwrap().is_err());
}
