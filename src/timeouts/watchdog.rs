//! The limits that hold while nobody polls.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    runtime::Handle,
    task::AbortHandle,
    time::{Instant, sleep_until},
};

use super::{Limit, TimedOut};
use crate::exchange::{Cause, Exchange, Knife};

/// Since when the client has a frame and did not ask for the next.
#[derive(Debug)]
pub(super) struct Unread {
    started: Instant,
    /// Nanoseconds since the start.
    since: AtomicU64,
}

/// It is the upstream that is waited for.
const READING: u64 = u64::MAX;

impl Unread {
    pub(super) fn begin(&self) {
        let nanos = u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(READING - 1);
        self.since.store(nanos, Ordering::Relaxed);
    }

    pub(super) fn end(&self) {
        self.since.store(READING, Ordering::Relaxed);
    }

    fn since(&self) -> Option<Instant> {
        match self.since.load(Ordering::Relaxed) {
            READING => None,
            nanos => self.started.checked_add(Duration::from_nanos(nanos)),
        }
    }
}

/// A task that cuts when a limit is hit. It ends when this is dropped.
#[derive(Debug)]
pub(super) struct Watchdog {
    task: AbortHandle,
    unread: Option<Arc<Unread>>,
}

impl Watchdog {
    /// `None` where there is nothing to watch, or no runtime to do so.
    pub(super) fn spawn(
        total: Option<Duration>,
        unread: Option<Duration>,
        exchange: &Exchange,
        knife: Knife,
    ) -> Option<Self> {
        total.or(unread)?;
        let runtime = Handle::try_current().ok()?;
        let started = Instant::now();
        let told = unread.map(|_| Arc::new(Unread { started, since: AtomicU64::new(READING) }));
        let watch = Watch { started, total, unread: unread.zip(told.clone()) };
        let exchange = exchange.clone();
        let task = runtime.spawn(async move {
            let timed_out = watch.hit().await.at(exchange.progress().elapsed());
            knife.cut(&Cause::TimedOut(timed_out));
        });
        Some(Self { task: task.abort_handle(), unread: told })
    }

    pub(super) fn unread(&self) -> Option<Arc<Unread>> {
        self.unread.clone()
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Watch {
    started: Instant,
    total: Option<Duration>,
    unread: Option<(Duration, Arc<Unread>)>,
}

impl Watch {
    async fn hit(self) -> TimedOut {
        loop {
            let now = Instant::now();
            let total =
                self.total.and_then(|after| Some((self.started.checked_add(after)?, after)));
            let unread = self.unread.as_ref().and_then(|(after, unread)| {
                let since = unread.since();
                Some((since.unwrap_or(now).checked_add(*after)?, since.is_some(), *after))
            });
            if let Some((_, after)) = total.filter(|(due, _)| *due <= now) {
                return TimedOut::new(Limit::Total, after);
            }
            if let Some((_, _, after)) = unread.filter(|(due, begun, _)| *begun && *due <= now) {
                return TimedOut::new(Limit::Unread, after);
            }
            // While it is read the limit can not be hit sooner than after its own length: one look each time.
            let next = [total.map(|(due, _)| due), unread.map(|(due, ..)| due)];
            match next.into_iter().flatten().min() {
                Some(next) => sleep_until(next).await,
                None => std::future::pending().await,
            }
        }
    }
}
