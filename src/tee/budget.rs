//! Memory that many recordings share.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// A number of bytes that many recordings share. Cheap to clone; clones are the same budget.
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

    /// Takes as many of `bytes` as there are.
    pub(crate) fn take(&self, bytes: usize) -> usize {
        let mut taken = 0;
        // Never fails: the closure always gives a value.
        let _ = self.0.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
            taken = bytes.min(self.0.limit.saturating_sub(used));
            Some(used + taken)
        });
        taken
    }

    pub(crate) fn give_back(&self, bytes: usize) {
        self.0.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// What one holder has taken of a budget, all or nothing at a time. Gives it back when it is dropped.
#[derive(Debug)]
#[cfg(feature = "replay")]
pub(crate) struct Share {
    budget: Option<Budget>,
    bytes: usize,
}

#[cfg(feature = "replay")]
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
        let more = bytes.saturating_sub(self.bytes);
        let taken = budget.take(more);
        if taken < more {
            budget.give_back(taken);
            return false;
        }
        budget.give_back(self.bytes.saturating_sub(bytes));
        self.bytes = bytes;
        true
    }
}

#[cfg(feature = "replay")]
impl Drop for Share {
    fn drop(&mut self) {
        self.set(0);
    }
}
