//! What it means that a client leaves: nothing any more behind the words by which the stream itself has ended.

use http::{Request, Response};
use http_body_util::BodyExt;
use std::sync::{Arc, Mutex};
use testkit::{Script, ScriptError};
use tokio::sync::mpsc::unbounded_channel;
use tower::{ServiceBuilder, ServiceExt, service_fn};

use crate::{
    abort::{AbortHandle, AbortLayer},
    detach::{DetachLayer, DrainLimits},
    exchange::Outcome::{self, Aborted, Completed, Disconnected, Failed},
    finalize::{Ending, FinalizeLayer},
    tee::TeeLayer,
    usage::TerminatorGuardLayer,
};

const DELTA: &str = "data: {\"object\":\"chat.completion.chunk\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hi\"},\"finish_reason\":\"stop\"}]}\n\n";
const DONE: &str = "data: [DONE]\n\n";
const REFUSED: &str = "data: {\"error\":{\"message\":\"overloaded\",\"code\":529}}\n\n";
const GEMINI: &str = "data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"hi\"}]},\"finishReason\":\"STOP\"}]}\r\n\r\n";

/// The ending where a client leaves after these events of a stream that goes on.
async fn left(path: &str, events: &[&'static str], drains: bool, abort: bool) -> Ending {
    let (tell, mut told) = unbounded_channel();
    let handle = AbortHandle::new();
    let body = events.iter().fold(Script::new(), |script, event| script.data(*event));
    let body = body.sleep(std::time::Duration::from_millis(10)).data("\n");
    let response = Response::builder().header("content-type", "text/event-stream");
    let response = Arc::new(Mutex::new(Some(response.body(body).unwrap())));
    let stack = ServiceBuilder::new()
        .layer(DetachLayer::new(DrainLimits::new()).when(move |_| move |_| drains))
        .layer(AbortLayer::new({
            let handle = handle.clone();
            move |_: &http::request::Parts| handle.clone()
        }))
        .layer(FinalizeLayer::new(move |_| {
            let tell = tell.clone();
            move |ending| drop(tell.send(ending))
        }))
        .layer(TerminatorGuardLayer)
        .layer(TeeLayer::usage())
        .service(service_fn(move |_: Request<()>| {
            std::future::ready(Ok::<_, ScriptError>(response.lock().unwrap().take().unwrap()))
        }));
    let request = Request::post(path).body(()).unwrap();
    let mut body = stack.oneshot(request).await.unwrap().into_body();
    for event in events {
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), event);
    }
    if abort {
        handle.abort("stop");
    }
    drop(body);
    told.recv().await.unwrap()
}

async fn outcome(path: &str, events: &[&'static str]) -> (Outcome, Option<String>) {
    let [at_once, drained] =
        [left(path, events, false, false).await, left(path, events, true, false).await];
    assert_eq!((at_once.outcome, at_once.reason()), (drained.outcome, drained.reason()));
    assert!(at_once.drained.is_none() && drained.drained.is_some());
    (at_once.outcome, at_once.reason().map(str::to_owned))
}

const CHAT: &str = "/v1/chat/completions";

#[tokio::test(start_paused = true)]
async fn behind_the_terminator_it_is_complete_though_its_body_goes_on() {
    assert_eq!(outcome(CHAT, &[DELTA, DONE]).await, (Completed, None));
}

#[tokio::test(start_paused = true)]
async fn before_the_terminator_the_client_has_left_though_the_model_had_finished() {
    assert_eq!(outcome(CHAT, &[DELTA]).await, (Disconnected, None));
}

#[tokio::test(start_paused = true)]
async fn behind_an_event_that_tells_of_a_failure_it_has_failed() {
    let failed = (Failed, Some("upstream_error_event".to_owned()));
    assert_eq!(outcome(CHAT, &[DELTA, REFUSED]).await, failed);
}

#[tokio::test(start_paused = true)]
async fn where_no_word_is_the_last_one_the_client_has_left() {
    let path = "/v1beta/models/m:streamGenerateContent";
    assert_eq!(outcome(path, &[GEMINI]).await, (Disconnected, None));
}

#[tokio::test(start_paused = true)]
async fn an_abort_behind_the_terminator_is_none() {
    let ending = left(CHAT, &[DELTA, DONE], false, true).await;
    assert_eq!((ending.outcome, ending.reason()), (Completed, None));
    let ending = left(CHAT, &[DELTA], false, true).await;
    assert_eq!((ending.outcome, ending.reason()), (Aborted, Some("stop")));
}
