use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout};

#[cfg(test)]
mod tests;

/// Names what happened to a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Says that `poll_frame` was called; what came of it follows, unless it was `Pending`.
    Poll,
    /// Says that a data frame of this length was handed out.
    Data(usize),
    Trailers,
    Error,
    Panic,
    /// Says that `None` was handed out.
    End,
    /// Follows the `Poll` of a body that had already handed out `None`, an error or trailers, or had panicked.
    PollAfterEnd,
    Dropped {
        panicking: bool,
    },
    Note(String),
}

/// Keeps what happened, in order and with its time, for all clones alike.
#[derive(Clone, Debug, Default)]
pub struct Log {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    events: Mutex<Vec<(Instant, Event)>>,
    changed: watch::Sender<()>,
}

impl Log {
    /// Makes an empty log.
    pub fn new() -> Self {
        Self::default()
    }

    /// Writes down something of the test's own, such as the call of a hook.
    pub fn note(&self, text: impl Into<String>) {
        self.push(Event::Note(text.into()));
    }

    /// Gives all events with their times.
    pub fn events(&self) -> Vec<(Instant, Event)> {
        self.lock().clone()
    }

    /// Gives all events without their times, to compare the whole course at once.
    pub fn story(&self) -> Vec<Event> {
        self.lock().iter().map(|(_, event)| event.clone()).collect()
    }

    /// Counts the events that match.
    pub fn count(&self, matches: impl Fn(&Event) -> bool) -> usize {
        self.lock().iter().filter(|(_, event)| matches(event)).count()
    }

    /// Counts all polls, those after the end as well.
    pub fn polls(&self) -> usize {
        self.count(|event| *event == Event::Poll)
    }

    /// Tells when the body was dropped.
    pub fn dropped_at(&self) -> Option<Instant> {
        self.lock().iter().find(|(_, event)| is_drop(event)).map(|(at, _)| *at)
    }

    /// Waits until the body is dropped, at once if it already is. Has no limit: see [`Log::dropped_within`].
    pub async fn dropped(&self) -> Instant {
        self.first(is_drop).await
    }

    /// Waits until the body is dropped, and fails the test when it is not in time.
    ///
    /// # Panics
    /// At the limit, with the last events.
    pub async fn dropped_within(&self, limit: Duration) -> Instant {
        match timeout(limit, self.dropped()).await {
            Ok(at) => at,
            Err(_) => {
                let story = self.story();
                let tail = &story[story.len().saturating_sub(10)..];
                panic!("not dropped within {limit:?}; it ends with {tail:?}");
            }
        }
    }

    /// Waits for the first event that matches, past or to come, and tells when it was. Has no limit.
    pub async fn first(&self, matches: impl Fn(&Event) -> bool) -> Instant {
        let mut changed = self.shared.changed.subscribe();
        let mut seen = 0;
        loop {
            {
                let events = self.lock();
                if let Some((at, _)) = events[seen..].iter().find(|(_, event)| matches(event)) {
                    return *at;
                }
                seen = events.len();
            }
            // The sender lives in `self`: this can not fail.
            let _ = changed.changed().await;
        }
    }

    pub(crate) fn push(&self, event: Event) {
        self.lock().push((Instant::now(), event));
        self.shared.changed.send_replace(());
    }

    /// Ignores poison: a body logs its drop during unwinding too.
    fn lock(&self) -> MutexGuard<'_, Vec<(Instant, Event)>> {
        self.shared.events.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_drop(event: &Event) -> bool {
    matches!(event, Event::Dropped { .. })
}
