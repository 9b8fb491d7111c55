//! The handle that aborts, and its children.

use std::{
    fmt,
    sync::{Arc, Mutex, Weak},
};

use slab::Slab;
use tokio::{sync::Notify, task::JoinSet};

use super::AbortReason;
use crate::cut::{Cutting, cut_elsewhere, lock};

/// Aborts exchanges, with a reason. Cheap to clone; clones are the same handle.
///
/// ```
/// use tower_lifeline::abort::{AbortHandle, AbortKind};
///
/// let shutdown = AbortHandle::new();
/// let one = shutdown.child();
/// assert!(shutdown.abort(AbortKind::Shutdown));
/// assert!(!shutdown.abort("too late"));
/// assert_eq!(one.reason().unwrap().text(), "shutdown");
/// ```
///
/// The first reason stays. Dropping every clone of a handle aborts nothing.
#[derive(Clone)]
pub struct AbortHandle {
    pub(super) node: Arc<Node>,
}

pub(super) struct Node {
    links: Mutex<Links>,
    aborted: Notify,
    /// Takes this node out of its parent when it is dropped.
    _parent: Option<Binding>,
    on_drop: Option<OnDrop>,
}

/// Is told, by the address of the node, that nobody holds it any more.
pub(super) type OnDrop = Box<dyn Fn(*const Node) + Send + Sync>;

#[derive(Default)]
struct Links {
    reason: Option<AbortReason>,
    listeners: Slab<Weak<dyn Listen>>,
    /// An exchange was bound to this handle itself.
    bound: bool,
    /// The futures that may abort it. They end with the node.
    triggers: Vec<JoinSet<()>>,
}

/// Is told of an abort: a child handle or an exchange.
pub(crate) trait Listen: Send + Sync {
    /// Returns whether this abort is what ends it. What is to be cut is put on the list, not cut here.
    fn abort(&self, reason: &AbortReason, cuttings: &mut Vec<Cutting>) -> bool;
}

impl AbortHandle {
    /// Makes a handle that nothing depends on yet.
    #[must_use]
    pub fn new() -> Self {
        let (links, aborted) = (Mutex::default(), Notify::new());
        Self { node: Arc::new(Node { links, aborted, _parent: None, on_drop: None }) }
    }

    /// Makes a handle that is aborted with this one, and can be aborted by itself.
    #[must_use]
    pub fn child(&self) -> Self {
        self.child_with(None)
    }

    pub(super) fn child_with(&self, on_drop: Option<OnDrop>) -> Self {
        let node = Arc::new_cyclic(|node: &Weak<Node>| {
            let parent = self.bind(node.clone(), false).ok();
            Node { links: Mutex::default(), aborted: Notify::new(), _parent: parent, on_drop }
        });
        // An abort that fell in between could not reach the child yet.
        if let Some(reason) = self.reason() {
            node.abort(&reason, &mut Vec::new());
        }
        Self { node }
    }

    /// Aborts everything that depends on this handle, and whatever comes to depend on it later.
    ///
    /// Returns whether this call is what aborts: it is the first on this handle, and if the handle was given to an
    /// [`AbortLayer`](super::AbortLayer) for an exchange, that exchange had not ended yet. For one exchange the answer
    /// always agrees with the outcome that [`Finalize`](crate::finalize) reports.
    ///
    /// Sets the cause of every exchange before it returns. The bodies are dropped, and hooks called, right after that in
    /// tasks of their own, so that this costs about a microsecond for each exchange and never waits for anyone.
    pub fn abort(&self, reason: impl Into<AbortReason>) -> bool {
        let mut cuttings = Vec::new();
        let first = self.node.abort(&reason.into(), &mut cuttings);
        cut_elsewhere(cuttings);
        first
    }

    /// Aborts when `trigger` completes: with the reason that it returns.
    ///
    /// The future runs as a task, which ends when the handle is aborted or when nothing depends on it any more.
    ///
    /// ```
    /// use tokio_util::sync::CancellationToken;
    /// use tower_lifeline::abort::{AbortHandle, AbortKind};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() {
    /// let (token, handle) = (CancellationToken::new(), AbortHandle::new());
    /// handle.abort_when({
    ///     let token = token.clone();
    ///     async move {
    ///         token.cancelled().await;
    ///         AbortKind::Shutdown
    ///     }
    /// });
    /// token.cancel();
    /// assert_eq!(handle.aborted().await.text(), "shutdown");
    /// # }
    /// ```
    ///
    /// # Panics
    /// When called outside of a tokio runtime.
    pub fn abort_when<F>(&self, trigger: F)
    where
        F: Future + Send + 'static,
        F::Output: Into<AbortReason>,
    {
        let node = Arc::downgrade(&self.node);
        let task = async move {
            let reason = trigger.await.into();
            if let Some(node) = node.upgrade() {
                Self { node }.abort(reason);
            }
        };
        let mut trigger = JoinSet::new();
        trigger.spawn(task);
        let mut links = lock(&self.node.links);
        links.triggers.retain_mut(|trigger| trigger.try_join_next().is_none());
        if links.reason.is_none() {
            links.triggers.push(trigger);
        }
    }

    /// Whether it was aborted.
    pub fn is_aborted(&self) -> bool {
        lock(&self.node.links).reason.is_some()
    }

    /// The reason, once it was aborted.
    pub fn reason(&self) -> Option<AbortReason> {
        lock(&self.node.links).reason.clone()
    }

    /// Waits until it is aborted. Cancel-safe, and may be called by many.
    pub async fn aborted(&self) -> AbortReason {
        loop {
            let mut aborted = std::pin::pin!(self.node.aborted.notified());
            aborted.as_mut().enable();
            if let Some(reason) = self.reason() {
                return reason;
            }
            aborted.await;
        }
    }

    /// How many exchanges and child handles depend on it now.
    pub fn dependents(&self) -> usize {
        lock(&self.node.links).listeners.len()
    }

    /// Registers a listener, or tells why it is too late: both under one lock, so that no abort falls in between.
    pub(crate) fn bind(
        &self,
        listener: Weak<dyn Listen>,
        exchange: bool,
    ) -> Result<Binding, AbortReason> {
        let mut links = lock(&self.node.links);
        if let Some(reason) = &links.reason {
            return Err(reason.clone());
        }
        links.bound |= exchange;
        let key = links.listeners.insert(listener);
        drop(links);
        Ok(Binding { node: self.node.clone(), key })
    }
}

impl Listen for Node {
    fn abort(&self, reason: &AbortReason, cuttings: &mut Vec<Cutting>) -> bool {
        let (listeners, bound, triggers) = {
            let mut links = lock(&self.links);
            if links.reason.is_some() {
                return false;
            }
            links.reason = Some(reason.clone());
            let listeners = std::mem::take(&mut links.listeners);
            (listeners, links.bound, std::mem::take(&mut links.triggers))
        };
        self.aborted.notify_waiters();
        drop(triggers);
        let mut any = !bound;
        for (_, listener) in listeners {
            if let Some(listener) = listener.upgrade() {
                any |= listener.abort(reason, cuttings);
            }
        }
        any
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(on_drop) = &self.on_drop {
            on_drop(self);
        }
    }
}

/// Keeps a listener registered, and the handle alive. Dropped, it leaves nothing behind in the handle.
pub(crate) struct Binding {
    node: Arc<Node>,
    key: usize,
}

impl Drop for Binding {
    fn drop(&mut self) {
        // After an abort the list was taken away as a whole and nothing is added any more, so no key is used twice.
        let listener = lock(&self.node.links).listeners.try_remove(self.key);
        drop(listener);
    }
}

impl Default for AbortHandle {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for AbortHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AbortHandle").field("reason", &self.reason()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Binding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Binding").finish_non_exhaustive()
    }
}
