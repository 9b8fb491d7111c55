//! Stops a server that has a live stream: the stream gets its last event, its ending is written, and `serve` returns.
//!
//! `cargo run --example graceful_shutdown`. It is its own client, and ends by itself.

use std::{convert::Infallible, time::Duration};

use axum::{Router, body::Body, response::sse, routing::get};
use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use tokio::{net::TcpListener, sync::oneshot, time::Instant};
use tokio_stream::{Stream, StreamExt};
use tower_lifeline::{Lifeline, error::BoxError, finalize::FinalizeLayer};

const GRACE: Duration = Duration::from_millis(500);

/// An event, and then nothing for ever: without help `serve` would wait for its end.
async fn endless() -> sse::Sse<impl Stream<Item = Result<sse::Event, Infallible>>> {
    let hello = tokio_stream::iter([Ok(sse::Event::default().data("hello"))]);
    sse::Sse::new(hello.chain(tokio_stream::pending()))
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let lifeline = Lifeline::new();
    // An async hook, as one that writes to a database. It is waited for.
    let (write, mut written) = tokio::sync::mpsc::unbounded_channel();
    let finalize = FinalizeLayer::spawned(
        move |_request| {
            let write = write.clone();
            move |ending| async move {
                tokio::time::sleep(Duration::from_millis(50)).await;
                let _ = write.send(format!("{}, {:?}", ending.outcome, ending.reason()));
            }
        },
        |ending| eprintln!("not written: {}", ending.outcome),
    );
    let app = Router::new().route("/", get(endless)).layer(lifeline.layer(finalize));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;

    // In a real server this is a signal.
    let (stop, stopped) = oneshot::channel::<()>();
    let (stopping, grace_begins) = oneshot::channel::<()>();
    let server = tokio::spawn(async move {
        let signal = async {
            let _ = stopped.await;
            let _ = stopping.send(());
        };
        let serve = axum::serve(listener, app).with_graceful_shutdown(signal);
        let shutdown = async {
            let _ = grace_begins.await;
            lifeline.shutdown(GRACE).await;
        };
        tokio::join!(serve.into_future(), shutdown).0
    });

    let client = Client::builder(TokioExecutor::new()).build_http::<Empty<_>>();
    let request =
        Request::get(format!("http://{address}/")).body(Empty::<axum::body::Bytes>::new())?;
    let mut body = Body::new(client.request(request).await?.into_body());
    let first = body.frame().await.ok_or("no event")??;
    println!("client: {first:?}");

    let asked = Instant::now();
    let _ = stop.send(());
    let last = body.collect().await?.to_bytes();
    println!("client: {}", String::from_utf8_lossy(&last));
    assert!(last.starts_with(b"event: error\ndata: ") && last.ends_with(b"\n\n"));

    server.await??;
    let elapsed = asked.elapsed();
    println!("serve returned {elapsed:?} after it was asked, the grace being {GRACE:?}");
    assert!(elapsed >= GRACE && elapsed < 2 * GRACE, "{elapsed:?}");
    let written = written.try_recv()?;
    println!("written: {written}");
    assert_eq!(written, "aborted, Some(\"shutdown\")");
    Ok(())
}
