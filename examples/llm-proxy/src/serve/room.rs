//! The connections of a listener that lets in only so many at once.

use tokio::{sync::watch, task::AbortHandle};

use super::idle::State;

/// Oldest first.
#[derive(Debug)]
pub(super) struct Room {
    most: usize,
    taken: Vec<Taken>,
}

#[derive(Debug)]
struct Taken {
    doing: watch::Receiver<State>,
    task: AbortHandle,
}

impl Room {
    pub(super) const fn new(most: usize) -> Self {
        Self { most, taken: Vec::new() }
    }

    /// Sees to it that there is room for another one: where there is none, the oldest of those that have not asked for anything
    /// is closed, else the oldest of those that were answered and wait. Returns whether there is.
    pub(super) fn make(&mut self) -> bool {
        self.taken.retain(|taken| !taken.task.is_finished());
        if self.taken.len() < self.most {
            return true;
        }
        let oldest =
            |is: fn(&State) -> bool| self.taken.iter().position(|taken| is(&taken.doing.borrow()));
        let silent = oldest(|state| matches!(state, State::Head(_)));
        let Some(closed) = silent.or_else(|| oldest(|state| matches!(state, State::Idle(_))))
        else {
            return false;
        };
        self.taken.remove(closed).task.abort();
        true
    }

    pub(super) fn take(&mut self, doing: watch::Receiver<State>, task: AbortHandle) {
        self.taken.push(Taken { doing, task });
    }
}
