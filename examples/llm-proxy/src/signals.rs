//! When to stop.

use tokio::signal::unix::{SignalKind, signal};

/// Listens for SIGINT and SIGTERM from this call on, and resolves at the first; a process that can not listen for them is
/// stopped by them at once.
pub(crate) fn stop() -> impl Future<Output = ()> {
    let signals = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()));
    async {
        let (Ok(mut interrupt), Ok(mut terminate)) = signals else {
            return std::future::pending().await;
        };
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    }
}
