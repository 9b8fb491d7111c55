//! Each row of the module's table, what an ending says, and what hooks may do.

use std::{
    pin::pin,
    sync::Mutex,
    task::{Context, Poll, Waker},
};

use http::{Request, Response, request::Parts};
use testkit::{Script, ScriptError};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tower::{Layer, ServiceExt, service_fn};

use super::{Ending, FinalizeBody, FinalizeLayer};
use crate::watch::Watched;

mod body;
mod call;
mod hooks;
mod numbers;
#[cfg(feature = "tracing")]
mod span;
mod spawned;
#[cfg(feature = "tracing")]
mod traced;

type Hook = Box<dyn FnOnce(Ending) + Send>;
type Told = UnboundedReceiver<Ending>;

/// A layer that sends each ending here.
fn telling<M>() -> (FinalizeLayer<impl Fn(&Parts) -> Hook + Clone, M>, Told) {
    let (tell, told) = unbounded_channel();
    let layer = FinalizeLayer::new(move |_: &Parts| -> Hook {
        let tell = tell.clone();
        Box::new(move |ending| tell.send(ending).unwrap())
    });
    (layer, told)
}

/// Passes a response through a layer, and gives its body.
async fn through<F, H, M, N>(
    layer: &FinalizeLayer<F, (M, N)>,
    request: Request<()>,
    response: Response<Script>,
) -> Watched<Script, super::Reporter<H, (M, N)>>
where
    F: Fn(&Parts) -> H + Clone,
    H: super::Finalizer,
    ScriptError: crate::error::AsError<M> + crate::error::AsError<N>,
{
    let response = Mutex::new(Some(response));
    let service = layer.layer(service_fn(|_: Request<()>| async {
        Ok::<_, ScriptError>(response.lock().unwrap().take().unwrap())
    }));
    service.oneshot(request).await.unwrap_or_else(|error| panic!("{error}")).into_body()
}

fn get() -> Request<()> {
    Request::new(())
}

/// The one ending that was told.
fn only(told: &mut Told) -> Ending {
    let ending = told.try_recv().expect("no ending was told");
    assert!(told.try_recv().is_err(), "an end is told once");
    ending
}

/// The result of a future that does not wait, without any runtime.
fn at_once<T>(future: impl Future<Output = T>) -> T {
    let mut cx = Context::from_waker(Waker::noop());
    match pin!(future).poll(&mut cx) {
        Poll::Ready(result) => result,
        Poll::Pending => panic!("it waits"),
    }
}
