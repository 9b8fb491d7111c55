//! Answers of our own, all of one shape.

use std::convert::Infallible;

use bytes::Bytes;
use http::{
    HeaderValue, Method, Request, Response, StatusCode,
    header::{CONTENT_LENGTH, CONTENT_TYPE},
};
use http_body::Body;
use http_body_util::{Either, Full};
use serde::Serialize;
use tower::{BoxError, ServiceExt};
use tower_lifeline::exchange::{Cause, Exchange};

use crate::forward::{Answer, Forward, ForwardError, WebSocket};

#[cfg(test)]
mod tests;

/// The fact of an exchange that its answer is ours: nothing of it came from the upstream.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ours;

/// The upstream's answer, or ours where it gives none.
pub(crate) async fn or_refusal<B>(
    forward: Forward,
    request: Request<B>,
) -> Result<Response<Either<Either<Answer, WebSocket>, Full<Bytes>>>, Infallible>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let exchange = Exchange::get(request.extensions());
    let head_only = request.method() == Method::HEAD;
    Ok(match forward.oneshot(request).await {
        Ok(response) => response.map(Either::Left),
        Err(error) => {
            if let Some(exchange) = exchange {
                match &error {
                    error if error.client_left() => drop(exchange.record(Cause::Disconnected)),
                    // Refused, which is an answer as any other.
                    ForwardError::Target(_)
                    | ForwardError::RequestHead
                    | ForwardError::Host
                    | ForwardError::Loop
                    | ForwardError::RequestCoding
                    | ForwardError::NoWebSocket
                    | ForwardError::Tunnel => {}
                    error => drop(exchange.record(Cause::failed(error))),
                }
                exchange.insert(Ours);
            }
            let answer = no_answer(&error);
            let answer = if head_only { without_body(answer) } else { answer };
            answer.map(|body| Either::Right(Full::new(body)))
        }
    })
}

/// The body of a refusal; the members come in the order of the event that is an error in a stream.
#[derive(Debug, Serialize)]
struct Refusal<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    error: Why<'a>,
}

#[derive(Debug, Serialize)]
struct Why<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    message: &'a str,
    code: &'a str,
}

/// The answer to HEAD: its header says how long the body would be. (hyper strips a body from HTTP/1 only.)
fn without_body(response: Response<Bytes>) -> Response<Bytes> {
    let (mut head, body) = response.into_parts();
    head.headers.insert(CONTENT_LENGTH, body.len().into());
    Response::from_parts(head, Bytes::new())
}

/// A JSON error body under `status`; `code` is the ending's reason or outcome.
pub(crate) fn refusal(status: StatusCode, message: &str, code: &str) -> Response<Bytes> {
    let kind = match status {
        StatusCode::BAD_GATEWAY => "upstream",
        StatusCode::SERVICE_UNAVAILABLE => "aborted",
        StatusCode::GATEWAY_TIMEOUT | StatusCode::REQUEST_TIMEOUT => "timeout",
        _ => "refused",
    };
    let body = Refusal { kind: "error", error: Why { kind, message, code } };
    // Strings always have a JSON form.
    let body = serde_json::to_vec(&body).unwrap_or_default();
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// What the client is told when the upstream gave no answer.
pub(crate) fn no_answer(error: &ForwardError) -> Response<Bytes> {
    let status = match error {
        ForwardError::Unreachable(_)
        | ForwardError::Failed(_)
        | ForwardError::Switched
        | ForwardError::Upgrade(_)
        | ForwardError::ResponseHead
        | ForwardError::ResponseCoding => StatusCode::BAD_GATEWAY,
        ForwardError::Loop => StatusCode::LOOP_DETECTED,
        ForwardError::RequestHead => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        ForwardError::Upload(_) | ForwardError::Target(_) | ForwardError::Host => {
            StatusCode::BAD_REQUEST
        }
        ForwardError::NoWebSocket | ForwardError::Tunnel | ForwardError::RequestCoding => {
            StatusCode::NOT_IMPLEMENTED
        }
    };
    // Its own words only: the error beneath names the upstream.
    refusal(status, &error.to_string(), "failed")
}
