//! What a stream has said of its own end, though its body may go on.

#[cfg(feature = "usage")]
use std::sync::atomic::Ordering;

#[cfg(any(feature = "usage", feature = "final-frame"))]
use super::Exchange;
#[cfg(feature = "usage")]
use super::life::Drain;
use super::{Cause, life::Life};
#[cfg(any(feature = "usage", feature = "final-frame"))]
use crate::cut::lock;
use crate::timeouts::Limit;

/// What a stream has said, for whoever reads it to write down: so what its end means does not depend on who sees that first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Said {
    /// Its first terminal event has come: how it ended. What comes behind that changes nothing.
    pub(crate) end: Option<Cause>,
    /// A clean end now would come too early.
    #[cfg(feature = "usage")]
    pub(crate) unfinished: bool,
}

impl Life {
    /// How the stream has ended by its own words, as far as the client's side has read them, and if nothing had ended it before.
    pub(super) fn told(&self) -> Option<&Cause> {
        if self.late {
            return None;
        }
        #[cfg(feature = "replay")]
        if let Some(heard) = &self.heard {
            return heard.as_ref();
        }
        self.said.end.as_ref()
    }

    /// The stream says its end. If that is the first time it is too late behind another cause: whoever aborted it was told so, and
    /// the error is on its way. A client that has left hears nothing of it, but the drain does.
    #[cfg(feature = "usage")]
    const fn ends(&mut self, first: bool) {
        if first {
            self.late = self.cause.is_some() && matches!(self.drain, Drain::None);
        }
    }

    /// What it means that this was observed. Behind the stream's own end it is that, whatever happens; only a panic is not the
    /// upstream's, nor the client's.
    pub(super) fn meaning_of(&self, observed: Cause) -> Cause {
        match self.told() {
            Some(told) if !matches!(observed, Cause::Panicked(_)) => told.clone(),
            _ => observed,
        }
    }

    /// Whether this is a limit on an upstream that has said all, and that somebody will end in time.
    pub(super) fn is_past(&self, cause: &Cause) -> bool {
        let on_upstream = matches!(cause, Cause::TimedOut(hit) if hit.limit() != Limit::Unread);
        self.closes && on_upstream && self.told().is_some()
    }
}

#[cfg(feature = "usage")]
impl Exchange {
    /// The stream says this of its end, in place of what it said before.
    pub(crate) fn say(&self, said: Said) {
        let mut life = lock(&self.0.life);
        self.0.over.store(said.end.is_some(), Ordering::Release);
        life.closes &= said.end.is_some();
        life.late &= said.end.is_some();
        let first = said.end.is_some() && life.said.end.is_none();
        life.ends(first);
        life.said = said;
    }

    /// What the stream has said, whoever has read it by now.
    pub(crate) fn said(&self) -> Said {
        lock(&self.0.life).said.clone()
    }

    /// Whether the stream has said its end. Without a lock.
    pub(crate) fn is_over(&self) -> bool {
        self.0.over.load(Ordering::Acquire)
    }

    /// Somebody will end the stream in time, now that it has said its end.
    pub(crate) fn will_close(&self) {
        lock(&self.0.life).closes = true;
    }
}

#[cfg(feature = "replay")]
impl Exchange {
    /// The client reads what others read, too, and may be behind them: this is what it has heard.
    pub(crate) fn hear(&self, end: Option<Cause>) {
        let mut life = lock(&self.0.life);
        let first = end.is_some() && !matches!(life.heard, Some(Some(_)));
        life.ends(first);
        life.heard = Some(end);
    }
}

#[cfg(feature = "final-frame")]
impl Exchange {
    /// Whether the stream has said its end, and the client's side has read that.
    pub(crate) fn is_told(&self) -> bool {
        lock(&self.0.life).told().is_some()
    }
}
