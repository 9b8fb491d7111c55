//! Tokens per minute, in fixed memory.

use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use super::row::Cost;

#[cfg(test)]
mod tests;

/// So many minutes are remembered, the current one among them.
pub(crate) const MINUTES: usize = 30;
const MINUTE: Duration = Duration::from_secs(60);

/// What the endings of one minute said that they cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Minute {
    pub(crate) input: u64,
    pub(crate) output: u64,
}

/// A ring of minutes, counted from its beginning. An ending counts in the minute in which it ended.
#[derive(Debug)]
pub(super) struct Minutes {
    began: Instant,
    /// The minute that was counted in last.
    newest: u64,
    ring: [Minute; MINUTES],
}

impl Default for Minutes {
    fn default() -> Self {
        Self { began: Instant::now(), newest: 0, ring: [Minute::default(); MINUTES] }
    }
}

impl Minutes {
    pub(super) fn count(&mut self, cost: &Cost) {
        self.turn();
        let minute = &mut self.ring[slot(self.newest)];
        // Counts are what an upstream says; any number may come.
        minute.input = minute.input.saturating_add(cost.input_tokens.unwrap_or(0));
        minute.output = minute.output.saturating_add(cost.output_tokens.unwrap_or(0));
    }

    /// The last minutes, oldest first; the last of them is not over yet.
    pub(super) fn last(&mut self) -> [Minute; MINUTES] {
        self.turn();
        let mut minutes = self.ring;
        minutes.rotate_left((slot(self.newest) + 1) % MINUTES);
        minutes
    }

    /// Goes on to the current minute, and forgets those that are too old.
    fn turn(&mut self) {
        let now = self.began.elapsed().as_secs() / MINUTE.as_secs();
        let passed = now.saturating_sub(self.newest);
        for minute in self.newest + 1..=self.newest + passed.min(MINUTES as u64) {
            self.ring[slot(minute)] = Minute::default();
        }
        self.newest += passed;
    }
}

fn slot(minute: u64) -> usize {
    (minute % MINUTES as u64) as usize
}
