use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::{H1, How, ReadEnd};

const LIMIT: Duration = Duration::from_secs(5);
const MOMENT: Duration = Duration::from_millis(50);

async fn pair() -> (H1, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = H1::connect(listener.local_addr().unwrap()).await.unwrap();
    (client, listener.accept().await.unwrap().0)
}

/// Reads all that a client sends until it goes; tells whether it went with FIN.
async fn read_all(server: &mut TcpStream) -> (Vec<u8>, bool) {
    let mut bytes = Vec::new();
    let end = timeout(LIMIT, server.read_to_end(&mut bytes)).await.unwrap();
    (bytes, end.is_ok())
}

#[tokio::test]
async fn get_sends_a_minimal_request_and_can_be_pipelined() {
    let (mut client, mut server) = pair().await;
    client.get("/a").await.unwrap();
    client.get_with("/b", &[("te", "trailers")]).await.unwrap();
    client.close().await;
    let sent = "GET /a HTTP/1.1\r\nhost: test\r\n\r\nGET /b HTTP/1.1\r\nhost: test\r\nte: trailers\r\n\r\n";
    assert_eq!(read_all(&mut server).await, (sent.into(), true));
}

#[tokio::test]
async fn head_and_bodies_are_read_one_after_the_other() {
    let (mut client, mut server) = pair().await;
    server.write_all(b"HTTP/1.1 200 OK\r\na: b\r\n\r\none").await.unwrap();
    let head = client.read_head(LIMIT).await.unwrap();
    assert_eq!((head.status(), head.header("a")), (Some(200), Some("b")));

    assert_eq!(client.read_until(|bytes| bytes.len() >= 3, LIMIT).await.unwrap(), b"one");
    assert_eq!(client.take(), b"one");
    server.write_all(b"two").await.unwrap();
    assert_eq!(client.read_until(|bytes| bytes.len() >= 3, LIMIT).await.unwrap(), b"two");
    server.write_all(b"three").await.unwrap();
    drop(server);
    let end = ReadEnd { bytes: b"twothree".into(), how: How::Fin };
    assert_eq!(client.read_to_end(LIMIT).await, end);
}

#[tokio::test]
async fn a_wait_that_is_not_met_tells_what_came_instead() {
    let (mut client, mut server) = pair().await;
    server.write_all(b"HTTP/1.1").await.unwrap();
    let end = client.read_head(MOMENT).await.unwrap_err();
    assert_eq!(end, ReadEnd { bytes: b"HTTP/1.1".into(), how: How::TimedOut });

    server.set_zero_linger().unwrap();
    drop(server);
    assert_eq!(client.read_head(LIMIT).await.unwrap_err().how, How::Reset);
    assert_eq!(client.read_to_end(LIMIT).await.bytes, b"HTTP/1.1");
}

#[tokio::test]
async fn reset_is_seen_as_a_reset() {
    let (mut client, mut server) = pair().await;
    client.send(b"a").await.unwrap();
    client.reset();
    assert!(!read_all(&mut server).await.1);
}

#[tokio::test]
async fn close_is_seen_as_a_fin_even_with_unread_bytes() {
    let (client, mut server) = pair().await;
    server.write_all(&[0; 10_000]).await.unwrap();
    client.close().await;
    assert_eq!(read_all(&mut server).await, (Vec::new(), true));
}

#[tokio::test]
async fn after_half_close_the_client_still_reads() {
    let (mut client, mut server) = pair().await;
    client.half_close().await.unwrap();
    assert_eq!(read_all(&mut server).await, (Vec::new(), true));
    server.write_all(b"late").await.unwrap();
    drop(server);
    assert_eq!(client.read_to_end(LIMIT).await, ReadEnd { bytes: b"late".into(), how: How::Fin });
}

#[tokio::test]
async fn small_buffers_hold_a_server_back_early() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let _client = H1::connect_with_small_buffers(listener.local_addr().unwrap()).await.unwrap();
    let mut server = listener.accept().await.unwrap().0;
    let mut written = 0;
    while let Ok(Ok(more)) = timeout(MOMENT, server.write(&[0; 16 * 1024])).await {
        written += more;
    }
    assert!(written < 256 * 1024, "held back only after {written}");
}
