//! What is read of a response after its client left.

use super::{Cause, Exchange, Outcome, life::Drain};
use crate::{cut::lock, timeouts::Limit, watch::End};

/// How the reading after the client left came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DrainEnd {
    /// The response was read to its end.
    Completed,
    /// The body failed, panicked, or ended too early.
    Failed,
    /// A limit was hit: of bytes, of time, of drains at once, or one of [`TimeoutsLayer`](crate::timeouts).
    Limit,
    /// It was aborted, or the runtime shut down.
    Aborted,
}

/// What was read of a response after its client left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Drained {
    /// Bytes of data taken from the inner body since then.
    pub bytes: u64,
    /// How it came to an end.
    pub end: DrainEnd,
}

impl DrainEnd {
    /// The stable name, for logs, metrics and databases.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Limit => "limit",
            Self::Aborted => "aborted",
        }
    }
}

impl Exchange {
    /// A layer that drains sees the request.
    pub(crate) fn expect_drain(&self) {
        lock(&self.0.life).expect_drain();
    }

    /// Whether a layer that drains has seen the request before: then it stands outside of the caller, which sees the drain.
    pub(crate) fn expects_drain(&self) -> bool {
        lock(&self.0.life).expects_drain()
    }

    /// The client left, and the rest is to be read: records that as the cause. Refused when it left before it had `begun`
    /// to read, and when the exchange has a cause already.
    ///
    /// A client that does not read has left too: whoever gave it up has said so, and that stays the cause. But what was
    /// given up within is gone.
    pub(crate) fn depart(&self, begun: bool) -> bool {
        let mut life = lock(&self.0.life);
        let cause = life.meaning_of(Cause::Disconnected);
        let left = match &life.cause {
            None => begun,
            Some(Cause::TimedOut(hit)) => hit.limit() == Limit::Unread && !life.is_cut_within(),
            Some(_) => false,
        };
        if life.settled || !left {
            return false;
        }
        life.cause.get_or_insert(cause);
        life.drain = Drain::UnderWay;
        self.0.progress.depart();
        true
    }

    /// Somebody ends the drain before the body does. The first one's word stays.
    pub(crate) fn stop_drain(&self, end: DrainEnd) {
        let mut life = lock(&self.0.life);
        if life.drain == Drain::UnderWay {
            life.drain = Drain::Stopped(end);
        }
    }

    /// How the drain ended, if there was one.
    pub(crate) fn drain_end(&self, observed: &End) -> Option<DrainEnd> {
        let life = lock(&self.0.life);
        let told = life.told().map(Cause::outcome);
        match (life.drain, observed) {
            (Drain::None, _) => None,
            (_, End::Panicked(_)) => Some(DrainEnd::Failed),
            // Whatever stopped it came too late.
            _ if told == Some(Outcome::Completed) => Some(DrainEnd::Completed),
            _ if told.is_some() => Some(DrainEnd::Failed),
            (Drain::Stopped(end), _) => Some(end),
            (Drain::UnderWay, End::Completed) => Some(DrainEnd::Completed),
            (Drain::UnderWay, End::Failed | End::Truncated) => Some(DrainEnd::Failed),
            (Drain::UnderWay, End::Dropped | End::Unread) => Some(DrainEnd::Aborted),
        }
    }
}
