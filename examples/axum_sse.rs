//! An existing axum app gains heartbeats, a kill switch and a report of how each stream ended: three `.layer` lines.
//!
//! `cargo run --example axum_sse`. It is its own client, watches the stream, stops it, and ends by itself.

use std::{convert::Infallible, error::Error, time::Duration};

use axum::{
    Router,
    response::sse::{Event, Sse},
    routing::get,
};
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use tokio_stream::{Stream, StreamExt, iter};
use tower_lifeline::{
    abort::{AbortHandle, AbortLayer},
    final_frame::FinalFrameLayer,
    finalize::FinalizeLayer,
    keepalive::IdleKeepaliveLayer,
};

/// The app as it was: an event, a long silence, an event that nobody will wait for.
async fn thoughts() -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let events = ["let me think", "42"].map(|text| Ok(Event::default().data(text)));
    Sse::new(iter(events).throttle(Duration::from_secs(3600)))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let stop = AbortHandle::new();
    let (ended, mut endings) = tokio::sync::mpsc::unbounded_channel();

    // axum wraps what stands above: the last line is the outermost.
    let app = Router::new()
        .route("/thoughts", get(thoughts))
        .layer(FinalizeLayer::new(move |_request| {
            let ended = ended.clone();
            move |ending| drop(ended.send(ending))
        }))
        .layer(AbortLayer::new({
            let stop = stop.clone();
            move |_request| stop.child()
        }))
        .layer(FinalFrameLayer::by_media())
        .layer(IdleKeepaliveLayer::new(Duration::from_millis(200)));

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/thoughts", listener.local_addr()?);
    tokio::spawn(axum::serve(listener, app).into_future());

    let client = Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
    let mut body = client.request(Request::get(url).body(Empty::new())?).await?.into_body();
    let mut frames = 0;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        print!("{}", String::from_utf8_lossy(&data));
        frames += 1;
        if frames == 4 {
            stop.abort("somebody pressed stop");
        }
    }

    let ending = endings.recv().await.ok_or("no ending")?;
    println!(
        "ended {} ({}) after {} bytes",
        ending.outcome,
        ending.reason().unwrap_or("-"),
        ending.bytes
    );
    Ok(())
}
