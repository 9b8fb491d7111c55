//! How large the heads of requests and responses may be: the same on HTTP/1 and HTTP/2, on both sides.

use std::{convert::Infallible, net::SocketAddr};

use hyper::{Request, Response, body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use serde_json::{Value, json};
use testkit::{H1, H2, Upstream};
use tokio::net::TcpListener;

use crate::{
    client::{WIRES, Wire, says, whole},
    common::{LIMIT, Proxy},
};

const KIB: usize = 1024;

/// Fields of so many bytes each.
fn fields(count: usize, value: usize) -> Vec<(String, String)> {
    (0..count).map(|n| (format!("x-{n}"), "v".repeat(value))).collect()
}

/// An upstream of either protocol that takes any head, tells the size of what it got, and answers with such fields as the path
/// asks for: `/COUNT/BYTES`.
async fn upstream() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = service_fn(|request: Request<Incoming>| async move {
                let got: usize = request.headers().values().map(http::HeaderValue::len).sum();
                let mut response = Response::builder().header("x-got", got);
                let asked: Vec<usize> =
                    request.uri().path().split('/').filter_map(|n| n.parse().ok()).collect();
                if let [count, bytes] = asked[..] {
                    for (name, value) in fields(count, bytes) {
                        response = response.header(name, value);
                    }
                }
                Ok::<_, Infallible>(response.body(String::new()).unwrap())
            });
            tokio::spawn(async move {
                let mut server = auto::Builder::new(TokioExecutor::new());
                server.http1().max_buf_size(4 * 1024 * KIB).max_headers(4096);
                server.http2().max_header_list_size(4 * 1024 * 1024);
                let _ = server.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    addr
}

/// The status and what the upstream got of an answer that has no body.
async fn ask(
    wire: Wire,
    proxy: &Proxy,
    path: &str,
    fields: &[(String, String)],
) -> (u16, Option<usize>) {
    let fields: Vec<_> = fields.iter().map(|(name, value)| (&**name, &**value)).collect();
    match wire {
        Wire::H1 => {
            let mut client = H1::connect(proxy.addr).await.unwrap();
            client.get_with(path, &fields).await.unwrap();
            let head = client.read_head(LIMIT).await.unwrap();
            (head.status().unwrap(), head.header("x-got").map(|got| got.parse().unwrap()))
        }
        Wire::H2 => {
            let mut client = H2::connect(proxy.addr).await.unwrap();
            let (head, _) = client.request("GET", path, &fields).await.unwrap();
            let got = head.headers.get("x-got").map(|got| got.to_str().unwrap().parse().unwrap());
            (head.status.as_u16(), got)
        }
    }
}

#[tokio::test]
async fn heads_of_64_kib_and_256_fields_pass_in_both_directions_and_protocols() {
    let upstream = upstream().await;
    for scheme in ["http", "h2c"] {
        let proxy = Proxy::start(&[&format!("--upstream={scheme}://{upstream}")]).await;
        for wire in WIRES {
            for (count, bytes) in [(1, 20 * KIB), (1, 63 * KIB), (250, 8), (250, 240)] {
                let (status, got) = ask(wire, &proxy, "/", &fields(count, bytes)).await;
                assert_eq!(status, 200, "{scheme} {wire:?} {count} of {bytes}");
                assert!(got.unwrap() >= count * bytes, "{scheme} {wire:?} {count} of {bytes}");

                let path = format!("/{count}/{bytes}");
                let (status, _) = ask(wire, &proxy, &path, &[]).await;
                assert_eq!(status, 200, "{scheme} {wire:?}: {count} of {bytes} from upstream");
            }
        }
        proxy.endings(16).await;
    }
}

/// The object of an error, in its order.
fn refused(body: &Value) {
    assert_eq!(body["type"], "error");
    assert_eq!(body["error"]["type"], "refused");
    assert_eq!(body["error"]["message"], "the head of the request is too large");
}

#[tokio::test]
async fn a_larger_head_of_a_request_is_a_431_that_says_so_and_an_exchange() {
    let silent = Upstream::start([testkit::Play::new().stall()]).await;
    let larger = [(1, 66 * KIB), (1, 100 * KIB), (1, 126 * KIB), (256, 300), (270, 8), (1000, 8)];
    for layers in ["all", "none"] {
        let option = format!("--layers={layers}");
        let proxy = Proxy::before(silent.addr(), &[&option]).await;
        for (count, bytes) in larger {
            let fields = fields(count, bytes);
            let fields: Vec<_> = fields.iter().map(|(name, value)| (&**name, &**value)).collect();
            let mut client = H1::connect(proxy.addr).await.unwrap();
            client.get_with("/large", &fields).await.unwrap();
            let (head, body) = whole(&mut client).await;
            assert_eq!(head.status(), Some(431), "{count} of {bytes}");
            refused(&body);

            let mut client = H2::connect(proxy.addr).await.unwrap();
            let (head, mut body) = client.request("GET", "/large", &fields).await.unwrap();
            assert_eq!(head.status.as_u16(), 431, "{count} of {bytes}");
            refused(&serde_json::from_slice(&body.rest(LIMIT).await.0).unwrap());
            // The connection is as good as before.
            let (head, _) = client.request("GET", "/large", &fields).await.unwrap();
            assert_eq!(head.status.as_u16(), 431);
        }
        if layers == "all" {
            let ends =
                [("status", json!(431)), ("outcome", json!("completed")), ("bytes", json!(0))];
            for ending in proxy.endings(larger.len() * 3).await {
                says(&ending, ends.clone());
            }
        }
    }
    assert!(silent.conns().is_empty(), "one went on");
}

#[tokio::test]
async fn a_head_of_more_than_128_kib_is_no_exchange() {
    let silent = Upstream::start([testkit::Play::new().stall()]).await;
    let proxy = Proxy::before(silent.addr(), &[]).await;
    for (count, bytes) in [(1, 129 * KIB), (1, 200 * KIB), (600, 250), (1, 1024 * KIB), (2000, 100)]
    {
        let fields = fields(count, bytes);
        let fields: Vec<_> = fields.iter().map(|(name, value)| (&**name, &**value)).collect();
        let mut client = H1::connect(proxy.addr).await.unwrap();
        // What it does not read any more it does not take either.
        let sent = client.get_with("/", &fields).await;
        if sent.is_ok()
            && let Ok(head) = client.read_head(LIMIT).await
        {
            assert_eq!(head.status(), Some(431), "{count} of {bytes}");
            assert!(client.read_to_end(LIMIT).await.bytes.is_empty(), "{count} of {bytes}");
        }
        let mut client = H2::connect(proxy.addr).await.unwrap();
        if let Ok((head, mut body)) = client.request("GET", "/", &fields).await {
            assert_eq!(head.status.as_u16(), 431, "{count} of {bytes}");
            assert!(body.rest(LIMIT).await.0.is_empty(), "{count} of {bytes}");
        }
    }
    assert_eq!(proxy.see("/endings").await, json!([]));
    assert_eq!(proxy.see("/streams").await, json!([]));
    assert!(silent.conns().is_empty(), "one went on");
}

#[tokio::test]
async fn a_larger_head_of_the_upstreams_is_a_502() {
    let upstream = upstream().await;
    for scheme in ["http", "h2c"] {
        let proxy = Proxy::start(&[&format!("--upstream={scheme}://{upstream}")]).await;
        let mut asked = 0;
        for (count, bytes) in [(1, 66 * KIB), (1, 120 * KIB), (300, 8), (1, 300 * KIB), (2000, 8)] {
            for wire in WIRES {
                let path = format!("/{count}/{bytes}");
                let (status, _) = ask(wire, &proxy, &path, &[]).await;
                assert_eq!(status, 502, "{scheme} {wire:?} {count} of {bytes}");
                asked += 1;
            }
        }
        for ending in proxy.endings(asked).await {
            says(&ending, [("status", json!(502)), ("outcome", json!("failed"))]);
        }
    }
}
