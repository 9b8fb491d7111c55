//! Nothing changes for a client that stays.

use http_body::SizeHint;
use testkit::{Eos, Event, drain};

use super::*;

/// One body through the layer alone.
async fn alone(response: Response<Script>) -> DetachBody<Script> {
    let response = Mutex::new(Some(response));
    let service = layer().layer(service_fn(|_: Request<()>| async {
        Ok::<_, Infallible>(response.lock().unwrap().take().unwrap())
    }));
    service.oneshot(Request::new(())).await.unwrap().into_body()
}

#[tokio::test]
async fn frames_trailers_and_errors_pass_unchanged_in_order() {
    let trailers = HeaderMap::from_iter([("x-sum".parse().unwrap(), "1".parse().unwrap())]);
    let script = Script::new().data("a").pending().data("").data("b").trailers(trailers.clone());
    let seen = drain(alone(Response::new(script)).await).await;
    assert_eq!(
        (seen.frames, seen.trailers),
        (vec!["a".into(), "".into(), "b".into()], Some(trailers))
    );

    let seen = drain(alone(Response::new(Script::new().data("a").error("boom"))).await).await;
    let error: ScriptError = seen.error.unwrap();
    assert_eq!((&*seen.data, error.to_string()), (&b"a"[..], "boom".to_owned()));
}

#[tokio::test]
async fn size_hint_and_end_of_stream_are_the_inner_bodys() {
    let mut hint = SizeHint::new();
    hint.set_lower(3);
    hint.set_upper(9);
    let mut body = alone(Response::new(Script::new().data("abc").hint(hint))).await;
    assert_eq!((body.size_hint().lower(), body.size_hint().upper()), (3, Some(9)));
    assert!(!body.is_end_stream());
    body.frame().await.unwrap().unwrap();
    assert_eq!((body.size_hint().lower(), body.size_hint().upper()), (0, Some(6)));
    assert!(body.is_end_stream());
    let body = alone(Response::new(Script::new().eos(Eos::Always))).await;
    assert!(body.is_end_stream());
}

#[tokio::test]
async fn a_panic_goes_on_and_the_body_that_panicked_is_not_read_again() {
    let script = Script::new().data("a").panic("boom").data("never");
    let log = script.log();
    let body = alone(Response::new(script)).await;
    let panic = tokio::spawn(drain(body)).await.unwrap_err();
    assert_eq!(panic.into_panic().downcast_ref::<String>().unwrap(), "boom");
    tokio::task::yield_now().await;
    assert_eq!(log.count(|event| *event == Event::PollAfterEnd), 0);
    assert_eq!(log.count(|event| *event == Event::Dropped { panicking: false }), 1);
}

#[tokio::test]
async fn a_body_that_is_always_ready_is_read_within_the_budget_of_its_task() {
    let body = alone(Response::new(Script::new().endless("x"))).await;
    let reader = tokio::spawn(drain(body));
    tokio::task::yield_now().await;
    reader.abort();
    assert!(reader.await.unwrap_err().is_cancelled());
}

#[test]
fn a_body_asks_nothing_of_what_it_wraps_but_to_be_sent() {
    fn sent<T: Send + Unpin>() {}
    sent::<DetachBody<UnsyncBoxBody<Bytes, BoxError>>>();
}
