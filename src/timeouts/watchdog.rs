//! The limits that hold while nobody polls.

use std::{
    future::poll_fn,
    pin::pin,
    sync::{Arc, Mutex},
    task::{Poll, Waker},
    time::Duration,
};

use tokio::{
    runtime::Handle,
    task::AbortHandle,
    time::{Instant, sleep_until},
};

use super::{Limit, TimedOut};
use crate::{
    cut::lock,
    exchange::{Cause, Exchange, Knife},
};

/// How long a reader may take to answer when it is woken to see whether it is there. More than a busy runtime needs.
const ANSWER: Duration = Duration::from_secs(5);

/// When the reader last asked for something.
#[derive(Debug)]
pub(super) struct Unread(Mutex<Reading>);

#[derive(Debug)]
struct Reading {
    /// `None` before the head: there is nothing to read.
    asked: Option<Instant>,
    /// The reader waits, or so it said: whoever stands between may have had room for a last heartbeat and then none.
    waiting: Option<Waker>,
}

impl Unread {
    /// The reader asks, or gets the head.
    pub(super) fn asked(&self) {
        let mut reading = lock(&self.0);
        reading.asked = Some(Instant::now());
        let waiting = reading.waiting.take();
        drop(reading);
        drop(waiting);
    }

    /// There was nothing for it.
    pub(super) fn waits(&self, waker: &Waker) {
        let waker = Some(waker.clone());
        lock(&self.0).waiting = waker;
    }

    fn since(&self) -> Option<Instant> {
        lock(&self.0).asked
    }

    /// Wakes a reader that waits. It asks again, if it is there.
    fn probe(&self) -> bool {
        let waiting = lock(&self.0).waiting.take();
        let waits = waiting.is_some();
        if let Some(waker) = waiting {
            waker.wake();
        }
        waits
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
        let reading = Mutex::new(Reading { asked: None, waiting: None });
        let told = unread.map(|_| Arc::new(Unread(reading)));
        let started = Instant::now();
        let total = total.and_then(|after| Some((started.checked_add(after)?, after)));
        let unread = unread.map(|after| after.max(Duration::from_millis(1)));
        let mut watch = Watch { total, unread: unread.zip(told.clone()) };
        let exchange = exchange.clone();
        let task = runtime.spawn(async move {
            loop {
                let timed_out = watch.hit().await.at(exchange.progress().elapsed());
                if knife.cut(&Cause::TimedOut(timed_out)) {
                    break;
                }
                watch.total = None;
            }
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
    /// When it is over, and how long it is.
    total: Option<(Instant, Duration)>,
    unread: Option<(Duration, Arc<Unread>)>,
}

impl Watch {
    async fn hit(&self) -> TimedOut {
        let total = async {
            match self.total {
                Some((due, after)) => {
                    sleep_until(due).await;
                    TimedOut::new(Limit::Total, after)
                }
                None => std::future::pending().await,
            }
        };
        let unread = async {
            match &self.unread {
                Some((after, unread)) => {
                    unread_for(*after, unread).await;
                    TimedOut::new(Limit::Unread, *after)
                }
                None => std::future::pending().await,
            }
        };
        let (mut total, mut unread) = (pin!(total), pin!(unread));
        poll_fn(|cx| match total.as_mut().poll(cx) {
            Poll::Pending => unread.as_mut().poll(cx),
            hit => hit,
        })
        .await
    }
}

/// Resolves when the reader has asked for nothing for so long. One look each time, not one for each frame.
async fn unread_for(after: Duration, unread: &Unread) {
    loop {
        let since = unread.since();
        let Some(due) = since.unwrap_or_else(Instant::now).checked_add(after) else {
            return std::future::pending().await;
        };
        sleep_until(due).await;
        if since.is_none() || unread.since() != since {
            continue;
        }
        if !unread.probe() {
            return;
        }
        sleep_until(due + after.min(ANSWER)).await;
        if unread.since() == since {
            return;
        }
    }
}
