//! Stacks of all five layers in any order, with boxed services and bodies between them.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, header};
use http_body::Body;
use http_body_util::{BodyExt, combinators::UnsyncBoxBody};
use testkit::Script;
use tower::{Layer, Service, ServiceExt, service_fn, util::BoxService};
use tower_lifeline::{
    abort::{AbortHandle, AbortLayer},
    error::BoxError,
    exchange::Exchange,
    final_frame::FinalFrameLayer,
    finalize::{Ending, FinalizeLayer},
    keepalive::IdleKeepaliveLayer,
    tee::{Limit, TeeLayer},
};

pub(crate) type BoxBody = UnsyncBoxBody<Bytes, BoxError>;
pub(crate) type Boxed = BoxService<Request<()>, Response<BoxBody>, BoxError>;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Room {
    IdleKeepalive,
    FinalFrame,
    Abort,
    Finalize,
    Tee,
}

pub(crate) const ROOMS: [Room; 5] =
    [Room::IdleKeepalive, Room::FinalFrame, Room::Abort, Room::Finalize, Room::Tee];

/// All orders of what is left, outermost first.
pub(crate) fn orders(left: &[Room]) -> Vec<Vec<Room>> {
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
pub(crate) struct Probe {
    pub(crate) handle: AbortHandle,
    pub(crate) endings: Arc<Mutex<Vec<Ending>>>,
    pub(crate) exchange: Arc<Mutex<Option<Exchange>>>,
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
pub(crate) enum Inner {
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
