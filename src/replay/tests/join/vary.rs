//! Who joins, where the answer depends on more than the key.

use super::*;
use crate::exchange::Cause;

fn varying(body: Script) -> Response<Script> {
    let mut response = text(body);
    response.headers_mut().insert("vary", "user-agent".parse().unwrap());
    response
}

fn by(agent: &str) -> Request<Script> {
    let mut request = get();
    request.headers_mut().insert("user-agent", agent.parse().unwrap());
    request
}

/// Gives each call its number, when the gate is opened.
fn numbered(gate: &Gate) -> impl Serves<Infallible> {
    let (gate, calls) = (gate.clone(), Arc::new(AtomicUsize::new(0)));
    service_fn(move |_| {
        let (gate, call) = (gate.clone(), calls.fetch_add(1, Ordering::Relaxed));
        async move {
            gate.opened().await;
            Ok(varying(Script::new().data(call.to_string()).pending().data("!")))
        }
    })
}

#[tokio::test]
async fn who_waits_for_the_head_of_an_answer_that_is_for_others_calls_the_service_then() {
    let gate = Gate::new();
    let service = joining().layer(numbered(&gate));
    let mut asked = ["a", "b", "a", "c"].map(|agent| Asked::of(&service, by(agent)));
    assert!(asked.iter_mut().all(|asked| asked.poll().is_pending()));
    gate.open();
    let replayed = |asked: &Asked| asked.replayed().unwrap();
    let [first, other, same, third] = &mut asked;
    // Whoever comes to know it first.
    assert_eq!(drain(other.body()).await.frames, ["1", "!"]);
    assert_eq!(drain(same.body()).await.frames, ["0", "!"]);
    assert_eq!(drain(third.body()).await.frames, ["2", "!"]);
    assert_eq!(drain(first.body()).await.frames, ["0", "!"]);
    let (miss, join) = (Replayed::Miss, Replayed::Join);
    assert_eq!(asked.each_ref().map(replayed), [miss, miss, join, miss]);
}

#[tokio::test]
async fn who_comes_while_an_answer_streams_that_is_for_others_calls_the_service_and_cuts_nobody() {
    let stream = || varying(Script::new().data("a").pending().data("b"));
    let service = joining().layer(upstream([stream(), varying(Script::new().data("own"))]));
    let mut first = Asked::of(&service, by("a")).body();
    assert_eq!(next(&mut first), is("a"));
    let (mut other, mut same) = (Asked::of(&service, by("b")), Asked::of(&service, by("a")));
    assert_eq!(drain(other.body()).await.data, "own");
    let mut joined = same.body();
    assert_eq!(drain(&mut first).await.frames, ["b"]);
    assert_eq!(drain(&mut joined).await.frames, ["a", "b"]);
    let replayed = (other.replayed(), same.replayed());
    assert_eq!(replayed, (Some(Replayed::Miss), Some(Replayed::Join)));
}

#[tokio::test]
async fn who_waited_while_the_store_was_asked_does_not_get_what_was_found_for_another() {
    let (gate, store) = (Gate::new(), MemoryStore::new(1 << 20, HOUR));
    let [of_a, of_b] = ["for a", "for b"].map(|data| varying(Script::new().data(data)));
    let filling = ReplayLayer::new(store.clone(), every()).layer(upstream([of_a]));
    assert_eq!(ask(&filling, by("a")).await.body.data, "for a");

    let layer = ReplayLayer::new(Slow(gate.clone(), store), every()).coalesce();
    let service = layer.layer(upstream([of_b]));
    let mut asked = ["a", "b", "a"].map(|agent| Asked::of(&service, by(agent)));
    assert!(asked.iter_mut().all(|asked| asked.poll().is_pending()));
    gate.open();
    let mut seen = Vec::new();
    for asked in &mut asked {
        seen.push(drain(asked.body()).await.data);
    }
    assert_eq!(seen, ["for a", "for b", "for a"]);
    let replayed = asked.each_ref().map(Asked::replayed).map(Option::unwrap);
    assert_eq!(replayed, [Replayed::Hit, Replayed::Miss, Replayed::Hit]);
}

#[tokio::test]
async fn what_an_answer_for_others_said_of_itself_is_not_said_of_the_one_that_left_it() {
    let gate = Gate::new();
    let inner = joining().layer(numbered(&gate));
    let mut asked = ["a", "b"].map(|agent| Asked::of(&inner, by(agent)));
    assert!(asked.iter_mut().all(|asked| asked.poll().is_pending()));
    let [first, other] = &mut asked;
    first.exchange.record(Cause::failed(&std::io::Error::other("of a")));
    gate.open();
    let _kept = first.poll();
    assert_eq!(drain(other.body()).await.frames, ["1", "!"]);
    assert!(other.exchange.cause().is_none(), "{:?}", other.exchange.cause());
}
