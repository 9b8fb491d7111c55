//! The last seconds of a stream that has said its end, but goes on.

use std::{
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use http_body::{Body, Frame};
use tokio::{
    runtime::Handle,
    task::AbortHandle,
    time::{Instant, sleep_until},
};

use crate::cut::{Cut, Slot, lock};

/// Behind the last event. Usage may follow a terminal event, and comes with it if it does.
const QUIET: Duration = Duration::from_secs(1);

/// Behind the terminal event.
const ALL: Duration = Duration::from_secs(5);

type Polled<B> = Option<Result<Frame<<B as Body>::Data>, <B as Body>::Error>>;

/// A body that a task takes away when its time has passed, polled or not: hyper asks for nothing while its client does not read
/// (truths.md 2).
pub(super) struct Closing<B> {
    slot: Arc<Slot<Pin<Box<B>>>>,
    last: Arc<Mutex<Instant>>,
    /// `None`: there is no runtime, and so no time.
    task: Option<AbortHandle>,
}

impl<B: Body + Send + 'static> Closing<B> {
    /// The terminal event has just come from this body.
    pub(super) fn of(body: Pin<Box<B>>) -> Self {
        let slot = Slot::new();
        drop(slot.put(body)); // A new slot takes it.
        let began = Instant::now();
        let last = Arc::new(Mutex::new(began));
        let task = Handle::try_current().ok().map(|runtime| {
            let (slot, last) = (slot.clone(), last.clone());
            let task = async move {
                loop {
                    let due = (*lock(&last) + QUIET).min(began + ALL);
                    if due <= Instant::now() {
                        break;
                    }
                    sleep_until(due).await;
                }
                slot.cut();
            };
            runtime.spawn(task).abort_handle()
        });
        Self { slot, last, task }
    }

    /// Another event came.
    pub(super) fn progress(&self) {
        *lock(&self.last) = Instant::now();
    }

    /// Polls the body. `None`: it has ended, or its time has passed.
    pub(super) fn poll(&self, cx: &mut Context<'_>) -> Poll<Polled<B>> {
        let Some(mut body) = self.slot.take() else { return Poll::Ready(None) };
        match body.as_mut().poll_frame(cx) {
            Poll::Pending => match self.slot.put_and_wait(body, cx.waker()) {
                Ok(()) => Poll::Pending,
                Err(_) => Poll::Ready(None), // Taken away while it was polled.
            },
            Poll::Ready(polled) => {
                drop(self.slot.put(body));
                Poll::Ready(polled)
            }
        }
    }
}

impl<B> Drop for Closing<B> {
    fn drop(&mut self) {
        drop(self.slot.take()); // At once: the task has a hand on the slot until the runtime drops it.
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}
