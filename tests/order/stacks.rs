//! Stacks of the layers in any order, with boxed services and bodies between them.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, header};
use http_body::Body;
use http_body_util::{BodyExt, combinators::UnsyncBoxBody};
use testkit::Script;
use tower::{Layer, Service, ServiceExt, service_fn, util::BoxCloneService};
use tower_lifeline::{
    abort::{AbortHandle, AbortLayer},
    coalesce::CoalesceLayer,
    detach::{DetachLayer, DrainLimits},
    early_head::EarlyHeadLayer,
    error::BoxError,
    exchange::Exchange,
    final_frame::FinalFrameLayer,
    finalize::{Ending, FinalizeLayer},
    first_frame::FirstFrameLayer,
    keepalive::IdleKeepaliveLayer,
    tee::{Limit, TeeLayer},
    timeouts::{Limits, TimeoutsLayer},
};

pub(crate) type BoxBody = UnsyncBoxBody<Bytes, BoxError>;
pub(crate) type Boxed = BoxCloneService<Request<()>, Response<BoxBody>, BoxError>;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Room {
    IdleKeepalive,
    FinalFrame,
    Detach,
    EarlyHead,
    Abort,
    Timeouts,
    Finalize,
    Tee,
    FirstFrame,
    Coalesce,
}

/// All of them, in the documented order.
pub(crate) const ROOMS: [Room; 10] = [
    Room::IdleKeepalive,
    Room::FinalFrame,
    Room::Detach,
    Room::EarlyHead,
    Room::Abort,
    Room::Timeouts,
    Room::Finalize,
    Room::Tee,
    Room::FirstFrame,
    Room::Coalesce,
];

/// What a time limit is in these courses.
pub(crate) const LIMIT: Duration = Duration::from_secs(300);

/// When a client that asks for a stream gets its head at the latest.
pub(crate) const EARLY: Duration = Duration::from_secs(100);

/// All orders of what is left, outermost first.
fn permutations(left: &[Room]) -> Vec<Vec<Room>> {
    if left.is_empty() {
        return vec![vec![]];
    }
    let beginning_with = |first: &Room| {
        let rest: Vec<_> = left.iter().copied().filter(|room| room != first).collect();
        let first = *first;
        permutations(&rest).into_iter().map(move |rest| [vec![first], rest].concat())
    };
    left.iter().flat_map(beginning_with).collect()
}

/// The orders to play: with Finalize and Tee, every order of every two others; then so many random orders of all, or all
/// 3,628,800 of them when the variable `ORDERS` is `all`.
pub(crate) fn orders() -> Vec<Vec<Room>> {
    if std::env::var("ORDERS").is_ok_and(|orders| orders == "all") {
        return permutations(&ROOMS);
    }
    let others: Vec<_> =
        ROOMS.into_iter().filter(|room| !matches!(room, Room::Finalize | Room::Tee)).collect();
    let mut orders = Vec::new();
    for (at, one) in others.iter().enumerate() {
        for other in &others[at + 1..] {
            orders.extend(permutations(&[Room::Finalize, Room::Tee, *one, *other]));
        }
    }
    orders.push(ROOMS.to_vec());
    orders.push(ROOMS.into_iter().rev().collect());
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    orders.extend((0..RANDOM).map(|_| random.shuffled()));
    orders
}

const RANDOM: usize = 200;

/// xorshift64: the same orders in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit as u64).unwrap()
    }

    fn shuffled(&mut self) -> Vec<Room> {
        let mut rooms = ROOMS.to_vec();
        for last in (1..rooms.len()).rev() {
            let other = self.below(last + 1);
            rooms.swap(last, other);
        }
        rooms
    }
}

/// The other ends of one stack.
#[derive(Clone, Default)]
pub(crate) struct Probe {
    pub(crate) handle: AbortHandle,
    pub(crate) endings: Arc<Mutex<Vec<Ending>>>,
    pub(crate) exchange: Arc<Mutex<Option<Exchange>>>,
}

fn boxed<S, B>(service: S) -> Boxed
where
    S: Service<Request<()>, Response = Response<B>, Error = BoxError>,
    S: Clone + Send + 'static,
    S::Future: Send,
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    let outer =
        |response: Response<B>| response.map(|body| body.map_err(Into::into).boxed_unsync());
    BoxCloneService::new(service.map_response(outer))
}

fn add(room: Room, inner: Boxed, probe: &Probe) -> Boxed {
    let probe = probe.clone();
    match room {
        Room::IdleKeepalive => boxed(IdleKeepaliveLayer::new(Duration::from_secs(15)).layer(inner)),
        Room::FinalFrame => boxed(FinalFrameLayer::by_media().layer(inner)),
        Room::Detach => boxed(DetachLayer::new(DrainLimits::new()).layer(inner)),
        Room::EarlyHead => boxed(EarlyHeadLayer::new(EARLY).layer(inner)),
        Room::Timeouts => {
            let limits = Limits::new().head(LIMIT).first_frame(LIMIT).idle(LIMIT).total(9 * LIMIT);
            boxed(TimeoutsLayer::new(limits.unread(LIMIT)).layer(inner))
        }
        Room::FirstFrame => boxed(FirstFrameLayer::by_media().layer(inner)),
        Room::Coalesce => boxed(CoalesceLayer::new(16 * 1024).layer(inner)),
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
pub(crate) enum Inner {
    Responds(Response<Script>),
    Fails,
    Panics,
    Hangs,
    /// Responds after this time.
    Late(Duration, Response<Script>),
}

fn service(inner: Inner) -> Boxed {
    let inner = Arc::new(Mutex::new(Some(inner)));
    BoxCloneService::new(service_fn(move |_| {
        let inner = inner.lock().unwrap().take().unwrap();
        async move {
            match inner {
                Inner::Responds(response) => {
                    Ok(response.map(|body| body.map_err(Into::into).boxed_unsync()))
                }
                Inner::Fails => Err("refused".into()),
                Inner::Panics => panic!("ouch"),
                Inner::Hangs => std::future::pending().await,
                Inner::Late(after, response) => {
                    tokio::time::sleep(after).await;
                    Ok(response.map(|body| body.map_err(Into::into).boxed_unsync()))
                }
            }
        }
    }))
}

pub(crate) fn stack(order: &[Room], inner: Inner, probe: &Probe) -> Boxed {
    order.iter().rev().fold(service(inner), |inner, room| add(*room, inner, probe))
}

/// Both kinds of bodies: one that nothing can be added to, and one that may get heartbeats and final events.
pub(crate) const MEDIA: [&str; 2] = ["application/octet-stream", "text/event-stream"];

pub(crate) fn responds(media: &str, script: Script) -> Inner {
    let response = Response::builder().header(header::CONTENT_TYPE, media);
    Inner::Responds(response.body(script).unwrap())
}

pub(crate) fn with_length(length: u64, media: &str, script: Script) -> Inner {
    let response = Response::builder().header(header::CONTENT_TYPE, media);
    Inner::Responds(response.header(header::CONTENT_LENGTH, length).body(script).unwrap())
}

pub(crate) type Call = <Boxed as Service<Request<()>>>::Future;
