use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Wake, Waker};

#[cfg(test)]
mod tests;

/// Counts how often its waker was woken.
#[derive(Clone, Debug, Default)]
pub struct Wakes {
    count: Arc<Count>,
}

#[derive(Debug, Default)]
struct Count(AtomicUsize);

impl Wakes {
    /// Makes a counter at nought.
    pub fn new() -> Self {
        Self::default()
    }

    /// Gives the waker that counts here. Take it from two counters to see which of two tasks is woken.
    pub fn waker(&self) -> Waker {
        Waker::from(Arc::clone(&self.count))
    }

    /// Tells the wakeups so far.
    pub fn count(&self) -> usize {
        self.count.0.load(Ordering::SeqCst)
    }
}

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}
