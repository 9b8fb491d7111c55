//! Law 10: any order of the layers gives the same outcome. Finalize reports it once, wherever it stands.
// Clippy's own exception for tests does not reach the functions that tests share.
#![allow(clippy::panic, clippy::unwrap_used)]

mod stacks;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Waker},
    time::Duration,
};

use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::BodyExt;
use testkit::{Eos, Script, drain};
use tokio::time::timeout;
use tower::Service;
use tower_lifeline::{
    abort::AbortHandle,
    exchange::{DrainEnd, Outcome},
    tee::Recording,
};

use self::stacks::{
    BoxBody, Call, EARLY, Inner, LIMIT, MEDIA, Probe, Room, orders, responds, stack, with_length,
};

/// Plays one course in every order, and compares the outcomes: Finalize's, and the one in Tee's recording.
async fn every_order(
    fits: impl Fn(&[Room]) -> bool,
    outcome: Outcome,
    reason: Option<&str>,
    inner: impl Fn(&'static str) -> Inner,
    drive: impl AsyncFn(Call, &AbortHandle),
) {
    for order in orders().into_iter().filter(|order| fits(order)) {
        for media in MEDIA {
            let probe = Probe::default();
            let request = Request::builder().header("accept", media).body(()).unwrap();
            let call = stack(&order, inner(media), &probe).call(request);
            drive(call, &probe.handle).await;
            // What was cut is dropped by a task; what was left is read on for a minute.
            tokio::time::sleep(Duration::from_secs(100)).await;

            let endings = probe.endings.lock().unwrap().clone();
            let seen: Vec<_> = endings.iter().map(|e| (e.outcome, e.reason())).collect();
            assert_eq!(seen, [(outcome, reason)], "{order:?} {media}");
            let exchange = probe.exchange.lock().unwrap().clone().unwrap();
            let recording = exchange.fact::<Recording>().unwrap();
            assert_eq!(recording.outcome(), Some(outcome), "{order:?} {media}");
        }
    }
}

fn any(_: &[Room]) -> bool {
    true
}

fn with(room: Room) -> impl Fn(&[Room]) -> bool {
    move |order| order.contains(&room)
}

/// Whether one stands outside of the other, which both are there.
fn around(outer: Room, inner: Room) -> impl Fn(&[Room]) -> bool {
    move |order| {
        let at = |room| order.iter().position(|known| *known == room);
        at(outer).zip(at(inner)).is_some_and(|(outer, inner)| outer < inner)
    }
}

/// Two events, of which the second does not wait behind the first, and then?
fn two() -> Script {
    Script::new().data("data: 1\n\n").pending().data("data: 2\n\n")
}

async fn body(call: Call) -> BoxBody {
    call.await.unwrap().into_body()
}

async fn read_one(body: &mut BoxBody) {
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "data: 1\n\n");
}

async fn read_all(call: Call, _: &AbortHandle) {
    drain(body(call).await).await;
}

#[tokio::test(start_paused = true)]
async fn a_body_that_completes_has_completed_in_every_order() {
    for script in [|| two().eos(Eos::Never), || two().trailers(HeaderMap::new())] {
        let inner = |media| responds(media, script());
        every_order(any, Outcome::Completed, None, inner, read_all).await;
    }
}

// As hyper does over HTTP/1: dropped at the last byte (truths.md 1).
#[tokio::test(start_paused = true)]
async fn a_body_whose_content_length_is_met_has_completed_in_every_order() {
    let inner = |media| with_length(18, media, two().stall());
    every_order(any, Outcome::Completed, None, inner, async |call, _| {
        let mut body = body(call).await;
        read_one(&mut body).await;
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "data: 2\n\n");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_body_that_falls_short_of_its_content_length_is_truncated_in_every_order() {
    let inner = |media| with_length(20, media, two());
    every_order(any, Outcome::Truncated, None, inner, read_all).await;
}

#[tokio::test(start_paused = true)]
async fn a_body_that_fails_has_failed_in_every_order() {
    let inner = |media| responds(media, two().error("boom"));
    every_order(any, Outcome::Failed, None, inner, read_all).await;
}

#[tokio::test(start_paused = true)]
async fn a_body_that_panics_has_panicked_in_every_order() {
    let inner = |media| responds(media, two().panic("ouch"));
    every_order(with(Room::FinalFrame), Outcome::Panicked, Some("ouch"), inner, read_all).await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_in_the_stream_is_disconnected_in_every_order() {
    let inner = |media| responds(media, two().stall());
    every_order(any, Outcome::Disconnected, None, inner, async |call, _| {
        read_one(&mut body(call).await).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_before_the_head_is_disconnected_in_every_order() {
    every_order(
        any,
        Outcome::Disconnected,
        None,
        |_| Inner::Hangs,
        async |call, _| {
            assert!(timeout(Duration::from_secs(60), call).await.is_err());
        },
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_response_that_nobody_reads_is_discarded_in_every_order() {
    let inner = |media| responds(media, two());
    // FirstFrame itself reads from the body, so whoever stands inside of it can not know that nobody else did.
    let fits = |order: &[Room]| {
        [Room::Finalize, Room::Tee, Room::Detach]
            .into_iter()
            .all(|inner| !around(Room::FirstFrame, inner)(order))
    };
    every_order(fits, Outcome::Discarded, None, inner, async |call, _| drop(body(call).await))
        .await;
}

#[tokio::test(start_paused = true)]
async fn an_abort_in_the_stream_is_an_abort_in_every_order() {
    let inner = |media| responds(media, two().stall());
    // Whether the client reads on or not.
    for reads_on in [true, false] {
        every_order(
            with(Room::Abort),
            Outcome::Aborted,
            Some("stop"),
            inner,
            async |call, handle| {
                let mut body = body(call).await;
                read_one(&mut body).await;
                assert!(handle.abort("stop"));
                if reads_on {
                    drain(body).await;
                }
            },
        )
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_abort_before_the_head_is_an_abort_in_every_order() {
    every_order(
        with(Room::Abort),
        Outcome::Aborted,
        Some("stop"),
        |_| Inner::Hangs,
        async |call, handle| {
            assert!(handle.abort("stop"));
            let response = call.await.unwrap();
            assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
            assert_eq!(drain(response.into_body()).await.data, "aborted: stop\n");
        },
    )
    .await;
}

/// The one exception: what stands inside of Abort never hears of the request, so it has nothing to tell.
#[tokio::test(start_paused = true)]
async fn an_abort_before_the_call_is_an_abort_for_whoever_stands_outside_of_it() {
    for order in orders().into_iter().filter(|order| with(Room::Abort)(order)) {
        let probe = Probe::default();
        assert!(probe.handle.abort("stop"));
        let response = stack(&order, Inner::Panics, &probe).call(Request::new(())).await.unwrap();
        assert_eq!(drain(response.into_body()).await.data, "aborted: stop\n", "{order:?}");
        let endings = probe.endings.lock().unwrap().clone();
        let seen: Vec<_> = endings.iter().map(|ending| ending.outcome).collect();
        let hears = around(Room::Finalize, Room::Abort)(&order);
        assert_eq!(seen, if hears { vec![Outcome::Aborted] } else { vec![] }, "{order:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_that_fails_has_failed_in_every_order() {
    every_order(
        any,
        Outcome::Failed,
        None,
        |_| Inner::Fails,
        async |call, _| {
            assert_eq!(call.await.unwrap_err().to_string(), "refused");
        },
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_service_that_panics_has_panicked_in_every_order() {
    every_order(
        any,
        Outcome::Panicked,
        Some("ouch"),
        |_| Inner::Panics,
        async |mut call, _| {
            let poll =
                || Pin::new(&mut call).poll(&mut Context::from_waker(Waker::noop())).is_ready();
            assert!(catch_unwind(AssertUnwindSafe(poll)).is_err());
        },
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_time_limit_that_is_hit_in_the_stream_is_its_reason_in_every_order() {
    let inner = |media| responds(media, two().stall());
    let idle = async |call, _: &AbortHandle| drop(drain(body(call).await).await);
    every_order(with(Room::Timeouts), Outcome::TimedOut, Some("idle"), inner, idle).await;
    // Whoever stands between may read one frame more, so that there is one left to be unread. A Detach inside reads on for
    // a minute.
    let inner = |media| responds(media, two().data("data: 3\n\n").data("data: 4\n\n").stall());
    every_order(with(Room::Timeouts), Outcome::TimedOut, Some("unread"), inner, async |call, _| {
        let mut body = body(call).await;
        read_one(&mut body).await;
        // One that has read on behind the frame is taken for a reader who waits, and is asked first whether it is there.
        tokio::time::sleep(2 * LIMIT + Duration::from_secs(1)).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_head_that_does_not_come_in_time_is_that_limit_in_every_order() {
    // An early head from within is a head.
    let fits = |order: &[Room]| {
        with(Room::Timeouts)(order) && !around(Room::Timeouts, Room::EarlyHead)(order)
    };
    every_order(
        fits,
        Outcome::TimedOut,
        Some("head"),
        |_| Inner::Hangs,
        async |call, _| drop(drain(body(call).await).await),
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_refusal_that_comes_after_an_early_head_is_a_failure_in_every_order() {
    let early = |order: &[Room]| with(Room::EarlyHead)(order);
    for order in orders().into_iter().filter(|order| early(order)) {
        let probe = Probe::default();
        let late =
            Inner::Late(EARLY + LIMIT / 2, Response::builder().status(429).body(two()).unwrap());
        let request = Request::builder().header("accept", "text/event-stream").body(()).unwrap();
        let response = stack(&order, late, &probe).call(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK, "{order:?}");
        drain(response.into_body()).await;
        let endings = probe.endings.lock().unwrap().clone();
        let seen: Vec<_> = endings.iter().map(|e| (e.outcome, e.reason())).collect();
        assert_eq!(seen, [(Outcome::Failed, Some("upstream_status_429"))], "{order:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_client_left_behind_is_read_to_its_end_for_all_who_stand_inside_of_detach() {
    let leaves = async |call| read_one(&mut body(call).await).await;
    let departed = |order: &[Room]| with(Room::Detach)(order);
    left_behind(departed, departed, (Outcome::Disconnected, None), leaves).await;
}

#[tokio::test(start_paused = true)]
async fn what_an_unread_client_left_behind_is_read_on_where_its_limit_stands_outside_of_detach() {
    let sleeps = async |call| {
        let mut body = body(call).await;
        read_one(&mut body).await;
        tokio::time::sleep(LIMIT + Duration::from_secs(100)).await;
    };
    let fits = |order: &[Room]| with(Room::Detach)(order) && with(Room::Timeouts)(order);
    let outside = around(Room::Timeouts, Room::Detach);
    left_behind(fits, outside, (Outcome::TimedOut, Some("unread")), sleeps).await;
}

/// Plays a course in which a client leaves after the first of three events, and the rest is read where it `drains`.
async fn left_behind(
    fits: impl Fn(&[Room]) -> bool,
    drains: impl Fn(&[Room]) -> bool,
    expected: (Outcome, Option<&str>),
    drive: impl AsyncFn(Call),
) {
    for order in orders().into_iter().filter(|order| fits(order)) {
        for media in MEDIA {
            let probe = Probe::default();
            let script =
                two().data("data: 3\n\n").sleep(Duration::from_secs(10)).data("data: 4\n\n");
            drive(stack(&order, responds(media, script), &probe).call(Request::new(()))).await;
            tokio::time::sleep(Duration::from_secs(100)).await;
            let endings = probe.endings.lock().unwrap().clone();
            let [ending] = &endings[..] else { panic!("{order:?}: {endings:?}") };
            assert_eq!((ending.outcome, ending.reason()), expected, "{order:?} {media}");
            let drained = ending.drained.map(|drained| drained.end);
            let sees = |room| drains(&order) && around(Room::Detach, room)(&order);
            let expected_end = sees(Room::Finalize).then_some(DrainEnd::Completed);
            assert_eq!(drained, expected_end, "{order:?} {media}");
            // A recording tells how the body ended, which is not how the exchange did.
            let recording = ending.exchange.fact::<Recording>().unwrap();
            let whole = sees(Room::Tee);
            let outcome = if whole { Outcome::Completed } else { expected.0 };
            assert_eq!(recording.outcome(), Some(outcome), "{order:?} {media}");
            assert!(!whole || recording.total() == 36, "{order:?} {media}");
        }
    }
}
