//! What is replayed and how, what is kept and what is not, and whose it is.

use std::{
    collections::VecDeque,
    convert::Infallible,
    future::ready,
    sync::{Arc, Mutex},
    time::Duration,
};

use http::{Method, Request, Response, response};
use testkit::{Collected, Script, drain};
use tower::{Layer, Service, ServiceExt, service_fn};

use super::{MemoryStore, ReplayLayer, ReplayRequest, Replayed, RequestKey};
use crate::{error::BoxError, exchange::Exchange};

mod hit;
mod join;
mod kept;
mod key;
mod request;
mod stateless;
mod store;
mod tenants;
mod vary;
mod within;

const HOUR: Duration = Duration::from_secs(3600);

/// A layer that keeps whatever may be kept.
fn layer() -> ReplayLayer<MemoryStore, RequestKey> {
    ReplayLayer::new(MemoryStore::new(1 << 30, HOUR), every())
}

/// A key for whatever comes.
fn every() -> RequestKey {
    RequestKey::new().also(Method::GET, "/").also(Method::POST, "/")
}

/// A service behind the layer.
trait Serves<E>:
    Service<Request<ReplayRequest<Script>>, Response = Response<Script>, Error = E, Future: Send>
    + Clone
    + Send
    + 'static
{
}

impl<E, S> Serves<E> for S where
    S: Service<
            Request<ReplayRequest<Script>>,
            Response = Response<Script>,
            Error = E,
            Future: Send,
        > + Clone
        + Send
        + 'static
{
}

/// A service that gives these responses, one to each call, and panics at one call too many.
fn upstream(responses: impl IntoIterator<Item = Response<Script>>) -> impl Serves<Infallible> {
    let responses: Arc<Mutex<VecDeque<_>>> = Arc::new(Mutex::new(responses.into_iter().collect()));
    service_fn(move |_| {
        let response = responses.lock().unwrap().pop_front();
        ready(Ok(response.expect("the service is called once too often")))
    })
}

fn text(body: Script) -> Response<Script> {
    Response::builder().header("content-type", "text/plain").body(body).unwrap()
}

fn get() -> Request<Script> {
    Request::get("/").body(Script::new()).unwrap()
}

/// A request with a body of one frame.
fn post(path: &str, body: &'static str) -> Request<Script> {
    let script = Script::new().data(body).exact_size(body.len() as u64);
    Request::post(path).body(script).unwrap()
}

#[derive(Debug)]
struct Answer {
    replayed: Option<Replayed>,
    head: response::Parts,
    body: Collected<BoxError>,
}

/// Sends a request and reads its answer.
async fn ask<S, B>(service: &S, mut request: Request<Script>) -> Answer
where
    S: Service<Request<Script>, Response = Response<B>, Error = Infallible> + Clone,
    B: http_body::Body<Data = bytes::Bytes, Error = BoxError>,
{
    let exchange = Exchange::of(&mut request);
    let Ok(response) = service.clone().oneshot(request).await;
    let replayed = exchange.fact::<Replayed>();
    let (head, body) = response.into_parts();
    Answer { replayed, head, body: drain(body).await }
}
