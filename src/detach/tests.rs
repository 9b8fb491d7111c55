//! Each row of the module's table.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, request, response};
use http_body::Body;
use http_body_util::{BodyExt, combinators::UnsyncBoxBody};
use testkit::{Log, Script, ScriptError};
use tokio::{
    sync::mpsc::{UnboundedReceiver, unbounded_channel},
    time::Instant,
};
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};

use super::{DetachBody, DetachLayer, DrainLimits};
use crate::{
    abort::{AbortHandle, AbortLayer},
    early_head::EarlyHeadLayer,
    error::BoxError,
    exchange::{DrainEnd, Drained, Exchange, Outcome},
    finalize::{Ending, FinalizeLayer},
    tee::{Limit, Recording, TeeLayer},
    timeouts::{Limits, TimeoutsLayer},
};

mod departure;
mod limits;
mod reading;
mod staying;
mod unread;
mod watchers;

const SECOND: Duration = Duration::from_secs(1);

fn layer() -> DetachLayer<super::All> {
    DetachLayer::new(DrainLimits::new())
}

/// A response on its way through Detach, Abort, Finalize and Tee.
struct Stream {
    body: UnsyncBoxBody<Bytes, BoxError>,
    told: UnboundedReceiver<Ending>,
    handle: AbortHandle,
    exchange: Exchange,
    log: Log,
}

async fn open<F, H>(layer: &DetachLayer<F>, script: Script) -> Stream
where
    F: Fn(&request::Parts) -> H + Clone,
    H: FnOnce(&response::Parts) -> bool,
{
    open_with(layer, Request::new(()), Response::new(script)).await
}

async fn open_with<F, H>(
    layer: &DetachLayer<F>,
    mut request: Request<()>,
    response: Response<Script>,
) -> Stream
where
    F: Fn(&request::Parts) -> H + Clone,
    H: FnOnce(&response::Parts) -> bool,
{
    let (tell, told) = unbounded_channel();
    let (handle, log) = (AbortHandle::new(), response.body().log());
    let exchange = Exchange::of(&mut request);
    let abort = handle.clone();
    let response = Arc::new(Mutex::new(Some(response)));
    let service = ServiceBuilder::new()
        .layer(layer.clone())
        .layer(AbortLayer::new(move |_| abort.clone()))
        .layer(FinalizeLayer::new(move |_| {
            let tell = tell.clone();
            move |ending| tell.send(ending).unwrap()
        }))
        .layer(TeeLayer::recording(Limit::first(1024)))
        .service(service_fn(move |_: Request<()>| {
            let response = response.lock().unwrap().take().unwrap();
            async { Ok::<_, Infallible>(response) }
        }));
    let body = UnsyncBoxBody::new(service.oneshot(request).await.unwrap().into_body());
    Stream { body, told, handle, exchange, log }
}

impl Stream {
    async fn read(&mut self) -> Bytes {
        self.body.frame().await.unwrap().unwrap().into_data().unwrap()
    }

    /// Drops the body. The rest is what can be seen from then on.
    fn leave(self) -> Left {
        drop(self.body);
        Left { told: self.told, handle: self.handle, exchange: self.exchange, log: self.log }
    }
}

struct Left {
    told: UnboundedReceiver<Ending>,
    handle: AbortHandle,
    exchange: Exchange,
    log: Log,
}

impl Left {
    /// The one ending that is told, and that says that the client left.
    async fn ending(&mut self) -> Ending {
        let ending = self.told.recv().await.unwrap();
        assert!(self.told.recv().await.is_none(), "an end is told once");
        ending
    }

    /// What was drained.
    async fn drained(mut self) -> (u64, DrainEnd) {
        let ending = self.ending().await;
        assert_eq!(ending.outcome, Outcome::Disconnected);
        let Drained { bytes, end } = ending.drained.unwrap();
        (bytes, end)
    }
}
