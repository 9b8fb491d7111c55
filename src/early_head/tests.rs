//! Each row of the module's table, and what of a request asks for a stream.

use std::{convert::Infallible, fmt::Debug, time::Duration};

use http::{Request, Response, header, request::Parts};
use http_body::Body;
use http_body_util::BodyExt;
use testkit::{Event, Log, Script, ScriptError, drain};
use tokio::time::{Instant, sleep, timeout};
use tower::{Layer, Service, ServiceExt, service_fn};

use super::{EarlyHead, EarlyHeadBody, EarlyHeadLayer, LateHead};
use crate::{
    error::BoxError,
    exchange::{Cause, Exchange, Outcome},
};

mod accept;
mod asks;
mod early;
mod in_time;
mod late;
mod upload;
mod within;

const SECOND: Duration = Duration::from_secs(1);
/// The time after which the tests' heads are early.
const AFTER: Duration = Duration::from_secs(5);
/// What the tests' upstreams take when they are late.
const LATE: Duration = Duration::from_secs(60);

type Answer = Result<Response<Script>, ScriptError>;

/// A request that asks for a stream, and its exchange.
fn asking() -> (Request<()>, Exchange) {
    let accept = "text/event-stream";
    let mut request = Request::post("/").header(header::ACCEPT, accept).body(()).unwrap();
    let exchange = Exchange::of(&mut request);
    (request, exchange)
}

/// An event stream.
fn sse(body: Script) -> Answer {
    let response = Response::builder().header(header::CONTENT_TYPE, "text/event-stream");
    Ok(response.body(body).unwrap())
}

/// A service that gives this answer, once, after this time.
fn answering(
    after: Duration,
    answer: Answer,
) -> impl Service<Request<()>, Response = Response<Script>, Error = ScriptError, Future: Send> {
    let mut answer = Some(answer);
    service_fn(move |_: Request<()>| {
        let answer = answer.take().unwrap();
        async move {
            sleep(after).await;
            answer
        }
    })
}

/// The body of an early head.
async fn early<S, B>(service: S, request: Request<()>) -> EarlyHeadBody<S::Future, B>
where
    S: Service<Request<()>, Response = Response<B>, Error: Into<BoxError> + Debug>,
    B: Body<Error: Into<BoxError>>,
{
    let start = Instant::now();
    let response = EarlyHeadLayer::new(AFTER).layer(service).oneshot(request).await.unwrap();
    assert_eq!((start.elapsed(), response.status().as_u16()), (AFTER, 200));
    response.into_body()
}

/// The outcome of an exchange, and its reason.
fn ending(exchange: &Exchange) -> (Outcome, String) {
    let cause = exchange.cause().unwrap();
    (cause.outcome(), cause.reason().unwrap_or_default().to_owned())
}
