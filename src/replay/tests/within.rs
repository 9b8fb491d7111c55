//! Within what others build.

use std::sync::atomic::{AtomicUsize, Ordering};

use axum::{Router, body::Body, routing::post};
use http_body_util::BodyExt;
use tokio::sync::mpsc::unbounded_channel;
use tower::ServiceBuilder;

use super::*;
use crate::{
    exchange::Outcome,
    finalize::FinalizeLayer,
    tee::TeeLayer,
    usage::{TerminatorGuardLayer, UsageReport},
};

#[tokio::test]
async fn a_router_replays_and_tells_its_hooks_that_it_did() {
    let (tell, mut told) = unbounded_channel();
    let hook = FinalizeLayer::new(move |_| {
        let tell = tell.clone();
        move |ending| drop(tell.send(ending))
    });
    let calls = Arc::new(AtomicUsize::new(0));
    let answer = move |question: String| async move {
        format!("{question} {}", calls.fetch_add(1, Ordering::Relaxed))
    };
    let app = Router::new().route("/ask", post(answer)).layer(layer()).layer(hook);
    let asked =
        [("a", "a 0", "miss"), ("a", "a 0", "hit"), ("b", "b 1", "miss"), ("a", "a 0", "hit")];
    for (question, answer, replayed) in asked {
        let request = Request::post("/ask").body(Body::from(question)).unwrap();
        let Ok(response) = app.clone().oneshot(request).await;
        assert_eq!(response.headers()["content-type"], "text/plain; charset=utf-8");
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), answer);
        let ending = told.recv().await.unwrap();
        assert_eq!(ending.outcome, Outcome::Completed);
        assert_eq!(ending.exchange.fact::<Replayed>().unwrap().as_str(), replayed);
    }
}

#[tokio::test]
async fn a_replay_costs_nothing_and_the_guard_inside_lets_no_half_answer_in() {
    let done = "data: {\"model\":\"m\",\"choices\":[],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2}}\n\n\
                data: [DONE]\n\n";
    let half = "data: {\"model\":\"m\",\"choices\":[{\"delta\":{\"content\":\"Hi\"}}]}\n\n";
    let events = |data: &'static str| {
        let response = Response::builder().header("content-type", "text/event-stream");
        response.body(Script::new().data(data)).unwrap()
    };
    let stack =
        ServiceBuilder::new().layer(layer()).layer(TerminatorGuardLayer).layer(TeeLayer::usage());
    let service = stack.service(upstream([events(half), events(done)]));
    for (replayed, failed, output) in [
        (Replayed::Miss, true, Some(None)),
        (Replayed::Miss, false, Some(Some(2))),
        (Replayed::Hit, false, None),
    ] {
        let mut request = post_chat();
        let exchange = Exchange::of(&mut request);
        let Ok(response) = service.clone().oneshot(request).await;
        let body = drain(response.into_body()).await;
        assert_eq!((exchange.fact(), body.error.is_some()), (Some(replayed), failed));
        let report = exchange.fact::<UsageReport>();
        assert_eq!(report.map(|report| report.usage().output_tokens), output);
    }
}

fn post_chat() -> Request<Script> {
    super::post("/v1/chat/completions", "{}")
}
