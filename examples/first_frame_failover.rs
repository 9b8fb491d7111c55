//! A model that answers 200 and then says in the stream that it is overloaded: the next model is asked, and the client
//! never hears of the first.
//!
//! `cargo run --example first_frame_failover`. It asks twice: with the layer, and without it.

use std::{error::Error, future::Ready, time::Duration};

use axum::{
    Router,
    response::sse::{Event, Sse},
    routing::get,
};
use bytes::Bytes;
use http::{Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Empty};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use tokio::net::TcpListener;
use tokio_stream::{StreamExt, iter};
use tower::{
    ServiceBuilder, ServiceExt,
    retry::{Policy, RetryLayer},
};
use tower_lifeline::first_frame::FirstFrameLayer;

/// Starts an upstream that streams these events, a moment after its head.
async fn upstream(events: Vec<Event>) -> Result<Uri, Box<dyn Error>> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let uri = format!("http://{}/", listener.local_addr()?).parse()?;
    let stream = move || async move {
        let events = iter(events).throttle(Duration::from_millis(20));
        Sse::new(events.map(Ok::<_, std::convert::Infallible>))
    };
    tokio::spawn(async { axum::serve(listener, Router::new().route("/", get(stream))).await });
    Ok(uri)
}

/// Asks the next upstream whenever one answers 502.
#[derive(Clone)]
struct Failover(Vec<Uri>);

impl<B, E> Policy<Request<Empty<Bytes>>, Response<B>, E> for Failover {
    type Future = Ready<()>;

    fn retry(
        &mut self,
        request: &mut Request<Empty<Bytes>>,
        result: &mut Result<Response<B>, E>,
    ) -> Option<Self::Future> {
        let failed = result.as_ref().is_ok_and(|head| head.status() == StatusCode::BAD_GATEWAY);
        if !failed {
            return None;
        }
        *request.uri_mut() = self.0.pop()?;
        Some(std::future::ready(()))
    }

    fn clone_request(&mut self, request: &Request<Empty<Bytes>>) -> Option<Request<Empty<Bytes>>> {
        Some(request.clone())
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let ping = || Event::default().event("ping").data("{}");
    let overloaded = r#"{"type":"error","error":{"type":"overloaded_error"}}"#;
    let first = upstream(vec![ping(), Event::default().event("error").data(overloaded)]).await?;
    let second = upstream(vec![ping(), Event::default().data("hello")]).await?;
    let client = Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();

    let service = ServiceBuilder::new()
        .layer(RetryLayer::new(Failover(vec![second])))
        .layer(FirstFrameLayer::by_media())
        .service(client.clone());
    let response = service.oneshot(Request::get(first.clone()).body(Empty::new())?).await?;
    assert_eq!(response.status(), StatusCode::OK);
    let text = response.into_body().collect().await?.to_bytes();
    assert_eq!(text, "event: ping\ndata: {}\n\ndata: hello\n\n");
    println!("with the layer:\n{}", String::from_utf8_lossy(&text));

    let response = client.oneshot(Request::get(first).body(Empty::new())?).await?;
    assert_eq!(response.status(), StatusCode::OK); // And so nobody outside sees that it failed.
    let text = response.into_body().collect().await?.to_bytes();
    println!("without it:\n{}", String::from_utf8_lossy(&text));
    Ok(())
}
