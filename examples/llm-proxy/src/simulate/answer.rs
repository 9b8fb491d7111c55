//! One answer: the same course of events in every dialect.

use std::future::pending;

use axum::{body::Body, response::Response};
use bytes::Bytes;
use http::{
    HeaderValue, StatusCode,
    header::{CONTENT_LENGTH, CONTENT_TYPE},
};
use serde_json::Value;
use tokio::time::sleep;

use super::{
    ask::Ask,
    manner::{Ending, Manner},
    script::{Script, Step},
};

const TEXT: &str = "The answer comes word by word, as a model would think of it, and every word \
    is an event of its own on the wire, so that whoever watches the stream sees it grow until it ends.";
const BROKEN: &str = "the model's name asked for this error";
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// How an answer is put on the wire.
pub(super) trait Dialect: Send + Unpin + 'static {
    const STREAM_TYPE: HeaderValue;
    const STREAMS_UNASKED: bool = false;

    fn new(ask: Ask, manner: &Manner) -> Self;

    /// What goes before the first word.
    fn opening(&self) -> Bytes;
    fn word(&self, word: &str) -> Bytes;
    /// What goes after the last of `words`.
    fn closing(&self, words: u32) -> Bytes;
    /// An error inside of the stream.
    fn broken(&self, message: &str) -> Bytes;
    /// The answer to a request that does not stream.
    fn whole(&self, text: &str, words: u32) -> Value;
    /// The body of an error response.
    fn error(status: StatusCode, message: &str) -> Value;
}

/// The handler of one dialect's path.
pub(super) async fn answer<D: Dialect>(body: Bytes) -> Response {
    let (ask, manner) =
        match Ask::read(&body).and_then(|ask| Manner::of(&ask.model).map(|manner| (ask, manner))) {
            Ok(read) => read,
            Err(reason) => return refusal::<D>(StatusCode::BAD_REQUEST, &reason),
        };
    if let Some(status) = manner.status {
        sleep(manner.head).await;
        return refusal::<D>(status, "the model's name asked for this status");
    }
    let stream = ask.stream.unwrap_or(D::STREAMS_UNASKED);
    let dialect = D::new(ask, &manner);
    if stream {
        sleep(manner.head).await;
        streamed(dialect, manner)
    } else {
        sleep(manner.total()).await;
        whole(&dialect, &manner).await
    }
}

fn streamed<D: Dialect>(dialect: D, manner: Manner) -> Response {
    let before = [Step::Wait(manner.first), Step::Send(dialect.opening())];
    let pause = Step::Wait(manner.pause_after(manner.words));
    let after = match manner.ending {
        Ending::Complete => [pause, Step::Send(dialect.closing(manner.words))],
        Ending::Stall => [pause, Step::Stall],
        Ending::Fail => [pause, Step::Fail],
        Ending::Error => [pause, Step::Send(dialect.broken(BROKEN))],
    };
    let spoken = words().zip(0..manner.words).flat_map(move |(word, n)| {
        [Step::Wait(manner.silence(n)), Step::Send(dialect.word(&word))]
    });
    let script = Script::new(before.into_iter().chain(spoken).chain(after));
    response(StatusCode::OK, D::STREAM_TYPE, Body::new(script))
}

async fn whole<D: Dialect>(dialect: &D, manner: &Manner) -> Response {
    let text: String = words().take(manner.words as usize).collect();
    let body = Bytes::from(dialect.whole(&text, manner.words).to_string());
    match manner.ending {
        Ending::Complete => response(StatusCode::OK, JSON, body.into()),
        Ending::Stall => pending().await,
        Ending::Error => refusal::<D>(StatusCode::INTERNAL_SERVER_ERROR, BROKEN),
        Ending::Fail => {
            let half = Step::Send(body.slice(..body.len() / 2));
            let script = Body::new(Script::new([half, Step::Fail].into_iter()));
            let mut response = response(StatusCode::OK, JSON, script);
            response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
            response
        }
    }
}

fn refusal<D: Dialect>(status: StatusCode, reason: &str) -> Response {
    let body = D::error(status, reason).to_string();
    response(status, JSON, body.into())
}

fn response(status: StatusCode, content_type: HeaderValue, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

/// The words of the answer, for ever; all but the first bring the space before them.
fn words() -> impl Iterator<Item = String> {
    let words = TEXT.split_whitespace().cycle().enumerate();
    words.map(|(n, word)| match n {
        0 => word.to_owned(),
        _ => format!(" {word}"),
    })
}
