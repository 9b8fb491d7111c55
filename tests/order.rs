//! Law 10: any order of the layers gives the same outcome. Finalize reports it once, wherever it stands.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Waker},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body::Body;
use http_body_util::{BodyExt, combinators::UnsyncBoxBody};
use testkit::{Eos, Script, drain};
use tokio::time::timeout;
use tower::{Layer, Service, ServiceExt, service_fn, util::BoxService};
use tower_lifeline::{
    abort::{AbortHandle, AbortLayer},
    error::BoxError,
    exchange::{Exchange, Outcome},
    final_frame::FinalFrameLayer,
    finalize::{Ending, FinalizeLayer},
    keepalive::IdleKeepaliveLayer,
    tee::{Limit, Recording, TeeLayer},
};

type BoxBody = UnsyncBoxBody<Bytes, BoxError>;
type Boxed = BoxService<Request<()>, Response<BoxBody>, BoxError>;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Room {
    IdleKeepalive,
    FinalFrame,
    Abort,
    Finalize,
    Tee,
}

const ROOMS: [Room; 5] =
    [Room::IdleKeepalive, Room::FinalFrame, Room::Abort, Room::Finalize, Room::Tee];

/// All orders of what is left, outermost first.
fn orders(left: &[Room]) -> Vec<Vec<Room>> {
    if left.is_empty() {
        return vec![vec![]];
    }
    let beginning_with = |first: &Room| {
        let rest: Vec<_> = left.iter().copied().filter(|room| room != first).collect();
        let first = *first;
        orders(&rest).into_iter().map(move |rest| [vec![first], rest].concat())
    };
    left.iter().flat_map(beginning_with).collect()
}

/// The other ends of one stack.
#[derive(Clone, Default)]
struct Probe {
    handle: AbortHandle,
    endings: Arc<Mutex<Vec<Ending>>>,
    exchange: Arc<Mutex<Option<Exchange>>>,
}

fn boxed<S, B>(service: S) -> Boxed
where
    S: Service<Request<()>, Response = Response<B>, Error = BoxError> + Send + 'static,
    S::Future: Send,
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    let outer =
        |response: Response<B>| response.map(|body| body.map_err(Into::into).boxed_unsync());
    BoxService::new(service.map_response(outer))
}

fn add(room: Room, inner: Boxed, probe: &Probe) -> Boxed {
    let probe = probe.clone();
    match room {
        Room::IdleKeepalive => boxed(IdleKeepaliveLayer::new(Duration::from_secs(15)).layer(inner)),
        Room::FinalFrame => boxed(FinalFrameLayer::by_media().layer(inner)),
        Room::Abort => boxed(AbortLayer::new(move |_| probe.handle.clone()).layer(inner)),
        Room::Tee => boxed(TeeLayer::recording(Limit::first(1000)).layer(inner)),
        Room::Finalize => {
            let layer = FinalizeLayer::new(move |request| {
                *probe.exchange.lock().unwrap() = Exchange::get(&request.extensions);
                let endings = probe.endings.clone();
                move |ending| endings.lock().unwrap().push(ending)
            });
            boxed(layer.layer(inner))
        }
    }
}

/// What the service does.
enum Inner {
    Responds(Response<Script>),
    Fails,
    Panics,
    Hangs,
}

fn service(inner: Inner) -> Boxed {
    let mut inner = Some(inner);
    BoxService::new(service_fn(move |_| {
        let inner = inner.take().unwrap();
        async move {
            match inner {
                Inner::Responds(response) => {
                    Ok(response.map(|body| body.map_err(Into::into).boxed_unsync()))
                }
                Inner::Fails => Err("refused".into()),
                Inner::Panics => panic!("ouch"),
                Inner::Hangs => std::future::pending().await,
            }
        }
    }))
}

fn stack(order: &[Room], inner: Inner, probe: &Probe) -> Boxed {
    order.iter().rev().fold(service(inner), |inner, room| add(*room, inner, probe))
}

/// Both kinds of bodies: one that nothing can be added to, and one that may get heartbeats and final events.
const MEDIA: [&str; 2] = ["application/octet-stream", "text/event-stream"];

fn responds(media: &str, script: Script) -> Inner {
    let response = Response::builder().header(header::CONTENT_TYPE, media);
    Inner::Responds(response.body(script).unwrap())
}

type Call = <Boxed as Service<Request<()>>>::Future;

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
    let with_none = |media| responds(media, two().eos(Eos::Never));
    every_order(Outcome::Completed, None, with_none, read_all).await;
    let with_trailers = |media| responds(media, two().trailers(http::HeaderMap::new()));
    every_order(Outcome::Completed, None, with_trailers, read_all).await;
}

// As hyper does over HTTP/1: dropped at the last byte (truths.md 1).
#[tokio::test(start_paused = true)]
async fn a_body_whose_content_length_is_met_has_completed_in_every_order() {
    let inner = |media| {
        let Inner::Responds(mut response) = responds(media, two().stall()) else { unreachable!() };
        response.headers_mut().insert(header::CONTENT_LENGTH, 18.into());
        Inner::Responds(response)
    };
    every_order(Outcome::Completed, None, inner, async |call, _| {
        let mut body = body(call).await;
        read_one(&mut body).await;
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "data: 2\n\n");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_body_that_falls_short_of_its_content_length_is_truncated_in_every_order() {
    let inner = |media| {
        let Inner::Responds(mut response) = responds(media, two()) else { unreachable!() };
        response.headers_mut().insert(header::CONTENT_LENGTH, 20.into());
        Inner::Responds(response)
    };
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
