//! Ready-made futures for [`AbortHandle::abort_when`](super::AbortHandle::abort_when), where a `CancellationToken` has its
//! example.

use std::{fmt::Display, future::poll_fn, pin::pin, sync::Arc, time::Duration};

use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use super::{AbortKind, AbortReason};
use crate::contain::{contain, contain_poll};

/// Waits for a moment, and gives [`AbortKind::Deadline`].
///
/// ```
/// use std::time::Duration;
/// use tokio::time::Instant;
/// use tower_lifeline::abort::{self, AbortHandle, AbortKind};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() {
/// let handle = AbortHandle::new();
/// handle.abort_when(abort::deadline(Instant::now() + Duration::from_secs(600)));
/// assert_eq!(handle.aborted().await.kind(), &AbortKind::Deadline);
/// # }
/// ```
pub async fn deadline(at: Instant) -> AbortReason {
    sleep_until(at).await;
    AbortKind::Deadline.into()
}

/// Asks whether to abort, at once and then at an interval of at least 1 ms, until the answer is a reason.
///
/// For a stop that is written down where all instances of a service read it: a database, Redis. A stop that was written
/// before the run began is found too.
///
/// ```
/// use std::{io, time::Duration};
/// use tower_lifeline::abort::{self, AbortHandle};
///
/// async fn stopped_by(_run: u64) -> io::Result<Option<String>> {
///     Ok(Some("stopped by alice".into())) // SELECT stopped_by FROM runs WHERE id = $1
/// }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let handle = AbortHandle::new();
/// handle.abort_when(abort::ask_every(Duration::from_secs(2), || stopped_by(7)));
/// assert_eq!(handle.aborted().await.text(), "stopped by alice");
/// # }
/// ```
///
/// A store that fails must not stop anybody: an error, or a panic of the check, is a `tracing` warning with the target
/// `tower_lifeline::abort` (without the feature `tracing` it is silent), and the next question comes as planned. There is
/// one question at a time. One that takes longer than the interval is followed by the next at once; one that never ends is
/// for its own timeout.
pub async fn ask_every<F, Fut, R, E>(every: Duration, mut check: F) -> AbortReason
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<Option<R>, E>>,
    R: Into<AbortReason>,
    E: Display,
{
    let mut ticks = interval(every.max(Duration::from_millis(1)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match ask(&mut check).await {
            Ok(Ok(Some(reason))) => return reason.into(),
            Ok(Ok(None)) => {}
            Ok(Err(error)) => failed(&error),
            Err(message) => failed(&format_args!("the check panicked: {message}")),
        }
    }
}

/// Asks once, and turns a panic into its message.
async fn ask<F: FnMut() -> Fut, Fut: Future>(check: &mut F) -> Result<Fut::Output, Arc<str>> {
    let mut answer = pin!(contain(check)?);
    poll_fn(|cx| contain_poll(|| answer.as_mut().poll(cx))).await
}

fn failed(error: &dyn Display) {
    #[cfg(feature = "tracing")]
    tracing::warn!(
        target: "tower_lifeline::abort",
        error = %error,
        "could not ask whether to abort"
    );
    #[cfg(not(feature = "tracing"))]
    let _ = error;
}
