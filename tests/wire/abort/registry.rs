//! A registry, and a handle, forget what has ended.

use std::{
    convert::Infallible,
    future::pending,
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::body::Body;
use http::{Request, Response};
use testkit::{H1, Script, drain};
use tokio::time::{sleep, timeout};
use tower::{ServiceBuilder, ServiceExt, service_fn};
use tower_lifeline::{
    abort::{AbortHandle, AbortLayer, AbortRegistry},
    final_frame::FinalFrameLayer,
};

use crate::{
    reader::{Over, Reader, Wire},
    server::{Front, LIMIT, Server},
    stage::{aborted_event, answering, sse},
};

/// Waits until the registry knows just these.
async fn knows(registry: &AbortRegistry<String>, expected: &[&str]) {
    let waited = timeout(LIMIT, async {
        loop {
            let mut keys = registry.keys();
            keys.sort_unstable();
            if keys == expected {
                return;
            }
            sleep(Duration::from_millis(1)).await;
        }
    });
    if waited.await.is_err() {
        panic!("knows {:?}, not {expected:?}", registry.keys());
    }
}

/// Serves what the path says, under a registry by path.
async fn serve(registry: &AbortRegistry<String>) -> Server {
    let registry = registry.clone();
    let stack = ServiceBuilder::new()
        .layer(FinalFrameLayer::by_media())
        .layer(AbortLayer::new(move |request| registry.handle(request.uri.path().to_owned())))
        .service(service_fn(async |request: Request<Body>| {
            let stream = Script::new().data("data: one\n\n");
            match request.uri().path() {
                "/ends" => Ok(sse(stream)),
                "/fails" => Ok(sse(stream.error("boom"))),
                "/panics" => Ok(sse(stream.panic("ouch"))),
                "/refuses" => Err(io::Error::other("no")),
                "/never" => pending().await,
                _ => Ok(sse(stream.stall())),
            }
        }));
    Server::start(Front::H1, stack).await
}

async fn ask(server: &Server, path: &str) -> H1 {
    let mut client = H1::connect(server.addr()).await.unwrap();
    client.get(path).await.unwrap();
    client
}

#[tokio::test]
async fn an_entry_is_there_while_its_stream_lives_and_gone_when_its_client_is() {
    let registry = AbortRegistry::new();
    let server = serve(&registry).await;
    let (one, two) = (ask(&server, "/one").await, ask(&server, "/two").await);
    knows(&registry, &["/one", "/two"]).await;
    one.reset();
    knows(&registry, &["/two"]).await;
    two.close().await;
    knows(&registry, &[]).await;
    assert_eq!(registry.root().dependents(), 0);
}

#[tokio::test]
async fn an_entry_is_gone_when_its_exchange_ends_before_the_head() {
    let registry = AbortRegistry::new();
    let server = serve(&registry).await;
    let client = ask(&server, "/never").await;
    knows(&registry, &["/never"]).await;
    client.close().await;
    knows(&registry, &[]).await;

    let mut client = ask(&server, "/never").await;
    knows(&registry, &["/never"]).await;
    assert_eq!(registry.abort(&"/never".to_owned(), "stop"), Some(true));
    assert_eq!(client.read_head(LIMIT).await.unwrap().status(), Some(503));
    knows(&registry, &[]).await;

    let mut client = ask(&server, "/refuses").await;
    client.read_to_end(LIMIT).await;
    knows(&registry, &[]).await;
    assert_eq!(registry.root().dependents(), 0);
}

#[tokio::test]
async fn an_entry_is_gone_however_its_stream_ends() {
    let registry = AbortRegistry::new();
    let server = serve(&registry).await;
    for path in ["/ends", "/fails", "/panics"] {
        let mut client = ask(&server, path).await;
        client.read_until(|bytes| bytes.ends_with(b"0\r\n\r\n"), LIMIT).await.unwrap();
        knows(&registry, &[]).await;
        assert_eq!(registry.abort(&path.to_owned(), "stop"), None, "{path}");
    }
    assert_eq!(registry.root().dependents(), 0);
}

#[tokio::test]
async fn not_even_the_key_of_an_ended_exchange_stays_in_the_registry() {
    let (registry, key) = (AbortRegistry::new(), Arc::new("a long name"));
    let (given, name) = (registry.clone(), key.clone());
    let stack = ServiceBuilder::new()
        .layer(AbortLayer::new(move |_| given.handle(name.clone())))
        .service(answering(|| sse(Script::new().data("data: one\n\n").stall())));
    let before = Arc::strong_count(&key);
    let response = stack.clone().oneshot(Request::new(Body::empty())).await.unwrap();
    assert_eq!((registry.keys(), Arc::strong_count(&key) > before), (vec![key.clone()], true));
    drop(response);
    assert_eq!((registry.keys(), Arc::strong_count(&key)), (vec![], before));
}

#[tokio::test]
async fn a_registry_aborts_one_or_all_and_nothing_that_comes_later() {
    for wire in Wire::ALL {
        let registry = AbortRegistry::new();
        let (given, next) = (registry.clone(), Arc::new(AtomicUsize::new(0)));
        let stack = ServiceBuilder::new()
            .layer(FinalFrameLayer::by_media())
            .layer(AbortLayer::new(move |_| given.handle(next.fetch_add(1, Ordering::SeqCst))))
            .service(answering(|| sse(Script::new().data("data: one\n\n").stall())));
        let server = Server::start(wire.front(), stack).await;
        let mut readers = Vec::new();
        for _ in 0..4 {
            let mut reader = Reader::get(wire, &server).await;
            reader.read_to("data: one\n\n").await;
            readers.push(reader);
        }
        assert_eq!(registry.abort(&1, "just you"), Some(true));
        assert_eq!(registry.abort_all("all of you"), 3, "{wire:?}");
        for (n, mut reader) in readers.into_iter().enumerate() {
            let reason = if n == 1 { "just you" } else { "all of you" };
            let expected = format!("data: one\n\n{}", aborted_event(reason));
            assert_eq!(reader.rest().await, (expected, Over::Clean), "{wire:?} {n}");
        }
        let mut later = Reader::get(wire, &server).await;
        later.read_to("data: one\n\n").await;
        assert_eq!(registry.keys(), [4], "{wire:?}");
    }
}

#[tokio::test]
async fn a_handle_that_lives_for_100_000_requests_does_not_grow() {
    let (shared, root) = (AbortHandle::new(), AbortHandle::new());
    let (given, parent) = (shared.clone(), root.clone());
    let stack = ServiceBuilder::new()
        .layer(AbortLayer::new(move |_| given.clone()))
        .layer(AbortLayer::new(move |_| parent.child()))
        .service(service_fn(async |_: Request<()>| {
            Ok::<_, Infallible>(Response::new(Script::new().data("one")))
        }));
    for n in 0..100_000 {
        let call = stack.clone().oneshot(Request::new(()));
        match n % 3 {
            0 => drop(call),
            1 => drop(call.await.unwrap()),
            _ => assert_eq!(drain(call.await.unwrap().into_body()).await.data, "one"),
        }
        let dependents = (shared.dependents(), root.dependents());
        assert_eq!(dependents, (0, 0), "after {n}");
    }
}
