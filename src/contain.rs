//! Contains panics of user code (hooks, sinks) and of bodies that are being dropped.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    task::Poll,
};

/// Runs `f` and turns a panic into its message.
///
/// A panic that leaves a `Drop` while the thread unwinds aborts the process (truths.md 5), so every call into user
/// code that can happen in a `Drop` goes through here.
pub(crate) fn contain<T>(f: impl FnOnce() -> T) -> Result<T, Arc<str>> {
    catch_unwind(AssertUnwindSafe(f)).map_err(|payload| {
        let message = message(&*payload);
        // The payload is a value of the user's: dropping it could panic again.
        #[allow(clippy::mem_forget)]
        std::mem::forget(payload);
        message
    })
}

/// As [`contain`], for a poll: one that panics is ready with the message.
pub(crate) fn contain_poll<T>(poll: impl FnOnce() -> Poll<T>) -> Poll<Result<T, Arc<str>>> {
    match contain(poll) {
        Ok(polled) => polled.map(Ok),
        Err(message) => Poll::Ready(Err(message)),
    }
}

/// Reads the message of a panic.
pub(crate) fn message(payload: &(dyn Any + Send)) -> Arc<str> {
    let text = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("panic with a payload that is no text").into()
}
