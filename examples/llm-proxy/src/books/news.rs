//! What is new, for somebody who looks again and again.

use std::sync::Arc;

use serde::Serialize;

use super::{Books, Minute, Row, Stream, minutes::MINUTES};

#[cfg(test)]
mod tests;

/// So many endings are told at most.
pub(crate) const NEW_ENDINGS: usize = 50;
/// So many streams are told of at most: the oldest.
pub(crate) const STREAMS: usize = 2_000;

/// What is so at the moment, and the endings that the last look did not see.
#[derive(Debug, Serialize)]
pub(crate) struct News {
    live: usize,
    draining: usize,
    /// All endings so far.
    ended: u64,
    /// Oldest first.
    streams: Vec<Stream>,
    /// Newest first.
    endings: Vec<Arc<Row>>,
    /// Oldest first; the last one is not over yet.
    minutes: [Minute; MINUTES],
}

/// How far somebody has seen. The first look sees the last endings.
#[derive(Debug, Default)]
pub(crate) struct Seen(u64);

impl Books {
    /// What is new; what is remembered of those who look is only how far they have seen.
    pub(crate) fn news(&self, seen: &mut Seen) -> News {
        let mut pages = self.pages();
        // Under one lock: an exchange is either here or gone.
        let live: Vec<_> =
            pages.live.iter().map(|(id, entry)| (id.clone(), entry.clone())).collect();
        let unseen = usize::try_from(pages.ended_ever - seen.0).unwrap_or(usize::MAX);
        let endings = pages.endings.iter().rev().take(unseen.min(NEW_ENDINGS)).cloned().collect();
        *seen = Seen(pages.ended_ever);
        let (ended, minutes) = (pages.ended_ever, pages.minutes.last());
        drop(pages);

        let mut live: Vec<_> = live
            .into_iter()
            .map(|(id, entry)| {
                let begun = (entry.exchange.started(), entry.exchange.id());
                (begun, Stream::of(id, &entry.exchange, entry.asked))
            })
            .collect();
        live.sort_unstable_by_key(|(begun, _)| *begun);
        let mut streams: Vec<Stream> = live.into_iter().map(|(_, stream)| stream).collect();
        let draining = streams.iter().filter(|stream| stream.is_draining()).count();
        let live = streams.len();
        streams.truncate(STREAMS);
        News { live, draining, ended, streams, endings, minutes }
    }
}
