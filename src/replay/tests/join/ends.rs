//! An end reaches all.

use std::panic::AssertUnwindSafe;

use http::{HeaderMap, StatusCode};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::*;
use crate::{
    error::BodyPanicked,
    exchange::{Cause, Outcome},
    finalize::{Ending, FinalizeLayer},
    replay::{FellBehind, SharedFailure},
    tee::TeeLayer,
    usage::{Terminator, TerminatorGuardLayer, UsageReport},
};

#[tokio::test]
async fn trailers_reach_all() {
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", "7".parse().unwrap());
    let service = joining().layer(upstream([text(Script::new().data("a").trailers(trailers))]));
    for body in [(); 3].map(|()| Asked::of(&service, get()).body()) {
        assert_eq!(drain(body).await.trailers.unwrap()["x-sum"], "7");
    }
}

#[tokio::test]
async fn an_error_reaches_all_after_what_came_before_it_each_with_the_error_as_its_source() {
    let service = joining().layer(upstream([text(Script::new().data("a").error("boom"))]));
    for mut body in [(); 3].map(|()| Asked::of(&service, get()).body()) {
        let read = drain(&mut body).await;
        let error = read.error.unwrap();
        assert_eq!(read.data, "a");
        assert!(error.is::<SharedFailure>());
        assert_eq!(error.source().unwrap().to_string(), "boom");
        assert_eq!(next(&mut body), OVER);
    }
}

#[tokio::test]
async fn who_is_alone_gets_the_error_itself() {
    let service = joining().layer(upstream([text(Script::new().data("a").error("boom"))]));
    let read = drain(Asked::of(&service, get()).body()).await;
    assert!(read.error.unwrap().is::<ScriptError>());
}

#[tokio::test]
async fn a_panic_of_the_body_is_an_error_for_all_and_unwinds_through_none() {
    let service = joining().layer(upstream([text(Script::new().data("a").panic("ouch"))]));
    for body in [(); 2].map(|()| Asked::of(&service, get()).body()) {
        let error = drain(body).await.error.unwrap();
        let panicked = error.source().unwrap().downcast_ref::<BodyPanicked>().unwrap();
        assert_eq!(panicked.message(), "ouch");
    }
}

/// Fails so many calls, each with its number, when the gate is opened; and then answers.
fn failing(
    gate: &Gate,
    failures: usize,
    fail: fn(usize) -> ScriptError,
) -> impl Serves<ScriptError> {
    let (gate, calls) = (gate.clone(), Arc::new(AtomicUsize::new(0)));
    service_fn(move |_| {
        let (gate, call) = (gate.clone(), calls.fetch_add(1, Ordering::Relaxed));
        async move {
            gate.opened().await;
            if call < failures { Err(fail(call)) } else { Ok(text(Script::new().data("own"))) }
        }
    })
}

#[tokio::test]
async fn a_call_that_fails_gives_its_error_to_the_first_and_the_others_call_themselves() {
    let gate = Gate::new();
    let fail = |call: usize| ScriptError::new(format!("refused {call}"));
    let service = joining().layer(failing(&gate, 1, fail));
    let mut asked = [(); 3].map(|()| Asked::of(&service, get()));
    assert!(asked.iter_mut().all(|asked| asked.poll().is_pending()));
    gate.open();
    let [first, second, third] = &mut asked;
    assert_eq!(drain(third.body()).await.data, "own", "whoever polled it");
    let Poll::Ready(Err(error)) = first.poll() else { panic!("it failed") };
    assert_eq!(error.to_string(), "refused 0");
    assert_eq!(drain(second.body()).await.data, "own");
    assert_eq!((second.replayed(), third.replayed()), (Some(Replayed::Miss), Some(Replayed::Miss)));
}

#[tokio::test]
async fn a_call_that_panics_does_so_for_the_first_and_the_others_call_themselves() {
    let gate = Gate::new();
    let service = joining().layer(failing(&gate, 1, |_| panic!("ouch")));
    let mut asked = [(); 2].map(|()| Asked::of(&service, get()));
    assert!(asked.iter_mut().all(|asked| asked.poll().is_pending()));
    gate.open();
    let [first, second] = &mut asked;
    assert_eq!(drain(second.body()).await.data, "own");
    let panicked = std::panic::catch_unwind(AssertUnwindSafe(|| first.poll())).err().unwrap();
    assert_eq!(panicked.downcast_ref::<String>().unwrap(), "ouch");
}

#[tokio::test]
async fn an_answer_that_is_for_one_only_goes_to_the_first_and_the_others_call_themselves() {
    for (name, value) in [
        ("set-cookie", "a=b"),
        ("cache-control", "private"),
        ("cache-control", "no-store"),
        ("vary", "*"),
        ("content-encoding", "gzip"),
        ("content-type", "application/grpc"),
        ("content-length", "600000"),
    ] {
        let gate = Gate::new();
        let calls = Arc::new(AtomicUsize::new(0));
        let (opened, called) = (gate.clone(), calls.clone());
        let service = joining().layer(service_fn(move |_: Request<ReplayRequest<Script>>| {
            let (gate, call) = (opened.clone(), called.fetch_add(1, Ordering::Relaxed));
            async move {
                gate.opened().await;
                let mut response = text(Script::new().data(call.to_string()));
                response.headers_mut().insert(name, value.parse().unwrap());
                Ok::<_, Infallible>(response)
            }
        }));
        let mut asked = [(); 3].map(|()| Asked::of(&service, get()));
        assert!(asked.iter_mut().all(|asked| asked.poll().is_pending()));
        gate.open();
        for (call, asked) in asked.iter_mut().enumerate() {
            assert_eq!(drain(asked.body()).await.data, call.to_string(), "{name}: {value}");
            assert_eq!(asked.replayed(), Some(Replayed::Miss));
        }
    }
}

#[tokio::test]
async fn an_answer_to_a_condition_or_that_leads_elsewhere_is_the_first_ones() {
    for status in [302, 304, 307, 412, 417] {
        let gate = Gate::new();
        let mut response = text(Script::new().data("x"));
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        let service = joining().layer(after(&gate, response));
        let mut asked = [(); 2].map(|()| Asked::of(&service, get()));
        assert!(asked.iter_mut().all(|asked| asked.poll().is_pending()));
        gate.open();
        let [mut first, second] = asked;
        drop(first.body());
        let second = tokio::spawn(second.answer).await;
        assert!(second.err().unwrap().is_panic(), "{status}: it calls the service itself");
    }
}

#[tokio::test]
async fn an_answer_that_says_no_reaches_all_who_wait_for_it_and_nobody_who_comes_later() {
    let gate = Gate::new();
    let mut refusal = text(Script::new().data("later"));
    *refusal.status_mut() = StatusCode::TOO_MANY_REQUESTS;
    refusal.headers_mut().insert("retry-after", "7".parse().unwrap());
    let service = joining().layer(after(&gate, refusal));
    let mut asked = [(); 3].map(|()| Asked::of(&service, get()));
    assert!(asked.iter_mut().all(|asked| asked.poll().is_pending()));
    gate.open();
    for asked in &mut asked {
        let Poll::Ready(Ok(answer)) = asked.poll() else { panic!("there is a head") };
        assert_eq!(
            (answer.status(), &answer.headers()["retry-after"]),
            (StatusCode::TOO_MANY_REQUESTS, &"7".parse().unwrap())
        );
        assert_eq!(drain(answer.into_body()).await.data, "later");
    }
    let late = tokio::spawn(Asked::of(&service, get()).answer).await;
    assert!(late.err().unwrap().is_panic(), "that would be a call too many");
}

/// The endings of those who read this event stream, as they come.
fn readers<const N: usize>(body: Script) -> ([Read; N], UnboundedReceiver<Ending>) {
    readers_of(joining(), body)
}

fn readers_of<const N: usize>(
    layer: ReplayLayer<MemoryStore, RequestKey>,
    body: Script,
) -> ([Read; N], UnboundedReceiver<Ending>) {
    let (tell, told) = unbounded_channel();
    let finalize = FinalizeLayer::new(move |_| {
        let tell = tell.clone();
        move |ending| drop(tell.send(ending))
    });
    let response = Response::builder().header("content-type", "text/event-stream");
    let stack = tower::ServiceBuilder::new().layer(finalize).layer(layer);
    let stack = stack.layer(TerminatorGuardLayer).layer(TeeLayer::usage());
    let service = stack.service(upstream([response.body(body).unwrap()]));
    ([(); N].map(|()| Asked::of(&service, post("/v1/chat/completions", "{}")).body()), told)
}

/// How three readers of one event stream end, with what they are told of its terminator.
async fn ends(body: Script) -> Vec<(Outcome, Option<String>, Option<Terminator>)> {
    let (bodies, mut told) = readers::<3>(body);
    let mut ends = Vec::new();
    for body in bodies.into_iter().rev() {
        drain(body).await;
        let ending = told.recv().await.unwrap();
        let reason = ending.reason().map(str::to_owned);
        let report = ending.exchange.fact::<UsageReport>().map(|it| it.usage().terminator);
        ends.push((ending.outcome, reason, ending.exchange.fact().or(report)));
    }
    ends
}

/// How two readers end who leave after the second event.
async fn leaves(body: Script) -> Vec<Outcome> {
    let (bodies, mut told) = readers::<2>(body);
    let mut ends = Vec::new();
    for mut body in bodies {
        assert!(next(&mut body).is_ready() && next(&mut body).is_ready());
        drop(body);
        ends.push(told.recv().await.unwrap().outcome);
    }
    ends
}

const CHUNK: &str = "data: {\"model\":\"m\",\"choices\":[{\"delta\":{\"content\":\"Hi\"}}]}\n\n";

#[tokio::test]
async fn the_truth_about_the_end_is_every_readers_truth() {
    let whole = Script::new().data(CHUNK).data("data: [DONE]\n\n");
    let completed = (Outcome::Completed, None, Some(Terminator::Seen));
    assert_eq!(ends(whole).await, [completed.clone(), completed.clone(), completed]);

    let early = (Outcome::Truncated, None, Some(Terminator::Missing));
    assert_eq!(ends(Script::new().data(CHUNK)).await, [early.clone(), early.clone(), early]);

    let told = Script::new().data(CHUNK).data("data: {\"error\":{\"message\":\"overloaded\"}}\n\n");
    for (outcome, reason, _) in ends(told).await {
        assert_eq!((outcome, reason.as_deref()), (Outcome::Failed, Some("upstream_error_event")));
    }

    for (outcome, ..) in ends(Script::new().data(CHUNK).error("boom")).await {
        assert_eq!(outcome, Outcome::Failed);
    }
    for (outcome, reason, _) in ends(Script::new().data(CHUNK).panic("ouch")).await {
        assert_eq!((outcome, reason.as_deref()), (Outcome::Panicked, Some("ouch")));
    }
}

#[tokio::test]
async fn who_leaves_behind_the_terminator_has_all_of_it() {
    let untold = Script::new().data(CHUNK).data("data: [DONE]\n\n").stall();
    assert_eq!(leaves(untold).await, [Outcome::Completed, Outcome::Completed]);
    let untold = Script::new().data(CHUNK).data(CHUNK).stall();
    assert_eq!(leaves(untold).await, [Outcome::Disconnected, Outcome::Disconnected]);
}

#[tokio::test]
async fn an_end_that_came_too_early_is_told_though_the_first_has_left() {
    let gate = Gate::new();
    let ([mut first, second], mut told) = readers(Script::new().data(CHUNK).wait(&gate));
    assert!(next(&mut first).is_ready());
    drop(first);
    assert_eq!(told.recv().await.unwrap().outcome, Outcome::Disconnected);
    gate.open();
    assert!(drain(second).await.error.is_some());
    assert_eq!(told.recv().await.unwrap().outcome, Outcome::Truncated);
}

/// More than what may be held for one who does not read.
fn long() -> (ReplayLayer<MemoryStore, RequestKey>, Script) {
    let script = (0..20).fold(Script::new(), |script, _| script.data(CHUNK));
    (joining().answer_limit(256), script)
}

#[tokio::test]
async fn who_fell_behind_has_failed_however_well_it_ended_for_the_others() {
    let (layer, script) = long();
    let ([quick, slow], mut told) = readers_of(layer, script.data("data: [DONE]\n\n"));
    drain(quick).await;
    assert_eq!(told.recv().await.unwrap().outcome, Outcome::Completed);
    assert!(drain(slow).await.error.unwrap().is::<FellBehind>());
    let ending = told.recv().await.unwrap();
    assert_eq!((ending.outcome, ending.exchange.fact::<Terminator>()), (Outcome::Failed, None));
}

#[tokio::test]
async fn what_befell_the_first_one_alone_is_not_what_the_others_are_told() {
    let gate = Gate::new();
    let (layer, script) = long();
    let script = script.wait(&gate).data("data: [DONE]\n\n");
    let ([mut slow, mut quick], mut told) = readers_of(layer, script);
    assert!(next(&mut slow).is_ready());
    while next(&mut quick).is_ready() {}
    drop(slow);
    assert_eq!(told.recv().await.unwrap().outcome, Outcome::Disconnected);
    gate.open();
    assert!(drain(quick).await.error.is_none());
    assert_eq!(told.recv().await.unwrap().outcome, Outcome::Completed);
}

#[tokio::test]
async fn an_error_behind_the_terminator_is_none_as_without_coalescing() {
    for layer in [layer(), joining()] {
        let script = Script::new().data(CHUNK).data("data: [DONE]\n\n").error("boom");
        let ([only], mut told) = readers_of(layer, script);
        assert!(drain(only).await.error.is_none());
        assert_eq!(told.recv().await.unwrap().outcome, Outcome::Completed);
    }
}

#[tokio::test]
async fn what_a_handler_said_of_its_failure_is_told_to_all_though_the_first_has_left() {
    for leaves in [false, true] {
        let (tell, mut told) = unbounded_channel();
        let finalize = FinalizeLayer::new(move |_| {
            let tell = tell.clone();
            move |ending: Ending| drop(tell.send(ending))
        });
        let handler = service_fn(|request: Request<ReplayRequest<Script>>| {
            let exchange = Exchange::get(request.extensions()).unwrap();
            exchange.record(Cause::failed(&ScriptError::new("refused")));
            ready(Ok::<_, Infallible>(text(Script::new().data("502"))))
        });
        let service =
            tower::ServiceBuilder::new().layer(finalize).layer(joining()).service(handler);
        let [first, second] = [(); 2].map(|()| Asked::of(&service, get()).body());
        let kept = (!leaves).then_some(first);
        drain(second).await;
        drop(kept);
        for _ in 0..2 {
            assert_eq!(told.recv().await.unwrap().outcome, Outcome::Failed);
        }
    }
}

#[tokio::test]
async fn an_end_before_the_length_that_the_head_announced_is_early_for_all() {
    let mut response = text(Script::new().data("abc").eos(Eos::Never));
    response.headers_mut().insert("content-length", 10.into());
    let (tell, mut told) = unbounded_channel();
    let finalize = FinalizeLayer::new(move |_| {
        let tell = tell.clone();
        move |ending| drop(tell.send(ending))
    });
    let stack = tower::ServiceBuilder::new().layer(finalize).layer(joining());
    let service = stack.service(upstream([response]));
    let [first, second] = [(); 2].map(|()| Asked::of(&service, get()).body());
    assert_eq!(second.size_hint().exact(), Some(10));
    for body in [second, first] {
        drain(body).await;
        assert_eq!(told.recv().await.unwrap().outcome, Outcome::Truncated);
    }
}

#[tokio::test]
async fn a_refusal_says_to_all_how_to_be_let_in() {
    let gate = Gate::new();
    let mut refusal = text(Script::new().data("who?"));
    *refusal.status_mut() = StatusCode::UNAUTHORIZED;
    refusal.headers_mut().insert("www-authenticate", "Bearer".parse().unwrap());
    let service = joining().layer(after(&gate, refusal));
    let mut asked = [(); 2].map(|()| Asked::of(&service, get()));
    assert!(asked.iter_mut().all(|asked| asked.poll().is_pending()));
    gate.open();
    for asked in &mut asked {
        let Poll::Ready(Ok(answer)) = asked.poll() else { panic!("there is a head") };
        assert_eq!(answer.headers()["www-authenticate"], "Bearer");
    }
}

#[tokio::test]
async fn who_leaves_before_it_has_read_what_others_have_has_left_though_they_heard_the_end() {
    let untold = Script::new().data(CHUNK).data("data: [DONE]\n\n").stall();
    let ([mut slow, mut quick], mut told) = readers::<2>(untold);
    assert!(next(&mut quick).is_ready() && next(&mut quick).is_ready());
    assert!(next(&mut slow).is_ready());
    drop(slow);
    let ending = told.recv().await.unwrap();
    assert_eq!(ending.outcome, Outcome::Disconnected);
    assert_eq!(ending.exchange.fact::<Terminator>(), Some(Terminator::Missing));
    drop(quick);
    assert_eq!(told.recv().await.unwrap().outcome, Outcome::Completed);
}
