//! Runs an async hook as a task.

use tokio::runtime::Handle;

use super::{Ending, FinalizeTracker, Finalizer, tracker::Live};
use crate::contain::contain;

/// Runs an async hook as a task. Made by [`FinalizeLayer::spawned`](super::FinalizeLayer::spawned).
#[derive(Debug)]
pub struct Spawned<H, L> {
    hook: H,
    fallback: L,
    runtime: Option<Handle>,
    live: Live,
}

impl<H, L> Spawned<H, L> {
    pub(super) fn new(hook: H, fallback: L, tracker: &FinalizeTracker) -> Self {
        // The runtime of the call: in a drop there may be none, or one that is being shut down.
        let runtime = Handle::try_current().ok();
        Self { hook, fallback, runtime, live: tracker.clone().live_one() }
    }
}

impl<H, T, L> Finalizer for Spawned<H, L>
where
    H: FnOnce(Ending) -> T,
    T: Future<Output = ()> + Send + 'static,
    L: Fn(Ending) + Send + 'static,
{
    fn on_end(self, ending: Ending) {
        let mut unfinished =
            Unfinished { ending: Some(ending.clone()), fallback: self.fallback, live: self.live };
        let Some(runtime) = self.runtime else { return };
        let hook = (self.hook)(ending);
        // A runtime that is shut down drops the task at once, without a poll and without a panic (truths.md 6).
        runtime.spawn(async move {
            hook.await;
            unfinished.finish();
        });
    }
}

/// Calls the fallback if it is dropped before the hook has run to its end.
struct Unfinished<L: Fn(Ending)> {
    ending: Option<Ending>,
    fallback: L,
    live: Live,
}

impl<L: Fn(Ending)> Unfinished<L> {
    fn finish(&mut self) {
        self.ending = None;
    }
}

impl<L: Fn(Ending)> Drop for Unfinished<L> {
    fn drop(&mut self) {
        let Some(ending) = self.ending.take() else { return };
        if std::thread::panicking() {
            self.live.count_panic();
        }
        if contain(|| (self.fallback)(ending)).is_err() {
            self.live.count_panic();
        }
    }
}
