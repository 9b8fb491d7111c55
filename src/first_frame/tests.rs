//! Each row of the module's table, and what may stand around the layer.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use http::{Method, Request, StatusCode, header};
use testkit::{Collected, Script, ScriptError, drain};
use tower::{Layer, ServiceExt, service_fn};

use super::*;

mod around;
mod begin;
mod failed;
mod limits;
mod replay;
mod untouched;

type Replayed = Response<FirstFrameBody<Script>>;

const PING: &str = "event: ping\ndata: {\"type\":\"ping\"}\n\n";
const ERROR: &str = "event: error\ndata: {\"type\":\"error\"}\n\n";

/// Gives these bodies, one for each call.
fn upstream(
    bodies: impl IntoIterator<Item = Script>,
    content_type: &'static str,
) -> impl Service<Request<()>, Response = Response<Script>, Error = ScriptError, Future: Send + 'static>
+ Clone
+ Send {
    let bodies = Arc::new(Mutex::new(bodies.into_iter().collect::<VecDeque<_>>()));
    service_fn(move |_: Request<()>| {
        let body = bodies.lock().unwrap().pop_front().expect("one more call than bodies");
        let response = Response::builder().header(header::CONTENT_TYPE, content_type);
        std::future::ready(Ok(response.body(body).unwrap()))
    })
}

/// The response to one call through a layer.
async fn call<F>(layer: &FirstFrameLayer<F>, body: Script, content_type: &'static str) -> Replayed
where
    F: Fn(&response::Parts) -> Begin + Clone,
{
    layer.layer(upstream([body], content_type)).oneshot(Request::new(())).await.unwrap()
}

/// The response to one call whose stream is made of events.
async fn sse(body: Script) -> Replayed {
    call(&FirstFrameLayer::by_media(), body, "text/event-stream").await
}

async fn read(response: Replayed) -> Collected<ScriptError> {
    drain(response.into_body()).await
}

/// The status and the text of an answer.
async fn told(response: Replayed) -> (u16, String) {
    let status = response.status().as_u16();
    let body = read(response).await;
    assert!(body.error.is_none());
    (status, String::from_utf8(body.data.to_vec()).unwrap())
}
