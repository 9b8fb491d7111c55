//! Finds the handles of live exchanges by a key.

use std::{
    collections::HashMap,
    fmt,
    hash::Hash,
    sync::{Arc, Mutex, Weak},
};

use super::{
    AbortHandle, AbortReason,
    handle::{Listen, Node},
};
use crate::cut::{cut_elsewhere, lock};

/// Knows the live exchanges by key: to list them, to abort one, to abort all. Cheap to clone.
///
/// ```
/// use tower_lifeline::{abort::{AbortLayer, AbortRegistry}, exchange::{Exchange, ExchangeId}};
///
/// let registry: AbortRegistry<Option<ExchangeId>> = AbortRegistry::new();
/// let layer = AbortLayer::new({
///     let registry = registry.clone();
///     move |request| registry.handle(Exchange::get(&request.extensions).map(|exchange| exchange.id()))
/// });
/// # let _ = tower_layer::Layer::layer(&layer, ());
/// assert_eq!(registry.abort_all("maintenance"), 0);
/// ```
///
/// An entry is there as long as somebody holds its handle. The layer does so until the exchange ends, before its head or
/// after; so entries need no cleaning up. Exchanges of the same key share a handle, until it is aborted: an abort is for
/// those that are there, and not for those that come while one of them still lingers.
pub struct AbortRegistry<K> {
    root: AbortHandle,
    entries: Entries<K>,
}

type Entries<K> = Arc<Mutex<HashMap<K, Weak<Node>>>>;

impl<K: Clone + Eq + Hash + Send + Sync + 'static> AbortRegistry<K> {
    /// Makes an empty registry.
    #[must_use]
    pub fn new() -> Self {
        Self { root: AbortHandle::new(), entries: Arc::default() }
    }

    /// The handle that all others are children of. Unlike [`abort_all`](Self::abort_all), aborting it lasts: whatever
    /// comes later is aborted too, as a shutdown wants it.
    pub const fn root(&self) -> &AbortHandle {
        &self.root
    }

    /// Finds the handle for `key`, or makes it. One that was aborted is not given out again.
    pub fn handle(&self, key: K) -> AbortHandle {
        let known; // Declared before the lock and so dropped after it, for the last drop takes the lock again.
        let mut entries = lock(&self.entries);
        known = entries.get(&key).and_then(Weak::upgrade).map(|node| AbortHandle { node });
        if let Some(live) = known.as_ref().filter(|handle| !handle.is_aborted()) {
            return live.clone();
        }
        let on_drop = {
            let (entries, key) = (Arc::downgrade(&self.entries), key.clone());
            move |node: *const Node| {
                let Some(entries) = entries.upgrade() else { return };
                let mut entries = lock(&entries);
                // A new handle may have taken the key since.
                if entries.get(&key).is_some_and(|entry| entry.as_ptr() == node) {
                    entries.remove(&key);
                }
            }
        };
        let handle = self.root.child_with(Some(Box::new(on_drop)));
        entries.insert(key, Arc::downgrade(&handle.node));
        handle
    }

    /// Aborts the exchanges of `key`. `None` if there is no such entry; else what [`AbortHandle::abort`] says.
    pub fn abort(&self, key: &K, reason: impl Into<AbortReason>) -> Option<bool> {
        let node = lock(&self.entries).get(key).and_then(Weak::upgrade)?;
        Some(AbortHandle { node }.abort(reason))
    }

    /// Aborts all that are there now, and returns how many entries it ended.
    pub fn abort_all(&self, reason: impl Into<AbortReason>) -> usize {
        let reason = reason.into();
        let mut cuttings = Vec::new();
        let nodes = self.nodes();
        let ended = nodes.iter().filter(|(_, node)| node.abort(&reason, &mut cuttings)).count();
        cut_elsewhere(cuttings);
        ended
    }

    /// The keys that are there now, in no order.
    pub fn keys(&self) -> Vec<K> {
        self.nodes().into_iter().map(|(key, _)| key).collect()
    }

    fn nodes(&self) -> Vec<(K, Arc<Node>)> {
        // Upgraded under the lock, dropped outside of it: the last drop takes the lock again.
        let live = |(key, node): (&K, &Weak<Node>)| Some((key.clone(), node.upgrade()?));
        lock(&self.entries).iter().filter_map(live).collect()
    }
}

impl<K> Clone for AbortRegistry<K> {
    fn clone(&self) -> Self {
        Self { root: self.root.clone(), entries: self.entries.clone() }
    }
}

impl<K: Clone + Eq + Hash + Send + Sync + 'static> Default for AbortRegistry<K> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K> fmt::Debug for AbortRegistry<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AbortRegistry").field("root", &self.root).finish_non_exhaustive()
    }
}
