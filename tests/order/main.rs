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

use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt;
use testkit::{Eos, Script, drain};
use tokio::time::timeout;
use tower::Service;
use tower_lifeline::{abort::AbortHandle, exchange::Outcome, tee::Recording};

use self::stacks::{
    BoxBody, Call, Inner, MEDIA, Probe, ROOMS, Room, orders, responds, stack, with_length,
};

/// Plays one course in every order, and compares the outcomes: Finalize's, and the one in Tee's recording.
async fn every_order(
    outcome: Outcome,
    reason: Option<&str>,
    inner: impl Fn(&'static str) -> Inner,
    drive: impl AsyncFn(Call, &AbortHandle),
) {
    let orders = orders(&ROOMS);
    assert_eq!(orders.len(), 120);
    for order in orders {
        for media in MEDIA {
            let probe = Probe::default();
            let call = stack(&order, inner(media), &probe).call(Request::new(()));
            drive(call, &probe.handle).await;
            // What was cut is dropped by a task.
            tokio::time::sleep(Duration::from_secs(1)).await;

            let endings = probe.endings.lock().unwrap().clone();
            let seen: Vec<_> = endings.iter().map(|e| (e.outcome, e.reason())).collect();
            assert_eq!(seen, [(outcome, reason)], "{order:?} {media}");
            let exchange = probe.exchange.lock().unwrap().clone().unwrap();
            let recording = exchange.fact::<Recording>().unwrap();
            assert_eq!(recording.outcome(), Some(outcome), "{order:?} {media}");
        }
    }
}

/// Two events, and then?
fn two() -> Script {
    Script::new().data("data: 1\n\n").data("data: 2\n\n")
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
        every_order(Outcome::Completed, None, inner, read_all).await;
    }
}

// As hyper does over HTTP/1: dropped at the last byte (truths.md 1).
#[tokio::test(start_paused = true)]
async fn a_body_whose_content_length_is_met_has_completed_in_every_order() {
    let inner = |media| with_length(18, media, two().stall());
    every_order(Outcome::Completed, None, inner, async |call, _| {
        let mut body = body(call).await;
        read_one(&mut body).await;
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "data: 2\n\n");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_body_that_falls_short_of_its_content_length_is_truncated_in_every_order() {
    let inner = |media| with_length(20, media, two());
    every_order(Outcome::Truncated, None, inner, read_all).await;
}

#[tokio::test(start_paused = true)]
async fn a_body_that_fails_has_failed_in_every_order() {
    let inner = |media| responds(media, two().error("boom"));
    every_order(Outcome::Failed, None, inner, read_all).await;
}

#[tokio::test(start_paused = true)]
async fn a_body_that_panics_has_panicked_in_every_order() {
    let inner = |media| responds(media, two().panic("ouch"));
    every_order(Outcome::Panicked, Some("ouch"), inner, read_all).await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_in_the_stream_is_disconnected_in_every_order() {
    let inner = |media| responds(media, two().stall());
    every_order(Outcome::Disconnected, None, inner, async |call, _| {
        read_one(&mut body(call).await).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_before_the_head_is_disconnected_in_every_order() {
    every_order(
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
    every_order(Outcome::Discarded, None, inner, async |call, _| drop(body(call).await)).await;
}

#[tokio::test(start_paused = true)]
async fn an_abort_in_the_stream_is_an_abort_in_every_order() {
    let inner = |media| responds(media, two().stall());
    // Whether the client reads on or not.
    for reads_on in [true, false] {
        every_order(Outcome::Aborted, Some("stop"), inner, async |call, handle| {
            let mut body = body(call).await;
            read_one(&mut body).await;
            assert!(handle.abort("stop"));
            if reads_on {
                drain(body).await;
            }
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_abort_before_the_head_is_an_abort_in_every_order() {
    every_order(
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
    for order in orders(&ROOMS) {
        let probe = Probe::default();
        assert!(probe.handle.abort("stop"));
        let response = stack(&order, Inner::Panics, &probe).call(Request::new(())).await.unwrap();
        assert_eq!(drain(response.into_body()).await.data, "aborted: stop\n", "{order:?}");
        let endings = probe.endings.lock().unwrap().clone();
        let seen: Vec<_> = endings.iter().map(|ending| ending.outcome).collect();
        let at = |room| order.iter().position(|known| *known == room);
        let hears = at(Room::Finalize) < at(Room::Abort);
        assert_eq!(seen, if hears { vec![Outcome::Aborted] } else { vec![] }, "{order:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_that_fails_has_failed_in_every_order() {
    every_order(
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
