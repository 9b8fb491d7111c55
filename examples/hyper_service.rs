//! A hyper server with nothing but `tower::ServiceBuilder`: every ending is told, also of clients that leave.
//!
//! `cargo run --example hyper_service`. Two clients come: one reads to the end, one leaves in the middle.

use std::{convert::Infallible, error::Error, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, Empty, StreamBody};
use hyper::{body::Incoming, server::conn::http1};
use hyper_util::{
    client::legacy::Client,
    rt::{TokioExecutor, TokioIo},
    service::TowerToHyperService,
};
use tokio::{net::TcpListener, sync::mpsc, time::sleep};
use tokio_stream::{StreamExt, iter};
use tower::{ServiceBuilder, service_fn};
use tower_lifeline::{
    finalize::{Ending, FinalizeLayer},
    tee::{Limit, Recording, TeeLayer},
};

/// Counts to ten, ten times a second.
async fn count(
    _: Request<Incoming>,
) -> Result<Response<impl http_body::Body<Data = Bytes, Error = Infallible>>, Infallible> {
    let numbers = iter(1..=10).throttle(Duration::from_millis(100));
    let frames = numbers.map(|n| Ok(Frame::data(Bytes::from(format!("{n}\n")))));
    Ok(Response::new(StreamBody::new(frames)))
}

async fn serve(listener: TcpListener, ended: mpsc::UnboundedSender<Ending>) {
    let service = ServiceBuilder::new()
        .layer(FinalizeLayer::new(move |_request| {
            let ended = ended.clone();
            move |ending| drop(ended.send(ending))
        }))
        .layer(TeeLayer::recording(Limit::first(1024)))
        .service(service_fn(count));
    while let Ok((stream, _)) = listener.accept().await {
        let service = TowerToHyperService::new(service.clone());
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/", listener.local_addr()?);
    let (ended, mut endings) = mpsc::unbounded_channel();
    tokio::spawn(serve(listener, ended));

    let client = Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
    let reader = client.request(Request::get(&url).body(Empty::new())?).await?;
    let leaver = client.request(Request::get(&url).body(Empty::new())?).await?;
    sleep(Duration::from_millis(350)).await;
    drop(leaver);
    reader.into_body().collect().await?;

    for _ in 0..2 {
        let ending = endings.recv().await.ok_or("no ending")?;
        let recording = ending.exchange.fact::<Recording>().ok_or("no recording")?;
        let text = String::from_utf8_lossy(&recording.to_bytes()).replace('\n', " ");
        println!("{} after {:?}: {text}", ending.outcome, ending.elapsed);
    }
    Ok(())
}
