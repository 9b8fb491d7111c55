//! What was read of a request's body: it waits for the upstream, and is kept behind it as long as the request may have
//! to be sent once more.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::Frame;
use tokio::sync::Notify;
use tower::BoxError;

use super::{
    budget::Budget,
    state::{Demand, End, Gate, State},
};

/// Between the task that reads the client and the body that the upstream's connection takes.
#[derive(Debug)]
pub(super) struct Buffer {
    budget: Budget,
    state: Mutex<State>,
    /// Tells the task that something has changed for it.
    changed: Notify,
}

impl Buffer {
    /// With `keeps`, what the upstream takes is kept; with `shut`, nothing is read before [`open`](Self::open).
    pub(super) fn new(budget: Budget, length: Option<u64>, keeps: bool, shut: bool) -> Self {
        let state = Mutex::new(State::new(length, keeps, shut));
        Self { budget, state, changed: Notify::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No code of others runs under the lock but wakers' and drops, which leave nothing half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state and lets the task see it.
    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let changed = change(&mut self.state());
        self.changed.notify_one();
        changed
    }

    // The side of the task that reads the client.

    /// Waits until there is something to do for it.
    pub(super) async fn demand(&self) -> Demand {
        loop {
            let demand = self.state().demand(&self.budget);
            if let Some(demand) = demand {
                return demand;
            }
            self.changed.notified().await;
        }
    }

    /// Waits until nobody will take any more.
    pub(super) async fn unwanted(&self) {
        while self.state().is_wanted() {
            self.changed.notified().await;
        }
    }

    pub(super) fn push(&self, frame: Frame<Bytes>) {
        let mut state = self.state();
        state.waits.push(frame, &self.budget);
        wake(state);
    }

    pub(super) fn end(&self, end: Result<(), BoxError>) {
        let mut state = self.state();
        state.end = match end {
            Ok(()) => End::Whole,
            Err(error) => End::Broken(Some(error)),
        };
        wake(state);
    }

    /// The task is gone. If it was before the end, that must not look like the end.
    pub(super) fn abandon(&self) {
        let mut state = self.state();
        if matches!(state.end, End::Open) {
            state.end = End::Broken(None);
        }
        wake(state);
    }

    // The side of the upstream.

    /// Waits until this reader may ask for the client's body.
    pub(super) fn poll_open(&self, cx: &mut Context<'_>, reader: u32) -> Poll<()> {
        let mut state = self.state();
        if state.reader == reader && state.is_shut() {
            state.asks = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(())
    }

    /// Waits for the first piece, or for the end without any.
    pub(super) fn poll_proved_empty(&self, cx: &mut Context<'_>) -> Poll<bool> {
        self.change(|state| match state.end {
            End::Open if state.waits.is_empty() => {
                state.asks = Some(cx.waker().clone());
                Poll::Pending
            }
            End::Whole => Poll::Ready(state.waits.is_empty()),
            End::Open | End::Broken(_) => Poll::Ready(false),
        })
    }

    /// What comes next for this reader.
    pub(super) fn poll_next(
        &self,
        cx: &mut Context<'_>,
        reader: u32,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.change(|state| {
            if state.reader != reader {
                return Poll::Ready(Some(Err("the request is sent once more".into())));
            }
            state.poll_next(cx, &self.budget)
        })
    }

    /// This reader is gone.
    pub(super) fn leave(&self, reader: u32) {
        self.change(|state| {
            if state.reader == reader {
                state.reads = false;
                state.asks = None;
            }
        });
    }

    /// The next reader, from the start, if all is still there. The one before gets nothing more.
    pub(super) fn restart(&self) -> Option<u32> {
        let mut state = self.state();
        state.restart(&self.budget).then_some(state.reader)
    }

    /// There will be no other reader.
    pub(super) fn no_repeat(&self) {
        self.change(|state| {
            state.repeatable = false;
            state.forget();
        });
    }

    pub(super) fn is_shut(&self) -> bool {
        self.state().is_shut()
    }

    /// The client's body is wanted.
    pub(super) fn open(&self) {
        let mut state = self.state();
        if state.gate == Gate::Shut {
            state.gate = Gate::Open;
        }
        wake(state);
        self.changed.notify_one();
    }

    /// There is an answer. Whether that was before the client's body was wanted.
    pub(super) fn spare(&self) -> bool {
        self.change(|state| {
            if state.gate == Gate::Shut {
                state.gate = Gate::Spared;
            }
            state.gate == Gate::Spared
        })
    }
}

/// Wakes the reader that waits, outside of the lock.
fn wake(mut state: MutexGuard<'_, State>) {
    let asks = state.asks.take();
    drop(state);
    if let Some(waker) = asks {
        waker.wake();
    }
}
