//! The memory of all request bodies together that wait for the upstream or are kept to be sent once more.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use bytes::Bytes;

/// What an allocation costs beside its bytes, so that a flood of tiny pieces is bounded too.
pub(super) const OVERHEAD: usize = 128;

/// Cheap to clone; all clones count together.
#[derive(Debug, Clone)]
pub(crate) struct Budget(Arc<Account>);

#[derive(Debug)]
struct Account {
    limit: usize,
    used: AtomicUsize,
}

impl Budget {
    /// Of so many bytes; of any number without a limit.
    pub(crate) fn new(limit: Option<usize>) -> Self {
        Self(Arc::new(Account { limit: limit.unwrap_or(usize::MAX), used: AtomicUsize::new(0) }))
    }

    /// Whether nothing more should be kept. What is at hand is counted nevertheless: it is there.
    pub(super) fn is_spent(&self) -> bool {
        self.used() >= self.0.limit
    }

    pub(super) fn used(&self) -> usize {
        self.0.used.load(Ordering::Relaxed)
    }

    /// Counts so many bytes until what is returned is dropped.
    pub(super) fn count(&self, bytes: usize) -> Counted {
        self.0.used.fetch_add(bytes, Ordering::Relaxed);
        Counted { budget: self.clone(), bytes }
    }

    /// The same bytes, counted until the last clone of them is dropped, wherever that is.
    pub(super) fn keep(&self, bytes: Vec<u8>) -> Bytes {
        let _counted = self.count(bytes.len() + OVERHEAD);
        Bytes::from_owner(Kept { bytes: bytes.into_boxed_slice(), _counted })
    }
}

#[derive(Debug)]
pub(super) struct Counted {
    budget: Budget,
    bytes: usize,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.budget.0.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

struct Kept {
    bytes: Box<[u8]>,
    _counted: Counted,
}

impl AsRef<[u8]> for Kept {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}
