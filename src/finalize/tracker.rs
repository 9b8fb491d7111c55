//! Counts what is still to be reported.

use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

use tokio::sync::Notify;

/// Knows the exchanges and async hooks of a [`FinalizeLayer`](super::FinalizeLayer) that are under way. Cheap to clone.
#[derive(Clone, Debug)]
pub struct FinalizeTracker(Arc<Counts>);

#[derive(Debug)]
struct Counts {
    live: AtomicUsize,
    hook_panics: AtomicU64,
    idle: Notify,
}

impl FinalizeTracker {
    pub(super) fn new() -> Self {
        let (live, hook_panics) = (AtomicUsize::new(0), AtomicU64::new(0));
        Self(Arc::new(Counts { live, hook_panics, idle: Notify::new() }))
    }

    /// Exchanges that have not ended yet, and async hooks that are still running.
    pub fn live(&self) -> usize {
        self.0.live.load(Ordering::Acquire)
    }

    /// Hooks that panicked. Each harmed nothing but itself.
    pub fn hook_panics(&self) -> u64 {
        self.0.hook_panics.load(Ordering::Relaxed)
    }

    /// Waits until every exchange has ended and every hook, async ones too, has run.
    ///
    /// At shutdown: stop accepting, abort what is left, then wait here. No other place of a process can know that the
    /// last ending has been written.
    pub async fn drained(&self) {
        loop {
            let mut idle = std::pin::pin!(self.0.idle.notified());
            idle.as_mut().enable();
            if self.live() == 0 {
                return;
            }
            idle.await;
        }
    }

    /// Whether anybody else holds it: a layer, a service, something under way.
    #[cfg(feature = "final-frame")]
    pub(crate) fn is_shared(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }

    pub(super) fn live_one(self) -> Live {
        self.0.live.fetch_add(1, Ordering::AcqRel);
        Live(self)
    }
}

/// Counts as one thing under way until it is dropped.
#[derive(Debug)]
pub(super) struct Live(FinalizeTracker);

impl Live {
    pub(super) fn count_panic(&self) {
        self.0.0.hook_panics.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        if self.0.0.live.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.0.idle.notify_waiters();
        }
    }
}
