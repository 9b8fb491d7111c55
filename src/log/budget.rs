//! Memory that many recordings share.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// A number of bytes of memory that many recordings share. Cheap to clone; clones are the same budget.
///
/// What counts is the memory that a recording really takes: its blocks with what is still empty in them, and the headers that
/// it keeps. Not counted is what each takes that is empty, some hundred bytes.
///
/// ```
/// use tower_lifeline::tee::Budget;
///
/// let budget = Budget::new(256 * 1024 * 1024);
/// assert_eq!(budget.used(), 0);
/// ```
#[derive(Clone, Debug)]
pub struct Budget(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    limit: usize,
    used: AtomicUsize,
}

impl Budget {
    /// Makes a budget of `limit` bytes.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self(Arc::new(Shared { limit, used: AtomicUsize::new(0) }))
    }

    /// Bytes in use now.
    pub fn used(&self) -> usize {
        self.0.used.load(Ordering::Relaxed)
    }

    /// Takes `bytes`, all of them or nothing.
    fn take(&self, bytes: usize) -> bool {
        let more = |used: usize| used.checked_add(bytes).filter(|used| *used <= self.0.limit);
        self.0.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    fn give_back(&self, bytes: usize) {
        self.0.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// What one holder has taken of a budget. Gives it back when it is dropped.
#[derive(Debug)]
pub(crate) struct Share {
    budget: Option<Budget>,
    bytes: usize,
}

impl Share {
    /// `None`: there is always enough.
    pub(crate) const fn of(budget: Option<Budget>) -> Self {
        Self { budget, bytes: 0 }
    }

    #[cfg(test)]
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Has so many bytes from now on; `false`, and as many as before, if there are not as many.
    pub(crate) fn set(&mut self, bytes: usize) -> bool {
        let Some(budget) = &self.budget else { return true };
        if !budget.take(bytes.saturating_sub(self.bytes)) {
            return false;
        }
        budget.give_back(self.bytes.saturating_sub(bytes));
        self.bytes = bytes;
        true
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.set(0);
    }
}
