//! The end of the process: no stream is cut without a word, and none without an ending.

use std::{future::pending, time::Duration};

use tokio::time::{sleep, timeout};
use tower_lifeline::{
    abort::{AbortHandle, AbortKind},
    finalize::FinalizeTracker,
};

use crate::{serve::Connections, signals::Signals};

/// For clients that read to get what was left for them, and what they were told at the end.
const FLUSH: Duration = Duration::from_secs(2);

/// Lets what is under way finish for at most `grace`, or until the next signal; then aborts the rest of it through
/// `all`, and waits for its endings, where there are any.
pub(crate) async fn shutdown(
    connections: Connections,
    grace: Option<Duration>,
    mut signals: Signals,
    all: &AbortHandle,
    endings: Option<&FinalizeTracker>,
) {
    let mut finished = Box::pin(async {
        tokio::select! {
            () = connections.close() => {}
            () = nothing_left(endings) => {}
        }
        // A stream may outlive its connection: it is drained, and counts as any other.
        ended(endings).await;
    });
    tokio::select! {
        () = &mut finished => return,
        () = over(grace) => {}
        () = signals.next() => {}
    }
    all.abort(AbortKind::Shutdown);
    if timeout(FLUSH, &mut finished).await.is_err() {
        // Whoever does not read has had his time.
        drop(finished);
        ended(endings).await;
    }
}

/// Connections without an exchange, or whose clients do not read, are worth no more than this.
async fn nothing_left(endings: Option<&FinalizeTracker>) {
    let Some(endings) = endings else { return pending().await };
    loop {
        endings.drained().await;
        sleep(FLUSH).await;
        // The rest of a request may have come in the meantime.
        if endings.live() == 0 {
            return;
        }
    }
}

async fn ended(endings: Option<&FinalizeTracker>) {
    if let Some(endings) = endings {
        endings.drained().await;
    }
}

async fn over(grace: Option<Duration>) {
    match grace {
        Some(grace) => sleep(grace).await,
        None => pending().await,
    }
}
