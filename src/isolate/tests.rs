//! Each row of the module's table. A body that blocks its thread, and threads at all, need real time here.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use testkit::{Eos, Event, Gate, Log, Script, ScriptError, drain};
use tokio::{
    runtime::{Builder, Runtime},
    time::{Instant, sleep, timeout},
};
use tower::{Layer, ServiceExt, service_fn};

use super::{IsolateBody, IsolateLayer, PumpLost};
use crate::{
    abort::{AbortBody, AbortHandle, Aborted},
    error::{BodyPanicked, BoxError},
    exchange::{Exchange, Outcome},
    finalize::{Ending, FinalizeLayer},
};

mod reading;
mod threads;

const LIMIT: Duration = Duration::from_secs(5);
const STUCK: Duration = Duration::from_secs(1);

/// One chunk, then a poll that blocks its thread.
#[derive(Default)]
struct Blocking {
    polls: usize,
    stuck: Arc<AtomicBool>,
    dropped: Arc<AtomicBool>,
}

impl Body for Blocking {
    type Data = Bytes;
    type Error = Infallible;

    #[allow(clippy::disallowed_methods)] // The very thing that is to be survived.
    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.polls += 1;
        if self.polls == 1 {
            return Poll::Ready(Some(Ok(Frame::data("kept".into()))));
        }
        self.stuck.store(true, Ordering::SeqCst);
        std::thread::sleep(STUCK);
        Poll::Ready(Some(Ok(Frame::data("late".into()))))
    }
}

impl Drop for Blocking {
    fn drop(&mut self) {
        self.dropped.store(true, Ordering::SeqCst);
    }
}

async fn until(what: impl Fn() -> bool) {
    timeout(LIMIT, async {
        while !what() {
            sleep(Duration::from_millis(1)).await;
        }
    })
    .await
    .unwrap();
}

fn one_worker() -> Runtime {
    Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

/// A body through the layer.
async fn through(request: Request<()>, response: Response<Script>) -> IsolateBody<Script> {
    let response = std::sync::Mutex::new(Some(response));
    let service = IsolateLayer::new(2).layer(service_fn(|_: Request<()>| async {
        Ok::<_, ScriptError>(response.lock().unwrap().take().unwrap())
    }));
    service.oneshot(request).await.unwrap().into_body()
}
