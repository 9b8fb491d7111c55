//! At whatever moment it comes.

use super::*;
use crate::exchange::Cause;

#[tokio::test]
async fn who_comes_before_the_head_waits_for_the_same_head_and_body() {
    let gate = Gate::new();
    let mut response = text(Script::new().data("a").data("b"));
    response.headers_mut().insert("x-request-id", "1".parse().unwrap());
    *response.status_mut() = http::StatusCode::CREATED;
    let service = joining().layer(after(&gate, response));
    let (mut first, mut second) = (Asked::of(&service, get()), Asked::of(&service, get()));
    assert!(first.poll().is_pending() && second.poll().is_pending());
    gate.open();
    let Poll::Ready(Ok(second_answer)) = second.poll() else { panic!("there is a head") };
    let Poll::Ready(Ok(first_answer)) = first.poll() else { panic!("there is a head") };
    assert_eq!((first.replayed(), second.replayed()), (Some(Replayed::Miss), Some(Replayed::Join)));
    assert_eq!(first_answer.headers()["x-request-id"], "1", "the first one's own");
    assert!(!second_answer.headers().contains_key("x-request-id"), "is only the first one's");
    for answer in [first_answer, second_answer] {
        assert_eq!(
            (answer.status().as_u16(), &answer.headers()["content-type"]),
            (201, &"text/plain".parse().unwrap())
        );
        assert_eq!(drain(answer.into_body()).await.frames, ["a", "b"]);
    }
}

#[tokio::test]
async fn who_comes_before_the_first_frame_or_in_the_middle_gets_what_was_and_then_what_comes() {
    let (begins, goes_on) = (Gate::new(), Gate::new());
    let script = Script::new().wait(&begins).data("a").data("").data("b").wait(&goes_on).data("c");
    let service = joining().layer(upstream([text(script.eos(Eos::Never))]));
    let mut first = Asked::of(&service, get()).body();
    assert!(next(&mut first).is_pending());
    let mut second = Asked::of(&service, get()).body();
    assert!(next(&mut second).is_pending());
    begins.open();
    for frame in ["a", "", "b"] {
        assert_eq!((next(&mut first), next(&mut second)), (is(frame), is(frame)));
    }
    assert!(next(&mut first).is_pending() && next(&mut second).is_pending());
    let mut third = Asked::of(&service, get()).body();
    for frame in ["a", "", "b"] {
        assert_eq!(next(&mut third), is(frame));
    }
    assert!(next(&mut third).is_pending());
    goes_on.open();
    for body in [&mut third, &mut first, &mut second] {
        assert_eq!((next(body), next(body), next(body)), (is("c"), OVER, OVER));
    }
}

#[tokio::test]
async fn who_comes_after_the_end_is_answered_from_the_store_though_others_still_read() {
    let service = joining().layer(upstream([text(Script::new().data("a").data("b"))]));
    let mut slow = Asked::of(&service, get()).body();
    let mut quick = Asked::of(&service, get()).body();
    for frame in ["a", "b"] {
        assert_eq!(next(&mut quick), is(frame));
    }
    let mut late = Asked::of(&service, get());
    assert_eq!(drain(late.body()).await.frames, ["a", "b"]);
    assert_eq!(late.replayed(), Some(Replayed::Hit));
    assert_eq!((next(&mut slow), next(&mut slow), next(&mut slow)), (is("a"), is("b"), OVER));
}

#[tokio::test]
async fn who_comes_after_an_end_that_is_not_kept_calls_the_service() {
    let broken = text(Script::new().data("a").error("boom"));
    let service = joining().layer(upstream([broken, text(Script::new().data("b"))]));
    let mut first = Asked::of(&service, get()).body();
    assert!(drain(&mut first).await.error.is_some());
    let mut second = Asked::of(&service, get());
    assert_eq!(drain(second.body()).await.data, "b");
    assert_eq!(second.replayed(), Some(Replayed::Miss));
}

#[tokio::test]
async fn who_comes_while_the_store_is_asked_gets_what_is_found_or_joins_the_call() {
    let (gate, store) = (Gate::new(), MemoryStore::new(1 << 20, HOUR));
    let layer = ReplayLayer::new(Slow(gate.clone(), store), every()).coalesce();
    let service = layer.layer(upstream([text(Script::new().data("a"))]));
    let mut asked = [(); 3].map(|()| Asked::of(&service, get()));
    assert!(asked.iter_mut().all(|asked| asked.poll().is_pending()));
    gate.open();
    for asked in &mut asked {
        assert_eq!(drain(asked.body()).await.data, "a");
    }
    let replayed = asked.each_ref().map(Asked::replayed).map(Option::unwrap);
    assert_eq!(replayed, [Replayed::Miss, Replayed::Join, Replayed::Join]);
    let mut asked = [(); 3].map(|()| Asked::of(&service, get()));
    for asked in &mut asked {
        assert_eq!(drain(asked.body()).await.data, "a");
        assert_eq!(asked.replayed(), Some(Replayed::Hit));
    }
}

#[tokio::test]
async fn who_asks_for_something_else_or_with_other_credentials_joins_nobody() {
    let own = || text(Script::new().data("own").stall());
    let service = joining().layer(upstream([own(), own(), own(), own()]));
    let asked_by = |who: &str| {
        let mut request = post("/", "q");
        request.headers_mut().insert("authorization", who.parse().unwrap());
        request
    };
    let mut asked = [asked_by("alice"), asked_by("bob"), post("/", "q"), post("/", "r")]
        .map(|request| Asked::of(&service, request));
    let _bodies = asked.each_mut().map(Asked::body);
    for asked in asked {
        assert_eq!(asked.replayed(), Some(Replayed::Miss));
    }
}

#[tokio::test]
async fn one_that_leaves_late_does_not_end_what_runs_now() {
    let stalled = || text(Script::new().data("a").stall());
    let broken = text(Script::new().data("a").error("boom"));
    let service = joining().layer(upstream([broken, stalled()]));
    let late = Asked::of(&service, get()).body();
    let mut quick = Asked::of(&service, get()).body();
    assert!(drain(&mut quick).await.error.is_some());
    let mut second = Asked::of(&service, get());
    let _second_body = second.body();
    drop((late, quick));
    let mut third = Asked::of(&service, get());
    let _third_body = third.body();
    let replayed = (second.replayed(), third.replayed());
    assert_eq!(replayed, (Some(Replayed::Miss), Some(Replayed::Join)));
}

#[tokio::test]
async fn who_comes_after_one_gave_up_the_call_or_was_cut_calls_the_service() {
    let gate = Gate::new();
    let answers = [text(Script::new().data("late")), text(Script::new().data("a").stall())];
    let answers = Arc::new(Mutex::new(VecDeque::from(answers)));
    let opened = gate.clone();
    let service = joining().layer(service_fn(move |_: Request<ReplayRequest<Script>>| {
        let (gate, answer) = (opened.clone(), answers.lock().unwrap().pop_front().unwrap());
        async move {
            gate.opened().await;
            Ok::<_, Infallible>(answer)
        }
    }));
    let (mut first, mut second) = (Asked::of(&service, get()), Asked::of(&service, get()));
    assert!(first.poll().is_pending() && second.poll().is_pending());
    drop(first);
    let mut third = Asked::of(&service, get());
    assert!(third.poll().is_pending());
    assert_eq!(second.replayed(), Some(Replayed::Join));
    gate.open();
    assert_eq!(drain(second.body()).await.data, "late", "it waited all the same");

    let mut third_body = third.body();
    assert_eq!((next(&mut third_body), third.replayed()), (is("a"), Some(Replayed::Miss)));
}

#[tokio::test]
async fn who_comes_after_a_reader_was_cut_by_a_limit_calls_the_service_and_who_comes_after_one_that_left_joins()
 {
    let stalled = || text(Script::new().data("a").stall());
    for (cause, expected) in
        [(Cause::Aborted("stop".into()), Replayed::Miss), (Cause::Disconnected, Replayed::Join)]
    {
        let service = joining().layer(upstream([stalled(), stalled()]));
        let mut cut = Asked::of(&service, get());
        let mut stays = Asked::of(&service, get());
        let (cut_body, mut body) = (cut.body(), stays.body());
        assert_eq!(next(&mut body), is("a"));
        cut.exchange.record(cause);
        drop(cut_body);
        let mut late = Asked::of(&service, get());
        assert_eq!(next(&mut late.body()), is("a"));
        assert_eq!(late.replayed(), Some(expected));
    }
}
