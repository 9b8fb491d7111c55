//! The record that all layers of one request and its response share.
//!
//! Whichever layer sees a request first puts an [`Exchange`] into its extensions, and the others find it there. It
//! holds the first cause of the end, which is set before anything is dropped: so [`Finalize`](crate::finalize) tells an
//! abort from a client that left, wherever it stands in the stack.
//!
//! ```
//! use tower_lifeline::exchange::{Exchange, Outcome, Cause};
//!
//! let mut request = http::Request::new(());
//! let exchange = Exchange::of(&mut request);
//! assert_eq!(Exchange::of(&mut request).id(), exchange.id());
//!
//! // A handler that answers an error with a response of its own says what really happened.
//! exchange.record(Cause::failed(&std::io::Error::other("upstream refused")));
//! exchange.record(Cause::Completed); // the first cause stays
//! assert_eq!(exchange.cause().unwrap().outcome(), Outcome::Failed);
//! ```

mod cause;
mod drain;
mod id;
mod life;
mod progress;
mod said;
#[cfg(test)]
mod tests;
mod upload;

use std::{
    fmt,
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicBool, Ordering},
    },
};

use http::{Extensions, Request};
use tokio::time::Instant;

pub(crate) use self::life::{Attached, Knife};
use self::life::{Drain, Life};
#[cfg(feature = "usage")]
pub(crate) use self::said::Said;
pub(crate) use self::upload::{Upload, UploadState};
pub use self::{
    cause::{Cause, Outcome},
    drain::{DrainEnd, Drained},
    id::ExchangeId,
    progress::Progress,
};
use crate::{
    abort::{AbortReason, Listen},
    cut::{cut_elsewhere, lock},
};

/// One request and its response, from the first layer that saw it to the end of the body. Cheap to clone.
#[derive(Clone)]
pub struct Exchange(Arc<Inner>);

struct Inner {
    id: ExchangeId,
    progress: Progress,
    upload: upload::Watched,
    life: Mutex<Life>,
    /// Whether the life is settled, to be read without its lock.
    reported: AtomicBool,
    /// Whether the stream has said its end, to be read without its lock.
    #[cfg(feature = "usage")]
    over: AtomicBool,
    facts: Mutex<Extensions>,
}

impl Exchange {
    /// Makes an exchange that belongs to no request, for a body that is used without tower.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(Inner {
            id: ExchangeId::random(),
            progress: Progress::new(),
            upload: upload::Watched::default(),
            life: Mutex::default(),
            reported: AtomicBool::new(false),
            #[cfg(feature = "usage")]
            over: AtomicBool::new(false),
            facts: Mutex::default(),
        }))
    }

    /// Finds the exchange of a request, or begins it.
    pub fn of<B>(request: &mut Request<B>) -> Self {
        request.extensions_mut().get_or_insert_with(Self::new).clone()
    }

    /// Finds the exchange of a request that passed one of the layers.
    pub fn get(extensions: &Extensions) -> Option<Self> {
        extensions.get::<Self>().cloned()
    }

    /// The id: unique among all exchanges of all processes, as far as 128 random bits are.
    pub fn id(&self) -> ExchangeId {
        self.0.id
    }

    /// When the first layer saw the request.
    pub fn started(&self) -> Instant {
        self.0.progress.started()
    }

    /// What [`Finalize`](crate::finalize) has seen pass so far; readable while the response is under way.
    pub fn progress(&self) -> &Progress {
        &self.0.progress
    }

    /// The first cause of the end, once there is one.
    pub fn cause(&self) -> Option<Cause> {
        lock(&self.0.life).cause.clone()
    }

    /// Records why the exchange ends, or will end. The first cause is kept; returns whether it was this one. Behind the end that
    /// a stream has said itself (feature `usage`) that end is the cause, whatever is recorded, but for a panic.
    ///
    /// For handlers that answer a failure with a response of their own, such as a 502.
    pub fn record(&self, cause: Cause) -> bool {
        let mut life = lock(&self.0.life);
        let outcome = cause.outcome();
        let cause = life.meaning_of(cause);
        let first = life.cause.is_none() && cause.outcome() == outcome;
        life.cause.get_or_insert(cause);
        first
    }

    /// Ends the exchange with the first cause, or with what `observed` means if nobody recorded one. From here on an abort comes
    /// too late, unless a rest is read that the caller, outside of it, does not see.
    pub(crate) fn settle(&self, observed: Cause, sees_drain: bool) -> Cause {
        let mut life = lock(&self.0.life);
        life.settled |= sees_drain || life.drain != Drain::UnderWay;
        self.0.reported.store(life.settled, Ordering::Release);
        let cause = life.meaning_of(observed);
        life.cause.get_or_insert(cause).clone()
    }

    /// Aborts this exchange, and this one only, as a handle given to its
    /// [`AbortLayer`](crate::abort::AbortLayer) would. Returns whether this is what ends it: `false` when something else
    /// came first, or when no such layer has seen the request yet or any more.
    pub fn abort(&self, reason: impl Into<AbortReason>) -> bool {
        let mut cuttings = Vec::new();
        let first = self.0.abort(&reason.into(), &mut cuttings);
        cut_elsewhere(cuttings);
        first
    }

    pub(crate) fn listener(&self) -> Weak<dyn Listen> {
        let listener: Weak<Inner> = Arc::downgrade(&self.0);
        listener
    }

    /// Leaves a fact for other layers and hooks; a fact of the same type is replaced.
    pub fn insert<T: Clone + Send + Sync + 'static>(&self, fact: T) {
        let replaced = lock(&self.0.facts).insert(fact);
        drop(replaced); // Outside of the lock: it is a user's value.
    }

    /// Takes a fact away, for another exchange to have.
    #[cfg(feature = "replay")]
    pub(crate) fn take<T: Clone + Send + Sync + 'static>(&self) -> Option<T> {
        lock(&self.0.facts).remove::<T>()
    }

    /// Reads a fact that a layer or handler left.
    pub fn fact<T: Clone + Send + Sync + 'static>(&self) -> Option<T> {
        lock(&self.0.facts).get::<T>().cloned()
    }
}

impl Default for Exchange {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cause = self.cause();
        f.debug_struct("Exchange")
            .field("id", &self.id())
            .field("cause", &cause)
            .finish_non_exhaustive()
    }
}
