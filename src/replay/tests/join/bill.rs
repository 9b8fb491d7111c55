//! Who pays for an answer that several share: one of them, always.

use tower::util::BoxCloneSyncService;

use super::*;
use crate::{tee::TeeLayer, usage::UsageReport};

const DELTA: &str = "data: {\"model\":\"m\",\"choices\":[{\"delta\":{\"content\":\"Hi\"}}]}\n\n";
const END: &str = "data: {\"model\":\"m\",\"choices\":[],\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":2}}\n\ndata: [DONE]\n\n";

fn metered(gate: &Gate) -> BoxCloneSyncService<Request<Script>, Response<Read>, Infallible> {
    metered_by(joining(), gate)
}

/// A service whose calls cost something.
fn metered_by<T: ReplayStore>(
    layer: ReplayLayer<T, RequestKey>,
    gate: &Gate,
) -> BoxCloneSyncService<Request<Script>, Response<Read>, Infallible> {
    let script = Script::new().data(DELTA).wait(gate).data(END);
    let response = Response::builder().header("content-type", "text/event-stream");
    let stack = tower::ServiceBuilder::new().layer(layer).layer(TeeLayer::usage());
    let service = stack.service(upstream([response.body(script).unwrap()]));
    let service = service.map_response(|response| response.map(|body| Box::pin(body) as Read));
    BoxCloneSyncService::new(service)
}
fn chat() -> Request<Script> {
    post("/v1/chat/completions", "{}")
}

/// The output tokens that each of them has to pay for.
fn paid<const N: usize>(asked: &[Asked; N]) -> [Option<u64>; N] {
    asked.each_ref().map(|asked| asked.exchange.fact::<UsageReport>()?.usage().output_tokens)
}

#[tokio::test]
async fn the_first_pays_and_who_joined_does_not() {
    let gate = Gate::new();
    let service = metered(&gate);
    let mut asked = [(); 3].map(|()| Asked::of(&service, chat()));
    let bodies = asked.each_mut().map(Asked::body);
    gate.open();
    for body in bodies.into_iter().rev() {
        drain(body).await;
    }
    assert_eq!(paid(&asked), [Some(2), None, None]);
}

#[tokio::test]
async fn when_the_one_who_pays_leaves_one_who_reads_on_pays_all_of_it() {
    let gate = Gate::new();
    let service = metered(&gate);
    let mut asked = [(); 3].map(|()| Asked::of(&service, chat()));
    let [mut first, second, third] = asked.each_mut().map(Asked::body);
    assert!(next(&mut first).is_ready());
    drop(first);
    assert!(asked[0].exchange.fact::<UsageReport>().is_none(), "or it would be counted twice");
    drop(second);
    gate.open();
    drain(third).await;
    assert_eq!(paid(&asked), [None, None, Some(2)]);
}

#[tokio::test]
async fn when_the_first_leaves_before_the_call_had_begun_another_pays() {
    let (gate, opened) = (Gate::new(), Gate::new());
    let store = Slow(opened.clone(), MemoryStore::new(1 << 20, HOUR));
    let layer = ReplayLayer::new(store, every()).coalesce();
    let service = metered_by(layer, &gate);
    let mut asked = [(); 2].map(|()| Asked::of(&service, chat()));
    assert!(asked.iter_mut().all(|asked| asked.poll().is_pending()));
    asked[0].answer = Box::pin(pending());
    opened.open();
    let body = asked[1].body();
    gate.open();
    drain(body).await;
    assert_eq!(asked[1].replayed(), Some(Replayed::Join));
    assert_eq!(paid(&asked), [None, Some(2)]);
}

#[tokio::test]
async fn the_last_to_leave_pays_for_what_came() {
    let gate = Gate::new();
    let service = metered(&gate);
    let mut asked = [(); 2].map(|()| Asked::of(&service, chat()));
    let [first, mut second] = asked.each_mut().map(Asked::body);
    drop(first);
    assert!(next(&mut second).is_ready());
    drop(second);
    let reports = asked.each_ref().map(|asked| asked.exchange.fact::<UsageReport>());
    assert!(reports[0].is_none());
    assert_eq!(reports[1].as_ref().unwrap().usage().model.as_deref(), Some("m"));
}

#[tokio::test]
async fn who_paid_for_all_of_it_keeps_that_when_leaving_before_reading_the_rest() {
    let gate = Gate::new();
    let service = metered(&gate);
    let mut asked = [(); 2].map(|()| Asked::of(&service, chat()));
    let [first, mut second] = asked.each_mut().map(Asked::body);
    gate.open();
    drain(&mut second).await;
    drop(first);
    assert_eq!(paid(&asked), [Some(2), None]);
    drop(second);
}
