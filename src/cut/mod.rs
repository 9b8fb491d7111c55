//! A value that can be taken away while nobody polls it.
//!
//! A token or timer that is looked at only in `poll_frame` does nothing while hyper is not polling, and hyper does not
//! poll while the client is not reading (truths.md 2). So whatever may be cut short lives in a [`Slot`]: the reader
//! takes it out to poll it and puts it back; whoever cuts takes it out and drops it. The lock is never held while
//! foreign code runs, so nothing here can dead-lock, and a poll in progress ends the value itself when it comes back.

mod answer;
mod body;
mod error;
mod future;
mod hold;
#[cfg(test)]
mod tests;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Waker,
};

use tokio::runtime::Handle;

pub(crate) use self::{answer::Answer, body::CutBody, error::Reset, future::CutFuture, hold::Hold};
use crate::contain::contain;

/// Locks a mutex that no foreign code runs under, so that its poison says nothing.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The shared place of a body or of a response future.
#[derive(Debug)]
pub(crate) struct Slot<T> {
    state: Mutex<State<T>>,
}

#[derive(Debug)]
struct State<T> {
    place: Place<T>,
    /// It is decided that the value goes, though nobody may have taken it away yet.
    doomed: bool,
    waker: Option<Waker>,
}

#[derive(Debug)]
enum Place<T> {
    /// The value waits for the next poll.
    Here(T),
    /// The value is being polled, has not arrived yet, or is gone for good.
    Out,
}

impl<T> Slot<T> {
    /// Makes a slot whose value is still to come.
    pub(crate) fn new() -> Arc<Self> {
        let state = State { place: Place::Out, doomed: false, waker: None };
        Arc::new(Self { state: Mutex::new(state) })
    }

    /// Takes the value out for a poll; `None` once it was cut.
    pub(crate) fn take(&self) -> Option<T> {
        let mut state = lock(&self.state);
        let place = std::mem::replace(&mut state.place, Place::Out);
        let doomed = state.doomed;
        drop(state);
        match place {
            // The value is dropped by whoever comes first, its reader or the one who cuts.
            Place::Here(value) => (!doomed).then_some(value),
            Place::Out => None,
        }
    }

    /// Puts the value back. Gives it to the caller to drop if the slot was cut meanwhile.
    pub(crate) fn put(&self, value: T) -> Result<(), T> {
        self.put_with(value, None)
    }

    /// Puts the value back and registers who is to be woken by a cut.
    pub(crate) fn put_and_wait(&self, value: T, waker: &Waker) -> Result<(), T> {
        self.put_with(value, Some(waker))
    }

    fn put_with(&self, value: T, waker: Option<&Waker>) -> Result<(), T> {
        let mut state = lock(&self.state);
        if state.doomed {
            return Err(value);
        }
        let known = state.waker.as_ref();
        let renew = waker.filter(|waker| !known.is_some_and(|known| known.will_wake(waker)));
        let Some(waker) = renew else {
            state.place = Place::Here(value);
            return Ok(());
        };
        // A waker is foreign code, also when it is cloned or dropped. Whoever cuts meanwhile finds the value out.
        drop(state);
        let waker = waker.clone();
        let mut state = lock(&self.state);
        if state.doomed {
            return Err(value);
        }
        state.place = Place::Here(value);
        let old = state.waker.replace(waker);
        drop(state);
        drop(old);
        Ok(())
    }

    /// Looks at the value if it is there. Takes it out for that, as a poll does.
    pub(crate) fn peek<R>(&self, look: impl FnOnce(&T) -> R) -> Option<R> {
        let value = self.take()?;
        let seen = look(&value);
        self.put(value).is_ok().then_some(seen)
    }
}

/// What can be cut from outside.
pub(crate) trait Cut: Send + Sync {
    /// Decides that the value goes: no poll gets to see it from here on. Runs no foreign code.
    fn doom(&self);

    /// Drops the value and wakes its reader.
    fn cut(&self);
}

impl<T: Send> Cut for Slot<T> {
    fn doom(&self) {
        lock(&self.state).doomed = true;
    }

    fn cut(&self) {
        let (place, waker) = {
            let mut state = lock(&self.state);
            state.doomed = true;
            (std::mem::replace(&mut state.place, Place::Out), state.waker.take())
        };
        // A body whose Drop panics must not keep its reader asleep.
        let _ = contain(|| drop(place));
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// The slots of one exchange that are to be cut. Cutting drops bodies and so runs hooks; it happens in a task of its
/// own, and if no runtime is there to run that task, in the drop of this value: it always happens.
pub(crate) struct Cutting {
    pub(crate) slots: Vec<Arc<dyn Cut>>,
    pub(crate) runtime: Option<Handle>,
}

impl Drop for Cutting {
    fn drop(&mut self) {
        for slot in self.slots.drain(..) {
            slot.cut();
        }
    }
}

/// Cuts without doing it on the caller's thread: whoever aborts ten thousand streams is not held up by their hooks.
pub(crate) fn cut_elsewhere(cuttings: Vec<Cutting>) {
    let Some(runtime) = cuttings.iter().find_map(|cutting| cutting.runtime.clone()) else {
        return; // No runtime at all: cut here and now, by dropping.
    };
    runtime.spawn(async move {
        for cutting in cuttings {
            if let Some(runtime) = cutting.runtime.clone() {
                runtime.spawn(async move { drop(cutting) });
            }
            tokio::task::coop::consume_budget().await;
        }
    });
}
