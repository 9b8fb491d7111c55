//! A tonic server whose streams end with a gRPC status when they are stopped, and are reported when they have ended.
//!
//! `cargo run --example tonic_stream`. A client watches the health service, a stream without an end, until the server is
//! shut down.

use std::error::Error;

use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Endpoint, Server};
use tonic_health::{
    ServingStatus,
    pb::{HealthCheckRequest, health_client::HealthClient},
};
use tower_lifeline::{
    abort::{AbortHandle, AbortKind, AbortLayer, AbortReason},
    final_frame::FinalFrameLayer,
    finalize::FinalizeLayer,
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let shutdown = AbortHandle::new();
    let (ended, mut endings) = tokio::sync::mpsc::unbounded_channel();

    let (reporter, health) = tonic_health::server::health_reporter();
    reporter.set_service_status("thinking", ServingStatus::Serving).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    // tonic wraps what stands below: the first line is the outermost.
    let server = Server::builder()
        .layer(FinalFrameLayer::by_media())
        .layer(AbortLayer::new({
            let shutdown = shutdown.clone();
            move |_request| shutdown.child()
        }))
        .layer(FinalizeLayer::new(move |request| {
            let (ended, path) = (ended.clone(), request.uri.path().to_owned());
            move |ending| drop(ended.send((path, ending)))
        }))
        .add_service(health);
    tokio::spawn(server.serve_with_incoming_shutdown(TcpListenerStream::new(listener), {
        let shutdown = shutdown.clone();
        async move { drop(shutdown.aborted().await) }
    }));

    let mut client = HealthClient::new(Endpoint::from_shared(url)?.connect().await?);
    let request = HealthCheckRequest { service: "thinking".to_owned() };
    let mut statuses = client.watch(request).await?.into_inner();
    println!("first message: {:?}", statuses.message().await?);

    shutdown.abort(AbortReason::new(AbortKind::Shutdown).with_text("the server goes down"));
    let status = statuses.message().await.err().ok_or("the stream ended without a status")?;
    println!("the client is told: {:?}, {:?}", status.code(), status.message());

    let (path, ending) = endings.recv().await.ok_or("no ending")?;
    println!("{path} ended {} after {} frames", ending.outcome, ending.frames);
    Ok(())
}
