//! Each row of the guard's table.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::Body;
use http_body_util::{BodyExt, combinators::UnsyncBoxBody};
use testkit::{Collected, Eos, Script, ScriptError, drain};
use tower::{ServiceBuilder, ServiceExt, service_fn};

use crate::{
    error::BoxError,
    exchange::Outcome,
    finalize::{Ending, FinalizeLayer},
    tee::TeeLayer,
    usage::{MissingTerminator, TerminatorGuardLayer},
};

const DELTA: &str = "data: {\"object\":\"chat.completion.chunk\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hi\"}}]}\n\n";
const DONE: &str = "data: [DONE]\n\n";
const REFUSED: &str = "data: {\"error\":{\"message\":\"overloaded\",\"code\":529}}\n\n";

type Opened = (UnsyncBoxBody<Bytes, BoxError>, Arc<Mutex<Vec<Ending>>>);

/// A response through Finalize, the guard and the meter.
async fn open(path: &str, response: Response<Script>) -> Opened {
    let endings = Arc::new(Mutex::new(Vec::new()));
    let told = endings.clone();
    let response = Arc::new(Mutex::new(Some(response)));
    let stack = ServiceBuilder::new()
        .layer(FinalizeLayer::new(move |_| {
            let told = told.clone();
            move |ending| told.lock().unwrap().push(ending)
        }))
        .layer(TerminatorGuardLayer)
        .layer(TeeLayer::usage())
        .service(service_fn(move |_: Request<()>| {
            std::future::ready(Ok::<_, ScriptError>(response.lock().unwrap().take().unwrap()))
        }));
    let request = Request::post(path).body(()).unwrap();
    (UnsyncBoxBody::new(stack.oneshot(request).await.unwrap().into_body()), endings)
}

/// Reads it to its end.
async fn seen(path: &str, response: Response<Script>) -> (Collected<BoxError>, Ending) {
    let (mut body, endings) = open(path, response).await;
    let seen = drain(&mut body).await;
    assert!(body.frame().await.is_none(), "it is fused");
    let ending = endings.lock().unwrap().pop().unwrap();
    (seen, ending)
}

fn sse(script: Script) -> Response<Script> {
    Response::builder().header("content-type", "text/event-stream").body(script).unwrap()
}

const CHAT: &str = "/v1/chat/completions";

#[tokio::test]
async fn an_end_behind_the_terminator_is_handed_on_with_its_trailers() {
    for eos in [Eos::Truthful, Eos::Never] {
        let (seen, ending) = seen(CHAT, sse(Script::new().data(DELTA).data(DONE).eos(eos))).await;
        assert!(seen.error.is_none());
        assert_eq!(
            (ending.outcome, seen.data.len()),
            (Outcome::Completed, DELTA.len() + DONE.len())
        );
    }
    let trailers = HeaderMap::from_iter([("x-a".parse().unwrap(), "1".parse().unwrap())]);
    let script = Script::new().data(DELTA).data(DONE).trailers(trailers.clone());
    let (seen, ending) = seen(CHAT, sse(script)).await;
    assert_eq!((seen.trailers, ending.outcome), (Some(trailers), Outcome::Completed));
}

#[tokio::test]
async fn a_clean_end_without_the_terminator_is_an_error_and_truncated() {
    let trailers = || HeaderMap::from_iter([("x-a".parse().unwrap(), "1".parse().unwrap())]);
    let broken = [
        Script::new().data(DELTA),
        Script::new().data(DELTA).eos(Eos::Never),
        Script::new().data(DELTA).trailers(trailers()),
    ];
    for script in broken {
        let (seen, ending) = seen(CHAT, sse(script)).await;
        assert_eq!(seen.data, DELTA);
        assert!(seen.error.unwrap().is::<MissingTerminator>() && seen.trailers.is_none());
        assert_eq!((ending.outcome, ending.reason()), (Outcome::Truncated, None));
    }
}

#[tokio::test]
async fn a_terminator_that_lacks_its_blank_line_is_one() {
    let (seen, ending) = seen(CHAT, sse(Script::new().data(DELTA).data("data: [DONE]"))).await;
    assert!(seen.error.is_none() && ending.outcome == Outcome::Completed);
}

#[tokio::test]
async fn an_error_event_of_the_upstreams_own_is_handed_on_and_the_exchange_has_failed() {
    let (seen, ending) = seen(CHAT, sse(Script::new().data(DELTA).data(REFUSED))).await;
    assert!(seen.error.is_none());
    assert_eq!(seen.data, [DELTA, REFUSED].concat());
    assert_eq!((ending.outcome, ending.reason()), (Outcome::Failed, Some("upstream_error_event")));
}

#[tokio::test]
async fn an_error_event_under_a_length_is_a_failure_too() {
    let script = Script::new().data(REFUSED).exact_size(REFUSED.len() as u64);
    let (seen, ending) = seen(CHAT, sse(script)).await;
    assert!(seen.error.is_none());
    assert_eq!((ending.outcome, ending.reason()), (Outcome::Failed, Some("upstream_error_event")));
}

#[tokio::test]
async fn where_nothing_can_be_missing_every_end_is_believed() {
    let of = |media: &str, script: Script| {
        Response::builder().header("content-type", media).body(script).unwrap()
    };
    let believed = [
        ("/", sse(Script::new().data("data: 1\n\n"))),
        ("/", of("application/octet-stream", Script::new().data("x"))),
        (CHAT, of("application/json", Script::new().data("{}"))),
        (CHAT, sse(Script::new())),
    ];
    for (path, response) in believed {
        let (seen, ending) = seen(path, response).await;
        assert!(seen.error.is_none(), "{path}");
        assert_eq!(ending.outcome, Outcome::Completed, "{path}");
    }
}

#[tokio::test]
async fn a_stream_under_a_length_that_ends_too_early_is_untouched_and_truncated() {
    let length = DELTA.len();
    for script in [
        Script::new().data(DELTA),
        Script::new().data(DELTA).eos(Eos::Never),
        Script::new().data(&DELTA[..20]).data(&DELTA[20..]),
    ] {
        let (seen, ending) = seen(CHAT, sse(script.exact_size(length as u64))).await;
        assert!(seen.error.is_none());
        assert_eq!((seen.data.as_ref(), ending.outcome), (DELTA.as_bytes(), Outcome::Truncated));
    }
    let whole = [DELTA, "data: [DONE]"].concat();
    let script = Script::new().data(whole.clone()).exact_size(whole.len() as u64);
    let (seen, ending) = seen(CHAT, sse(script)).await;
    assert_eq!((seen.data.as_ref(), ending.outcome), (whole.as_bytes(), Outcome::Completed));
}

/// hyper asks for nothing behind the last byte that was announced, not even for the end.
#[tokio::test]
async fn a_stream_under_a_length_that_ends_too_early_is_truncated_for_a_reader_that_only_counts() {
    for (body, outcome) in [
        (DELTA.to_owned(), Outcome::Truncated),
        ([DELTA, "data: [DONE]"].concat(), Outcome::Completed),
    ] {
        let script = Script::new().data(body.clone()).exact_size(body.len() as u64).eos(Eos::Never);
        let (mut body, endings) = open(CHAT, sse(script)).await;
        let mut left = usize::try_from(body.size_hint().exact().unwrap()).unwrap();
        while left > 0 {
            left -= body.frame().await.unwrap().unwrap().into_data().unwrap().len();
        }
        drop(body);
        assert_eq!(endings.lock().unwrap().pop().unwrap().outcome, outcome);
    }
}

#[tokio::test]
async fn an_error_of_the_body_is_handed_on() {
    let (seen, ending) = seen(CHAT, sse(Script::new().data(DELTA).error("boom"))).await;
    assert_eq!(seen.error.unwrap().to_string(), "boom");
    assert_eq!(ending.outcome, Outcome::Failed);
}
