use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

#[cfg(test)]
mod tests;

/// Holds up whoever waits at it until somebody opens it; it stays open. Clones are the same gate.
#[derive(Clone, Debug, Default)]
pub struct Gate {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    open: bool,
    tickets: u64,
    /// Keeps the latest waker of each ticket.
    waiting: HashMap<u64, Waker>,
}

impl Gate {
    /// Makes a closed gate.
    pub fn new() -> Self {
        Self::default()
    }

    /// Opens the gate and wakes all who wait, each by its latest waker.
    pub fn open(&self) {
        let waiting = {
            let mut state = self.lock();
            state.open = true;
            std::mem::take(&mut state.waiting)
        };
        waiting.into_values().for_each(Waker::wake);
    }

    /// Tells whether it was opened.
    pub fn is_open(&self) -> bool {
        self.lock().open
    }

    /// Waits until it is open.
    pub async fn opened(&self) {
        let ticket = self.ticket();
        poll_fn(|cx| self.poll(ticket, cx)).await;
    }

    /// Numbers those who wait, so that none takes the place of another.
    pub(crate) fn ticket(&self) -> u64 {
        let mut state = self.lock();
        state.tickets += 1;
        state.tickets
    }

    pub(crate) fn poll(&self, ticket: u64, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        if state.open {
            return Poll::Ready(());
        }
        state.waiting.insert(ticket, cx.waker().clone());
        Poll::Pending
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
