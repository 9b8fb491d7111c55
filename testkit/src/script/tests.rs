use std::error::Error;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use http::HeaderMap;
use http_body::{Body, SizeHint};
use tokio::time::{Instant, timeout};

use super::{Eos, Script, ScriptError};
use crate::{Event, Gate, Log, Wakes, drain, poll_body};

/// Polls once and says in short what came.
fn poll(body: &mut Script, wakes: &Wakes) -> String {
    match poll_body(Pin::new(body), &wakes.waker()) {
        Poll::Pending => "pending".into(),
        Poll::Ready(None) => "end".into(),
        Poll::Ready(Some(Err(error))) => format!("error {error}"),
        Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
            Ok(data) => format!("data {}", String::from_utf8_lossy(&data)),
            Err(_) => "trailers".into(),
        },
    }
}

#[test]
fn the_steps_are_played_in_order_and_logged() {
    let wakes = Wakes::new();
    let mut body = Script::new().data("abc").pending().data("d").trailers(HeaderMap::new());
    let log = body.log();
    let played: Vec<_> = (0..4).map(|_| poll(&mut body, &wakes)).collect();
    assert_eq!(played, ["data abc", "pending", "data d", "trailers"]);
    assert_eq!(wakes.count(), 1);
    drop(body);

    use Event::{Data, Dropped, Poll, Trailers};
    let dropped = Dropped { panicking: false };
    assert_eq!(log.story(), [Poll, Data(3), Poll, Poll, Data(1), Poll, Trailers, dropped]);
}

#[test]
fn polled_after_an_end_it_goes_on_and_logs_it() {
    let wakes = Wakes::new();
    let mut body = Script::new()
        .end()
        .data("a")
        .error("boom")
        .data("b")
        .trailers(HeaderMap::new())
        .data("c")
        .end();
    let played: Vec<_> = (0..8).map(|_| poll(&mut body, &wakes)).collect();
    assert_eq!(
        played,
        ["end", "data a", "error boom", "data b", "trailers", "data c", "end", "end"]
    );
    assert_eq!(body.log().count(|event| *event == Event::PollAfterEnd), 7);
}

#[test]
fn a_stall_is_pending_for_ever_and_wakes_nobody() {
    let wakes = Wakes::new();
    let mut body = Script::new().stall().data("never");
    assert_eq!([poll(&mut body, &wakes), poll(&mut body, &wakes)], ["pending", "pending"]);
    assert_eq!(wakes.count(), 0);
}

#[test]
fn an_endless_body_is_always_ready() {
    let wakes = Wakes::new();
    let mut body = Script::new().endless("x");
    assert!((0..1000).all(|_| poll(&mut body, &wakes) == "data x"));
}

#[test]
fn a_gate_lets_each_of_its_bodies_pass_and_wakes_the_latest_waker() {
    let (gate, stale, fresh) = (Gate::new(), Wakes::new(), Wakes::new());
    let mut one = Script::new().wait(&gate).data("1");
    let mut two = Script::new().wait(&gate).data("2");
    assert_eq!(
        [poll(&mut one, &stale), poll(&mut one, &fresh), poll(&mut two, &fresh)],
        ["pending"; 3]
    );
    gate.open();
    assert_eq!((stale.count(), fresh.count()), (0, 2));
    assert_eq!([poll(&mut one, &fresh), poll(&mut two, &fresh)], ["data 1", "data 2"]);
}

// Not a tokio test: a script must be buildable where there is no runtime.
#[test]
fn sleep_runs_on_paused_time_from_its_first_poll() {
    let second = Duration::from_secs(1);
    let body = Script::new().sleep(second).data("a").sleep(2 * second);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        tokio::time::sleep(second).await;
        let start = Instant::now();
        let log = body.log();
        assert_eq!(drain(body).await.data, "a");
        assert_eq!(log.first(|event| *event == Event::Data(1)).await, start + second);
        assert_eq!(log.dropped().await, start + 3 * second);
    });
}

#[tokio::test(start_paused = true)]
async fn a_body_that_stalls_can_be_left_by_a_timeout() {
    let body = Script::new().data("a").stall();
    let log = body.log();
    assert!(timeout(Duration::from_secs(1), drain(body)).await.is_err());
    assert!(log.dropped_at().is_some());
}

#[test]
fn an_error_tells_its_source() {
    let error = ScriptError::new("boom");
    assert_eq!(error.to_string(), "boom");
    let root = error.source().unwrap();
    assert_eq!(root.to_string(), "root of boom");
    assert!(root.source().is_none());
}

#[test]
fn a_panic_is_logged_and_so_is_a_drop_while_it_unwinds() {
    let mut body = Script::new().panic("ouch");
    let log = body.log();
    let payload =
        catch_unwind(AssertUnwindSafe(move || poll(&mut body, &Wakes::new()))).unwrap_err();
    assert_eq!(payload.downcast_ref::<String>().unwrap(), "ouch");
    assert_eq!(log.story(), [Event::Poll, Event::Panic, Event::Dropped { panicking: true }]);
}

#[test]
fn a_truthful_body_is_at_its_end_exactly_when_only_the_end_is_left() {
    let wakes = Wakes::new();
    let mut body = Script::new().data("a").pending().data("b").end();
    let mut said = vec![body.is_end_stream()];
    for _ in 0..3 {
        poll(&mut body, &wakes);
        said.push(body.is_end_stream());
    }
    assert_eq!(said, [false, false, false, true]);
    assert!(Script::new().is_end_stream());
    assert!(!Script::new().stall().is_end_stream());
}

#[test]
fn a_body_lies_about_its_end_as_asked() {
    assert!(!Script::new().eos(Eos::Never).is_end_stream());
    assert!(Script::new().data("a").eos(Eos::Always).is_end_stream());
}

#[test]
fn a_flag_can_come_true_with_a_gate_or_when_it_is_asked_again() {
    let (wakes, gate) = (Wakes::new(), Gate::new());
    let mut body = Script::new().data("a").wait(&gate).eos(Eos::Gated);
    poll(&mut body, &wakes);
    assert!(!body.is_end_stream());
    gate.open();
    assert!(body.is_end_stream());
    assert!(!Script::new().wait(&gate).data("b").eos(Eos::Gated).is_end_stream());

    let body = Script::new().eos(Eos::Late(2));
    assert_eq!([(); 3].map(|()| body.is_end_stream()), [false, false, true]);
}

#[test]
fn a_hint_counts_down_with_the_data() {
    let wakes = Wakes::new();
    let mut body = Script::new().data("abc").data("de").exact_size(4);
    assert_eq!(body.size_hint().exact(), Some(4));
    poll(&mut body, &wakes);
    assert_eq!(body.size_hint().exact(), Some(1));
    poll(&mut body, &wakes);
    assert_eq!(body.size_hint().exact(), Some(0));

    let mut lower = SizeHint::new();
    lower.set_lower(2);
    let mut body = Script::new().data("a").hint(lower);
    poll(&mut body, &wakes);
    assert_eq!((body.size_hint().lower(), body.size_hint().upper()), (1, None));
    assert_eq!(Script::new().size_hint().upper(), None);
}

#[test]
fn a_script_can_go_wherever_a_body_must() {
    fn needs<B: Body + Send + Sync + Unpin + 'static>(_: B) {}
    needs(Script::new());
}

#[test]
fn a_body_writes_into_the_log_it_is_given() {
    let log = Log::new();
    drop(Script::new().log_into(&log));
    assert_eq!(log.story(), [Event::Dropped { panicking: false }]);
}
