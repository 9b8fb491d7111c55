//! Async hooks, and what becomes of them without a runtime.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use testkit::Gate;
use tokio::{
    runtime::{Builder, Runtime},
    time::{sleep, timeout},
};

use super::*;

/// What the hook and the fallback say.
#[derive(Clone, Default)]
struct Notes(Arc<Mutex<Vec<String>>>);

impl Notes {
    fn note(&self, what: &str, ending: &Ending) {
        self.0.lock().unwrap().push(format!("{what} {}", ending.outcome));
    }

    fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    /// An async hook that waits at the gate.
    fn hook(&self, gate: &Gate) -> impl Fn(&Parts) -> AsyncHook + Clone + use<> {
        let (notes, gate) = (self.clone(), gate.clone());
        move |_| {
            let (notes, gate) = (notes.clone(), gate.clone());
            Box::new(move |ending| {
                Box::pin(async move {
                    gate.opened().await;
                    notes.note("hook", &ending);
                })
            })
        }
    }

    fn fallback(&self) -> impl Fn(Ending) + Clone + Send + use<> {
        let notes = self.clone();
        move |ending| notes.note("fallback", &ending)
    }
}

type AsyncHook = Box<dyn FnOnce(Ending) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send>;

fn response() -> Response<Script> {
    Response::new(Script::new().data("x"))
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_time().build().unwrap()
}

#[tokio::test(start_paused = true)]
async fn an_async_hook_runs_as_a_task_and_drained_waits_for_it() {
    let (notes, gate) = (Notes::default(), Gate::new());
    let layer = FinalizeLayer::spawned(notes.hook(&gate), notes.fallback());
    let tracker = layer.tracker();
    drop(through(&layer, get(), response()).await);
    sleep(Duration::from_secs(60)).await;
    assert_eq!((notes.all().len(), tracker.live()), (0, 1));
    assert!(timeout(Duration::from_secs(60), tracker.drained()).await.is_err());
    gate.open();
    tracker.drained().await;
    assert_eq!(notes.all(), ["hook discarded"]);
    assert_eq!((tracker.live(), tracker.hook_panics()), (0, 0));
}

#[tokio::test]
async fn an_exchange_with_an_async_hook_counts_once() {
    let notes = Notes::default();
    let layer = FinalizeLayer::spawned(notes.hook(&Gate::new()), notes.fallback());
    let body = through(&layer, get(), response()).await;
    assert_eq!(layer.tracker().live(), 1);
    drop(body);
    assert_eq!(layer.tracker().live(), 1, "its hook is still running");
}

#[test]
fn a_runtime_that_is_gone_brings_the_fallback_at_once() {
    let (notes, runtime) = (Notes::default(), runtime());
    let layer = FinalizeLayer::spawned(notes.hook(&Gate::new()), notes.fallback());
    let body = runtime.block_on(through(&layer, get(), response()));
    drop(runtime);
    assert!(notes.all().is_empty());
    drop(body);
    assert_eq!(notes.all(), ["fallback discarded"]);
    assert_eq!((layer.tracker().live(), layer.tracker().hook_panics()), (0, 0));
}

#[test]
fn a_runtime_that_shuts_down_while_the_hook_runs_brings_the_fallback() {
    let (notes, runtime) = (Notes::default(), runtime());
    let layer = FinalizeLayer::spawned(notes.hook(&Gate::new()), notes.fallback());
    runtime.block_on(async {
        drop(through(&layer, get(), response()).await);
        tokio::task::yield_now().await;
    });
    assert!(notes.all().is_empty());
    drop(runtime);
    assert_eq!(notes.all(), ["fallback discarded"]);
    assert_eq!((layer.tracker().live(), layer.tracker().hook_panics()), (0, 0));
}

#[test]
fn without_a_runtime_at_the_call_there_is_the_fallback() {
    let notes = Notes::default();
    let layer = FinalizeLayer::spawned(notes.hook(&Gate::new()), notes.fallback());
    drop(at_once(through(&layer, get(), response())));
    assert_eq!(notes.all(), ["fallback discarded"]);
    assert_eq!((layer.tracker().live(), layer.tracker().hook_panics()), (0, 0));
}

#[test]
fn the_runtime_is_that_of_the_call_and_not_that_of_the_drop() {
    let (notes, gate, runtime) = (Notes::default(), Gate::new(), runtime());
    gate.open();
    let layer = FinalizeLayer::spawned(notes.hook(&gate), notes.fallback());
    let body = runtime.block_on(through(&layer, get(), response()));
    drop(body); // Here is none, and a spawn would panic.
    assert!(notes.all().is_empty());
    runtime.block_on(layer.tracker().drained());
    assert_eq!(notes.all(), ["hook discarded"]);
}

/// truths.md 5.
#[test]
fn a_fallback_that_runs_while_the_thread_unwinds_is_no_panic_of_its_own() {
    let notes = Notes::default();
    let layer = FinalizeLayer::spawned(notes.hook(&Gate::new()), notes.fallback());
    let body = at_once(through(&layer, get(), response()));
    let panic = catch_unwind(AssertUnwindSafe(move || {
        let _body = body;
        panic!("the task");
    }));
    assert!(panic.is_err());
    assert_eq!(notes.all(), ["fallback discarded"]);
    assert_eq!(layer.tracker().hook_panics(), 0);
}

#[tokio::test]
async fn an_async_hook_that_panics_is_counted_once_and_brings_the_fallback() {
    let notes = Notes::default();
    let layer = FinalizeLayer::spawned(
        |_: &Parts| |ending: Ending| async move { assert_eq!(ending.bytes, 1, "the hook panics") },
        notes.fallback(),
    );
    drop(through(&layer, get(), response()).await);
    layer.tracker().drained().await;
    assert_eq!(notes.all(), ["fallback discarded"]);
    assert_eq!((layer.tracker().live(), layer.tracker().hook_panics()), (0, 1));
}

#[tokio::test]
async fn a_hook_that_panics_before_it_gives_a_future_is_counted_once_and_brings_the_fallback() {
    let notes = Notes::default();
    let layer = FinalizeLayer::spawned(
        |_: &Parts| {
            |ending: Ending| {
                assert_eq!(ending.bytes, 1, "the hook panics");
                async {}
            }
        },
        notes.fallback(),
    );
    drop(through(&layer, get(), response()).await);
    layer.tracker().drained().await;
    assert_eq!(notes.all(), ["fallback discarded"]);
    assert_eq!((layer.tracker().live(), layer.tracker().hook_panics()), (0, 1));
}

#[test]
fn a_fallback_that_panics_is_counted_even_while_the_thread_unwinds() {
    let fallback = |ending: Ending| assert_eq!(ending.bytes, 1, "the fallback panics");
    let layer = FinalizeLayer::spawned(|_: &Parts| |_: Ending| async {}, fallback);
    drop(at_once(through(&layer, get(), response())));
    assert_eq!(layer.tracker().hook_panics(), 1);
    let body = at_once(through(&layer, get(), response()));
    let panic = catch_unwind(AssertUnwindSafe(move || {
        let _body = body;
        panic!("the task");
    }));
    assert!(panic.is_err());
    assert_eq!((layer.tracker().live(), layer.tracker().hook_panics()), (0, 2));
}
