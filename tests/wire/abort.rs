//! What an abort does over the wire: before the head, in the stream, at the end, and while the client does not read
//! (truths.md 2, 3, 4; faults.md 8, 22-32).

use std::time::Duration;

mod head;
mod many;
mod race;
mod registry;
mod reset;
mod sizes;
mod stream;
mod typed;
mod unread;

/// How long it may take until a client that reads has seen the end (faults.md, W).
const SIGNAL: Duration = Duration::from_millis(250);

/// The middle one of some times. A machine that is busy may hold up one, not half of them.
fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}
