use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header::CONTENT_LENGTH};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Channel, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::oneshot,
    time::timeout,
};
use tower::{Layer, Service, ServiceExt};

use super::{ClosableConnector, CloseUnfinished, CloseUnfinishedLayer, RequestBody};

type Upload = Pin<Box<dyn Body<Data = Bytes, Error = Infallible> + Send>>;
type Make = fn() -> Upload;
type Hyper = Client<ClosableConnector<HttpConnector>, RequestBody<Upload>>;

/// For what comes at once, on a machine that is busy.
const SOON: Duration = Duration::from_secs(2);

fn client() -> CloseUnfinished<Hyper> {
    let connector = ClosableConnector::new(HttpConnector::new());
    CloseUnfinishedLayer::new().layer(Client::builder(TokioExecutor::new()).build(connector))
}

async fn upstream() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    (listener, addr)
}

/// Never ends, and tells when hyper lets go of it.
struct Endless(#[expect(dead_code, reason = "its drop tells")] oneshot::Sender<()>);

impl Body for Endless {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[b'x'; 64 * 1024])))))
    }
}

fn endless(addr: SocketAddr) -> (Request<Upload>, oneshot::Receiver<()>) {
    let (tell, told) = oneshot::channel();
    let body: Upload = Box::pin(Endless(tell));
    (Request::post(format!("http://{addr}/")).body(body).unwrap(), told)
}

async fn is_let_go(told: oneshot::Receiver<()>) {
    timeout(SOON, told).await.expect("the upload is let go").unwrap_err();
}

async fn head(stream: &mut TcpStream) -> String {
    let mut read = Vec::new();
    while !read.windows(4).any(|four| four == b"\r\n\r\n") {
        assert_ne!(stream.read_buf(&mut read).await.unwrap(), 0, "no head");
    }
    String::from_utf8_lossy(&read).into_owned()
}

/// Until hyper's write is blocked.
async fn blocked() {
    tokio::time::sleep(Duration::from_millis(300)).await;
}

#[tokio::test]
async fn an_upstream_that_stops_reading_is_let_go_when_the_response_future_is_dropped() {
    let (listener, addr) = upstream().await;
    let (request, mut told) = endless(addr);
    let answer = tokio::spawn(client().oneshot(request));
    let (mut stream, _) = listener.accept().await.unwrap();
    head(&mut stream).await;
    blocked().await;
    told.try_recv().unwrap_err();
    answer.abort();
    is_let_go(told).await;
}

#[tokio::test]
async fn an_upstream_that_stops_reading_is_let_go_when_the_response_body_is_dropped() {
    let (listener, addr) = upstream().await;
    let (request, told) = endless(addr);
    let answer = tokio::spawn(client().oneshot(request));
    let (mut stream, _) = listener.accept().await.unwrap();
    head(&mut stream).await;
    stream
        .write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n")
        .await
        .unwrap();
    let mut body = timeout(SOON, answer).await.unwrap().unwrap().unwrap().into_body();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "a");
    blocked().await;
    drop(body);
    is_let_go(told).await;
}

#[tokio::test]
async fn a_whole_answer_before_the_upload_is_written_closes_the_connection() {
    let (listener, addr) = upstream().await;
    let (request, told) = endless(addr);
    let answer = tokio::spawn(client().oneshot(request));
    let (mut stream, _) = listener.accept().await.unwrap();
    head(&mut stream).await;
    blocked().await;
    stream.write_all(b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 2\r\n\r\nno").await.unwrap();
    let answer = timeout(SOON, answer).await.unwrap().unwrap().unwrap();
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "no");
    is_let_go(told).await;
}

/// A request of these tests ends by its head, by "end", or by the last chunk.
fn is_whole(request: &[u8]) -> bool {
    let ends = if request.starts_with(b"POST") { &b"0\r\n\r\n"[..] } else { b"\r\n\r\n" };
    request.ends_with(b"end") || request.ends_with(ends)
}

/// Answers each request of each connection with `answer`; counts the connections.
async fn answers(listener: TcpListener, requests: usize, answer: &'static str) -> usize {
    let mut connections = 0;
    let mut answered = 0;
    while answered < requests {
        let (mut stream, _) = listener.accept().await.unwrap();
        connections += 1;
        while answered < requests {
            let mut read = Vec::new();
            while !is_whole(&read) {
                if stream.read_buf(&mut read).await.unwrap_or(0) == 0 {
                    break;
                }
            }
            if read.is_empty() {
                break;
            }
            answered += 1;
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    }
    connections
}

fn full() -> Upload {
    Box::pin(Full::from("the end"))
}

fn chunked() -> Upload {
    let (mut send, body) = Channel::<Bytes, Infallible>::new(4);
    send.try_send(Frame::data("a chunk".into())).unwrap();
    Box::pin(body)
}

/// Its length is known to the head only.
fn announced() -> Upload {
    struct Announced(Upload);
    impl Body for Announced {
        type Data = Bytes;
        type Error = Infallible;
        fn poll_frame(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            self.0.as_mut().poll_frame(cx)
        }
        fn size_hint(&self) -> SizeHint {
            SizeHint::default()
        }
    }
    Box::pin(Announced(full()))
}

#[tokio::test]
async fn a_whole_exchange_leaves_its_connection_for_the_next_one() {
    const ANSWER: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
    let cases: [(Method, Make, Option<u64>, &str); 4] = [
        (Method::POST, full, None, ANSWER),
        (
            Method::POST,
            chunked,
            None,
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        ),
        (Method::POST, announced, Some(7), ANSWER),
        (Method::GET, || Box::pin(Full::default()), None, "HTTP/1.1 204 No Content\r\n\r\n"),
    ];
    for (method, body, length, answer) in cases {
        let (listener, addr) = upstream().await;
        let upstream = tokio::spawn(answers(listener, 3, answer));
        let mut client = client();
        for _ in 0..3 {
            let mut request = Request::new(body());
            *request.method_mut() = method.clone();
            *request.uri_mut() = format!("http://{addr}/").parse().unwrap();
            if let Some(length) = length {
                request.headers_mut().insert(CONTENT_LENGTH, length.into());
            }
            let response = timeout(SOON, client.ready().await.unwrap().call(request)).await;
            response.unwrap().unwrap().into_body().collect().await.unwrap();
            // hyper puts it back into its pool in another task.
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(timeout(SOON, upstream).await.unwrap().unwrap(), 1, "{method} {answer:?}");
    }
}

#[tokio::test]
async fn an_answer_that_is_dropped_before_its_end_closes_its_connection() {
    let (listener, addr) = upstream().await;
    let answer = tokio::spawn(client().oneshot(
        Request::get(format!("http://{addr}/")).body(Box::pin(Full::default()) as Upload).unwrap(),
    ));
    let (mut stream, _) = listener.accept().await.unwrap();
    head(&mut stream).await;
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf").await.unwrap();
    let response: Response<_> = answer.await.unwrap().unwrap();
    drop(response);
    assert_eq!(timeout(SOON, stream.read(&mut [0; 9])).await.unwrap().unwrap(), 0);
}

#[tokio::test]
async fn a_tunnel_keeps_its_connection() -> io::Result<()> {
    let (listener, addr) = upstream().await;
    let request = Request::get(format!("http://{addr}/"))
        .header("connection", "upgrade")
        .header("upgrade", "websocket")
        .body(Box::pin(Full::default()) as Upload)
        .unwrap();
    let answer = tokio::spawn(client().oneshot(request));
    let (mut stream, _) = listener.accept().await?;
    head(&mut stream).await;
    stream
        .write_all(b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n")
        .await?;
    let mut response = answer.await.unwrap().unwrap();
    let upgrade = hyper::upgrade::on(&mut response);
    drop(response);
    let upgraded = timeout(SOON, upgrade).await.unwrap().unwrap();
    let mut tunnel = hyper_util::rt::TokioIo::new(upgraded);
    tunnel.write_all(b"hello").await?;
    let mut read = [0; 5];
    timeout(SOON, stream.read_exact(&mut read)).await.unwrap()?;
    assert_eq!(&read, b"hello");
    Ok(())
}
