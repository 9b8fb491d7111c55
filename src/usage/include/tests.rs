//! What is asked for, what is taken out, and that nothing else changes.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::Body;
use testkit::{Script, drain};
use tower::{Layer, Service, ServiceExt, service_fn};

use super::{IncludeUsageBody, IncludeUsageLayer, IncludeUsageRequest};

mod answer;
mod aside;
mod body;
mod random;
mod request;
mod wire;

const PATH: &str = "/v1/chat/completions";
const STREAM: &str = r#"{"stream":true}"#;
const ASKED: &str = r#"{"stream_options":{"include_usage":true},"stream":true}"#;

const DELTA: &str =
    "data: {\"choices\":[{\"delta\":{\"content\":\"\\\"usage\\\":{}\"}}],\"usage\":null}\n\n";
const USAGE: &str = "data: {\"id\":\"c\",\"choices\":[],\"usage\":{\"prompt_tokens\":12}}\n\n";
const DONE: &str = "data: [DONE]\n\n";

fn events() -> String {
    [DELTA, USAGE, DONE].concat()
}

/// What the service got.
type Got =
    Arc<Mutex<Option<(HeaderMap, http_body::SizeHint, testkit::Collected<testkit::ScriptError>)>>>;

/// A service that reads the request and answers with this.
fn upstream(
    got: &Got,
    answer: Response<Script>,
) -> impl Service<
    Request<IncludeUsageRequest<Script>>,
    Response = Response<Script>,
    Error = Infallible,
    Future: Send,
> + Clone
+ use<> {
    let (got, answer) = (got.clone(), Arc::new(Mutex::new(Some(answer))));
    service_fn(move |request: Request<IncludeUsageRequest<Script>>| {
        let (got, answer) = (got.clone(), answer.lock().unwrap().take());
        async move {
            let (head, body) = request.into_parts();
            let hint = body.size_hint();
            *got.lock().unwrap() = Some((head.headers, hint, drain(body).await));
            Ok(answer.unwrap())
        }
    })
}

fn stream(body: Script) -> Response<Script> {
    Response::builder().header("content-type", "text/event-stream").body(body).unwrap()
}

fn post(body: Script) -> Request<Script> {
    Request::post(PATH).body(body).unwrap()
}

/// Sends a request, and gives what the service got of its body, and what the client got of an answer with usage.
async fn sent(layer: IncludeUsageLayer, request: Request<Script>) -> (String, String) {
    let got = Got::default();
    let answer = stream(Script::new().data(events()));
    let response = layer.layer(upstream(&got, answer)).oneshot(request).await.unwrap();
    let answer = drain(response.into_body()).await;
    let (_, _, body) = got.lock().unwrap().take().unwrap();
    let text = |bytes: &Bytes| String::from_utf8(bytes.to_vec()).unwrap();
    (text(&body.data), text(&answer.data))
}

/// The answer that a client gets who did not ask.
async fn answered(answer: Response<Script>) -> Response<IncludeUsageBody<Script>> {
    let service = IncludeUsageLayer::new().layer(upstream(&Got::default(), answer));
    service.oneshot(post(Script::new().data(STREAM))).await.unwrap()
}
