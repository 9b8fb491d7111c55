//! In which span a hook runs, inside of tower-http's `TraceLayer`.

use std::{error::Error, future::pending, pin::Pin, sync::Arc, time::Duration};

use http::response;
use http_body_util::{BodyExt, combinators::UnsyncBoxBody};
use testkit::drain;
use tokio::{runtime::Builder, task::yield_now, time::sleep};
use tower::{Layer, Service, ServiceBuilder};
use tower_http::trace::TraceLayer;
use tracing::Subscriber;
use tracing_subscriber::{
    layer::{Context, SubscriberExt},
    registry::LookupSpan,
};

use super::*;
use crate::{
    abort::{AbortHandle, AbortLayer},
    error::BoxError,
    finalize::Finalizer,
};

/// Keeps the spans in which the events of this crate were written, outermost first.
#[derive(Clone, Default)]
struct Spans(Arc<Mutex<Vec<Vec<&'static str>>>>);

impl<S: Subscriber + for<'a> LookupSpan<'a>> tracing_subscriber::Layer<S> for Spans {
    fn on_event(&self, event: &tracing::Event<'_>, context: Context<'_, S>) {
        if event.metadata().target().starts_with("tower_lifeline") {
            let scope = context.event_scope(event).into_iter();
            let spans = scope.flat_map(|scope| scope.from_root().map(|span| span.name()));
            self.0.lock().unwrap().push(spans.collect());
        }
    }
}

impl Spans {
    fn capture() -> (Self, tracing::subscriber::DefaultGuard) {
        let spans = Self::default();
        let subscriber = tracing_subscriber::registry().with(spans.clone());
        (spans, tracing::subscriber::set_default(subscriber))
    }

    /// So many events were written, all of them in the span of the request.
    #[track_caller]
    fn assert_of_the_request(&self, events: usize) {
        assert_eq!(*self.0.lock().unwrap(), vec![vec!["request"]; events]);
    }
}

type Boxed = UnsyncBoxBody<bytes::Bytes, BoxError>;
type Calling = Pin<Box<dyn Future<Output = Response<Boxed>>>>;

/// A call through Trace, Abort and Finalize to a service that answers with this, or never.
fn call<F, H>(
    finalize: FinalizeLayer<F, (crate::error::Itself, crate::error::Itself)>,
    handle: &AbortHandle,
    script: Option<Script>,
) -> Calling
where
    F: Fn(&Parts) -> H + Clone + Send + 'static,
    H: Finalizer + Send + 'static,
{
    let (handle, script) = (handle.clone(), Arc::new(Mutex::new(script)));
    let mut service = ServiceBuilder::new()
        .layer(TraceLayer::new_for_http())
        .layer(AbortLayer::new(move |_: &Parts| handle.clone()))
        .layer(finalize)
        .service(service_fn(move |_: Request<Script>| {
            let script = script.lock().unwrap().take();
            async {
                match script {
                    Some(script) => Ok::<_, ScriptError>(Response::new(script)),
                    None => pending().await,
                }
            }
        }));
    let calling = service.call(Request::new(Script::new()));
    Box::pin(async { calling.await.unwrap().map(|body| body.map_err(Into::into).boxed_unsync()) })
}

fn stream() -> Option<Script> {
    Some(Script::new().data("a").stall())
}

#[tokio::test]
async fn the_event_of_an_exchange_is_in_its_span_however_it_ended() {
    let (spans, _guard) = Spans::capture();
    let (traced, handle) = (FinalizeLayer::traced(), AbortHandle::new());
    let script = Some(Script::new().data("a").eos(testkit::Eos::Never));
    drain(call(traced.clone(), &handle, script).await.into_body()).await;
    spans.assert_of_the_request(1);

    let mut left = call(traced.clone(), &handle, stream()).await.into_body();
    left.frame().await.unwrap().unwrap();
    drop(left);
    spans.assert_of_the_request(2);

    let mut before_the_head = call(traced.clone(), &handle, None);
    assert!(
        before_the_head
            .as_mut()
            .poll(&mut std::task::Context::from_waker(Waker::noop()))
            .is_pending()
    );
    drop(before_the_head);
    spans.assert_of_the_request(3);

    let aborted = call(traced, &handle, stream()).await.into_body();
    handle.abort("stop");
    yield_now().await; // What was cut is dropped by a task.
    spans.assert_of_the_request(4);
    drop(aborted);
}

/// Writes an event at each of its calls.
struct Writing;

impl Finalizer for Writing {
    fn on_response(&mut self, _: &response::Parts) {
        tracing::info!("head");
    }

    fn on_error(&mut self, _: &(dyn Error + 'static)) {
        tracing::info!("error");
    }

    fn on_end(self, _: Ending) {
        tracing::info!("end");
    }
}

#[tokio::test]
async fn every_hook_runs_in_the_span_of_its_call() {
    let (spans, _guard) = Spans::capture();
    let mut service =
        FinalizeLayer::with(|_: &Parts| Writing).layer(service_fn(async |_: Request<Script>| {
            Ok::<_, ScriptError>(Response::new(Script::new().error("boom")))
        }));
    let span = tracing::info_span!("request");
    let calling = span.in_scope(|| service.call(Request::new(Script::new())));
    // Nobody enters a span from here on.
    drain(calling.await.unwrap().into_body()).await;
    spans.assert_of_the_request(3);
}

#[test]
fn an_async_hook_runs_in_the_span_of_its_call_and_so_does_its_fallback() {
    let (spans, _guard) = Spans::capture();
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let layer = FinalizeLayer::spawned(
        |_: &Parts| {
            |_| async {
                tracing::info!("begins");
                sleep(Duration::from_secs(1)).await;
                tracing::info!("ends");
            }
        },
        |_| tracing::info!("lost"),
    );
    let handle = AbortHandle::new();
    runtime.block_on(async {
        drop(call(layer.clone(), &handle, stream()).await);
        layer.tracker().drained().await;
    });
    spans.assert_of_the_request(2);
    runtime.block_on(async {
        drop(call(layer.clone(), &handle, stream()).await);
        yield_now().await;
    });
    drop(runtime);
    spans.assert_of_the_request(4);
}
