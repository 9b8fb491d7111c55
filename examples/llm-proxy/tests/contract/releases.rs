//! What is over lets go of everything, also of what hyper still holds.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};

use crate::{
    client::says,
    common::{LIMIT, Proxy},
};

/// More than the proxy and the kernels read ahead.
const UPLOAD: usize = 11 * 1024 * 1024;

/// A client whose upload has filled all that is between it and an upstream that has read the head only.
async fn stuck(proxy: &Proxy, listener: &TcpListener) -> (TcpStream, TcpStream) {
    let mut client = TcpStream::connect(proxy.addr).await.unwrap();
    let head = format!("POST /v1/messages HTTP/1.1\r\nhost: x\r\ncontent-length: {UPLOAD}\r\n\r\n");
    client.write_all(head.as_bytes()).await.unwrap();
    let (mut upstream, _) = timeout(LIMIT, listener.accept()).await.unwrap().unwrap();
    let mut request = Vec::new();
    while !request.windows(4).any(|bytes| bytes == b"\r\n\r\n") {
        assert_ne!(upstream.read_buf(&mut request).await.unwrap(), 0);
    }
    let piece = vec![b' '; 64 * 1024];
    while let Ok(written) = timeout(Duration::from_millis(300), client.write(&piece)).await {
        assert_ne!(written.unwrap(), 0);
    }
    (client, upstream)
}

#[tokio::test]
async fn a_client_that_resets_while_its_upload_waits_unread_has_disconnected() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = Proxy::before(listener.local_addr().unwrap(), &[]).await;
    let (client, _upstream) = stuck(&proxy, &listener).await;
    client.set_zero_linger().unwrap();
    drop(client);
    let fields = [("outcome", json!("disconnected")), ("reason", Value::Null)];
    says(&timeout(Duration::from_secs(3), proxy.ending()).await.unwrap(), fields);
}

fn descriptors(proxy: &Proxy) -> usize {
    let process = proxy.child.id().unwrap();
    std::fs::read_dir(format!("/proc/{process}/fd")).unwrap().count()
}

/// Waits for the proxy to have no more descriptors than `before`.
async fn has_let_go(proxy: &Proxy, before: usize) {
    let mut now = 0;
    for _ in 0..40 {
        now = descriptors(proxy);
        if now <= before {
            return;
        }
        sleep(Duration::from_millis(50)).await;
    }
    panic!("{now} descriptors, and {before} before");
}

#[tokio::test]
async fn an_abort_lets_go_of_uploads_that_the_upstream_does_not_read() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = Proxy::before(listener.local_addr().unwrap(), &[]).await;
    let before = descriptors(&proxy);
    let mut held = Vec::new();
    for _ in 0..5 {
        held.push(stuck(&proxy, &listener).await);
    }
    assert!(descriptors(&proxy) >= before + 10);
    let (_, _, answer) = proxy.ask_admin("DELETE", "/streams", "").await;
    assert_eq!(answer, json!({"aborted": 5}));
    let (clients, _upstreams): (Vec<_>, Vec<_>) = held.into_iter().unzip();
    drop(clients);
    has_let_go(&proxy, before).await;
}
