use std::future::pending;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, Version};
use http_body_util::{BodyExt, Empty, channel::Channel};
use hyper::body::Incoming;
use tokio::sync::mpsc;
use tower::{ServiceExt, service_fn};
use tower_lifeline::error::ErrorChain;

use super::ForwardError;
use crate::testing::{Endless, Wire, forward, full, listener, proxy, server, soon};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

#[tokio::test]
async fn an_h1_upstream_sees_the_request_byte_for_byte_but_for_its_hop() {
    let (upstream, address) = listener().await;
    let target = "/a%2Fb/../c//%20;x=1?q=%26&&r=a+b%00";
    let request = Request::builder()
        .method("REPORT")
        .uri(format!("http://proxy.example{target}"))
        .version(Version::HTTP_2)
        .header("host", "proxy.example")
        .header("connection", "x-hop")
        .header("x-hop", "1")
        .header("upgrade", "websocket")
        .header("te", "trailers, gzip")
        .header("x-kept", "2")
        .body(full("question"))
        .unwrap();
    let answer = tokio::spawn(forward(&format!("http://{address}")).oneshot(request));

    let mut wire = Wire::accept(&upstream).await;
    let head = wire.read_until("\r\n\r\n").await;
    assert_eq!(wire.read_until("question").await, "question");
    wire.write(OK).await;
    let mut lines: Vec<&str> = head.trim_end().split("\r\n").collect();
    let via = lines.iter().position(|line| line.starts_with("via: 2 lifeline-"));
    lines.swap_remove(via.unwrap());
    lines.sort_unstable();
    let mut expected = vec![
        format!("REPORT {target} HTTP/1.1"),
        "connection: te".into(),
        "content-length: 8".into(),
        format!("host: {address}"),
        "te: trailers".into(),
        "x-kept: 2".into(),
    ];
    expected.sort_unstable();
    assert_eq!(lines, expected);
    let body = soon(answer).await.unwrap().unwrap().collect().await.unwrap();
    assert_eq!(body.to_bytes(), "ok");
}

#[tokio::test]
async fn the_answer_keeps_its_trailers_and_loses_what_was_for_its_hop() {
    let (upstream, address) = listener().await;
    let request = Request::get("/").header("host", "x").body(Empty::new()).unwrap();
    let answer = tokio::spawn(forward(&format!("http://{address}")).oneshot(request));

    let mut wire = Wire::accept(&upstream).await;
    wire.read_until("\r\n\r\n").await;
    wire.write(
        "HTTP/1.1 299 So So\r\nconnection: x-hop\r\nx-hop: 1\r\nkeep-alive: timeout=5\r\nx-kept: 2\r\n\
         trailer: x-sum\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nx-sum: 42\r\n\r\n",
    )
    .await;
    let response = soon(answer).await.unwrap().unwrap();
    assert_eq!(response.status(), 299);
    let mut expected = HeaderMap::new();
    expected.insert("x-kept", "2".parse().unwrap());
    expected.insert("trailer", "x-sum".parse().unwrap());
    assert_eq!(response.headers(), &expected);
    let body = soon(response.into_body().collect()).await.unwrap();
    assert_eq!(body.trailers().unwrap()["x-sum"], "42");
    assert_eq!(body.to_bytes(), "ok");
}

#[tokio::test]
async fn an_h2c_upstream_is_spoken_to_in_http2_under_its_own_authority() {
    let (seen, mut requests) = mpsc::unbounded_channel();
    let address = server(service_fn(move |request: Request<Incoming>| {
        let seen = seen.clone();
        async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await.unwrap();
            seen.send((parts, body.trailers().cloned(), body.to_bytes())).unwrap();
            Ok(Response::new(full("ok")))
        }
    }))
    .await;
    let (mut upload, body) = Channel::<Bytes>::new(4);
    let request = Request::post("/v1/x?y=%20")
        .header("host", "proxy.example")
        .header("connection", "keep-alive")
        .header("te", "trailers")
        .body(body)
        .unwrap();
    let answer = tokio::spawn(forward(&format!("h2c://{address}/base")).oneshot(request));
    upload.send_data("ques".into()).await.unwrap();
    upload.send_data("tion".into()).await.unwrap();
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", "42".parse().unwrap());
    upload.send_trailers(trailers.clone()).await.unwrap();
    drop(upload);

    let (mut parts, seen_trailers, body) = soon(requests.recv()).await.unwrap();
    assert!(parts.headers.remove("via").is_some());
    assert_eq!(parts.version, Version::HTTP_2);
    assert_eq!(parts.method, Method::POST);
    let expected = format!("http://{address}/base/v1/x?y=%20");
    assert_eq!(parts.uri.to_string(), expected);
    let mut headers = HeaderMap::new();
    headers.insert("te", "trailers".parse().unwrap());
    assert_eq!(parts.headers, headers);
    assert_eq!(body, "question");
    assert_eq!(seen_trailers, Some(trailers));
    assert_eq!(soon(answer).await.unwrap().unwrap().status(), 200);
}

#[tokio::test]
async fn a_get_with_a_body_of_unknown_length_keeps_its_body() {
    let (upstream, address) = listener().await;
    let (mut upload, body) = Channel::<Bytes>::new(1);
    let request = Request::get("/").header("host", "x").body(body).unwrap();
    let answer = tokio::spawn(forward(&format!("http://{address}")).oneshot(request));
    upload.send_data("why not".into()).await.unwrap();
    drop(upload);

    let mut wire = Wire::accept(&upstream).await;
    let request = wire.read_until("0\r\n\r\n").await;
    assert!(request.contains("transfer-encoding: chunked"));
    assert!(request.contains("why not"));
    wire.write(OK).await;
    soon(answer).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_request_without_a_body_is_sent_without_one() {
    let (upstream, address) = listener().await;
    let request = Request::delete("/").header("host", "x").body(Empty::new()).unwrap();
    let answer = tokio::spawn(forward(&format!("http://{address}")).oneshot(request));
    let mut wire = Wire::accept(&upstream).await;
    let head = wire.read_until("\r\n\r\n").await;
    assert!(!head.contains("transfer-encoding"), "{head}");
    wire.write(OK).await;
    soon(answer).await.unwrap().unwrap();
}

#[tokio::test]
async fn connections_to_the_upstream_are_used_again() {
    let (upstream, address) = listener().await;
    let forward = forward(&format!("http://{address}"));
    let client = tokio::spawn(async move {
        for _ in 0..2 {
            let request = Request::get("/").header("host", "x").body(Empty::new()).unwrap();
            let response = forward.clone().oneshot(request).await.unwrap();
            response.into_body().collect().await.unwrap();
            tokio::task::yield_now().await;
        }
    });
    let mut wire = Wire::accept(&upstream).await;
    for _ in 0..2 {
        wire.read_until("\r\n\r\n").await;
        wire.write(OK).await;
    }
    soon(client).await.unwrap();
}

#[tokio::test]
async fn an_upstream_that_can_not_be_reached_is_told_with_the_cause() {
    let (upstream, address) = listener().await;
    drop(upstream);
    for scheme in ["http", "h2c", "https"] {
        let forward = forward(&format!("{scheme}://{address}"));
        let request = Request::get("/").header("host", "x").body(Empty::new()).unwrap();
        let error = soon(forward.oneshot(request)).await.unwrap_err();
        assert!(matches!(error, ForwardError::Unreachable(_)), "{error:?}");
        let story = ErrorChain::of(&error).to_string();
        assert!(story.starts_with("the upstream can not be reached: "));
        assert!(story.contains("refused"), "{story}");
    }
}

#[tokio::test]
async fn an_upstream_that_closes_before_its_head_has_failed() {
    let (upstream, address) = listener().await;
    let request = Request::post("/").header("host", "x").body(Empty::new()).unwrap();
    let answer = tokio::spawn(forward(&format!("http://{address}")).oneshot(request));
    let mut wire = Wire::accept(&upstream).await;
    wire.read_until("\r\n\r\n").await;
    drop(wire);
    let error = soon(answer).await.unwrap().unwrap_err();
    assert!(matches!(error, ForwardError::Failed(_)), "{error:?}");
    assert!(ErrorChain::of(&error).to_string().len() > error.to_string().len());
}

#[tokio::test]
async fn connect_opens_no_tunnel() {
    let address = proxy("http://127.0.0.1:1").await;
    let mut client = Wire::connect(address).await;
    client.write("CONNECT internal:22 HTTP/1.1\r\nhost: internal:22\r\n\r\n").await;
    let head = client.read_until("\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 501 "), "{head}");
}

#[tokio::test]
async fn a_client_that_expects_100_continue_gets_it_and_then_the_answer() {
    let (upstream, address) = listener().await;
    let mut client = Wire::connect(proxy(&format!("http://{address}")).await).await;
    client
        .write("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\nexpect: 100-continue\r\n\r\n")
        .await;
    let interim = client.read_until("\r\n\r\n").await;
    assert!(interim.starts_with("HTTP/1.1 100 "), "{interim}");
    client.write("body").await;

    let mut wire = Wire::accept(&upstream).await;
    wire.read_until("\r\n\r\n").await;
    wire.write("HTTP/1.1 100 Continue\r\n\r\n").await;
    wire.read_until("body").await;
    wire.write(OK).await;
    let head = client.read_until("\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    client.read_until("ok").await;
}

#[tokio::test]
async fn a_client_that_leaves_is_noticed_though_its_upload_was_never_complete() {
    let (upstream, address) = listener().await;
    let mut client = Wire::connect(proxy(&format!("http://{address}")).await).await;
    client.write("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 50\r\n\r\nfirst").await;
    let mut wire = Wire::accept(&upstream).await;
    wire.read_until("first").await;
    wire.write("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nearly\r\n").await;
    client.read_until("early\r\n").await;
    drop(client);
    wire.read_to_close().await;
}

#[tokio::test]
async fn a_chunked_upload_that_broke_off_never_looks_complete_to_the_upstream() {
    let (upstream, address) = listener().await;
    let mut client = Wire::connect(proxy(&format!("http://{address}")).await).await;
    client
        .write("POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n")
        .await;
    let mut wire = Wire::accept(&upstream).await;
    wire.read_until("first\r\n").await;
    drop(client);
    let rest = wire.read_to_close().await;
    assert_eq!(String::from_utf8_lossy(&rest), "");
}

#[tokio::test]
async fn a_client_that_leaves_is_noticed_though_the_upstream_never_reads_its_upload() {
    let inattentive = server(service_fn(|request: Request<Incoming>| {
        tokio::spawn(async move {
            let _held_unread = request;
            pending::<()>().await;
        });
        async { Ok(Response::new(Endless::new("x").0)) }
    }))
    .await;
    for scheme in ["http", "h2c"] {
        let forward = forward(&format!("{scheme}://{inattentive}"));
        let (gone, mut dropped) = mpsc::unbounded_channel();
        let address = server(service_fn(move |request: Request<Incoming>| {
            let (body, dropped) = Endless::new("early");
            let (forward, gone) = (forward.clone(), gone.clone());
            tokio::spawn(async move {
                let _answer = forward.oneshot(request).await;
                let _ = dropped.await;
                let _ = gone.send(());
            });
            async { Ok(Response::new(body)) }
        }))
        .await;
        let mut client = Wire::connect(address).await;
        client.write("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 3000000\r\n\r\n").await;
        client.write(vec![b'x'; 3_000_000]).await;
        client.read_until("early\r\n").await;
        drop(client);
        soon(dropped.recv()).await.unwrap();
    }
}

#[tokio::test]
async fn a_connection_whose_upload_was_not_wanted_serves_the_next_request() {
    let address =
        server(service_fn(|_: Request<Incoming>| async { Ok(Response::new(full("ok"))) })).await;
    let mut client = Wire::connect(proxy(&format!("h2c://{address}")).await).await;
    for _ in 0..2 {
        client.write("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\n").await;
        client.write(vec![b'x'; 1_000_000]).await;
        let head = client.read_until("\r\n\r\nok").await;
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    }
}
