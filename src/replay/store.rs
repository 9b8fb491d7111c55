//! Where answers are kept.

use std::{fmt, future::ready, time::Duration};

use moka::{policy::EvictionPolicy, sync::Cache};
use tokio::time::Instant;

use super::{Key, Recorded};

/// Keeps answers.
pub trait ReplayStore: Send + Sync + 'static {
    /// Finds the answer to a request. How long one is good is the store's to say; what fails in it is `None`.
    fn get(&self, key: &Key) -> impl Future<Output = Option<Recorded>> + Send + 'static;

    /// Keeps an answer. Called while a response ends, on the task that serves its client: what takes long belongs elsewhere.
    /// A panic in here is contained.
    fn put(&self, key: Key, recorded: Recorded);
}

/// Keeps answers in memory: so many bytes, for so long. The ones that were not asked for the longest go first. Cheap to clone;
/// clones are the same store.
///
/// ```
/// use std::time::Duration;
/// use tower_lifeline::replay::MemoryStore;
///
/// let store = MemoryStore::new(256 * 1024 * 1024, Duration::from_secs(3600));
/// assert_eq!(store.used(), 0);
/// ```
#[derive(Clone)]
pub struct MemoryStore {
    cache: Cache<Key, Kept>,
    time: Duration,
}

#[derive(Clone)]
struct Kept {
    recorded: Recorded,
    /// On tokio's clock, which the cache does not know.
    since: Instant,
}

/// More than this no cache has to last, and moka refuses a thousand.
const YEARS: Duration = Duration::from_secs(100 * 365 * 86_400);

/// What an answer takes besides itself: its key, and its places in the cache's map and in its two queues.
const PER_ENTRY: usize = 320;

impl MemoryStore {
    /// Keeps answers in at most so many `bytes` of memory, each for `time` from its end on.
    #[must_use]
    pub fn new(bytes: u64, time: Duration) -> Self {
        let cache = Cache::builder()
            .max_capacity(bytes)
            .weigher(|_, kept: &Kept| {
                u32::try_from(kept.recorded.size() + PER_ENTRY).unwrap_or(u32::MAX)
            })
            .eviction_policy(EvictionPolicy::lru())
            .time_to_live(time.min(YEARS))
            .build();
        Self { cache, time }
    }

    /// The bytes in use.
    pub fn used(&self) -> u64 {
        self.cache.run_pending_tasks();
        self.cache.weighted_size()
    }

    /// Forgets all answers.
    pub fn clear(&self) {
        self.cache.invalidate_all();
    }
}

impl ReplayStore for MemoryStore {
    fn get(&self, key: &Key) -> impl Future<Output = Option<Recorded>> + Send + 'static {
        let mut kept = self.cache.get(key);
        if kept.as_ref().is_some_and(|kept| kept.since.elapsed() >= self.time) {
            self.cache.invalidate(key);
            kept = None;
        }
        ready(kept.map(|kept| kept.recorded))
    }

    fn put(&self, key: Key, recorded: Recorded) {
        self.cache.insert(key, Kept { recorded, since: Instant::now() });
        // Or what is too much would stay until somebody comes along.
        self.cache.run_pending_tasks();
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore").field("time", &self.time).finish_non_exhaustive()
    }
}
