//! Runs an async hook as a task.

use std::{future::poll_fn, pin::pin, task::Context};

use tokio::runtime::Handle;

use super::{Ending, FinalizeTracker, Finalizer, tracker::Live};
use crate::{
    contain::{contain, contain_poll},
    span::CallSpan,
};

/// Runs an async hook as a task. Made by [`FinalizeLayer::spawned`](super::FinalizeLayer::spawned).
#[derive(Debug)]
pub struct Spawned<H, L> {
    hook: H,
    fallback: L,
    runtime: Option<Handle>,
    tracker: FinalizeTracker,
}

impl<H, L> Spawned<H, L> {
    pub(super) fn new(hook: H, fallback: L, tracker: &FinalizeTracker) -> Self {
        // The runtime of the call: in a drop there may be none, or one that is being shut down.
        let runtime = Handle::try_current().ok();
        Self { hook, fallback, runtime, tracker: tracker.clone() }
    }
}

impl<H, T, L> Finalizer for Spawned<H, L>
where
    H: FnOnce(Ending) -> T,
    T: Future<Output = ()> + Send + 'static,
    L: Fn(Ending) + Send + 'static,
{
    fn on_end(self, ending: Ending) {
        // Whoever reports the end counts as live until this returns: there is no gap for `drained`.
        let live = self.tracker.live_one();
        let span = CallSpan::current(); // The reporter has entered that of the call.
        let mut unfinished = Unfinished {
            ending: Some(ending.clone()),
            fallback: self.fallback,
            span: span.clone(),
            live,
        };
        let Some(runtime) = self.runtime else { return };
        let hook = (self.hook)(ending);
        // A runtime that is shut down drops the task at once, without a poll and without a panic (truths.md 6).
        runtime.spawn(async move {
            let mut hook = pin!(hook);
            let mut poll = |cx: &mut Context<'_>| span.in_scope(|| hook.as_mut().poll(cx));
            match poll_fn(|cx| contain_poll(|| poll(cx))).await {
                Ok(()) => unfinished.finish(),
                Err(_) => unfinished.live.count_panic(),
            }
        });
    }
}

/// Calls the fallback if it is dropped before the hook has run to its end.
struct Unfinished<L: Fn(Ending)> {
    ending: Option<Ending>,
    fallback: L,
    span: CallSpan,
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
        if contain(|| self.span.in_scope(|| (self.fallback)(ending))).is_err() {
            self.live.count_panic();
        }
    }
}
