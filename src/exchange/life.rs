//! What ends an exchange: its first cause, and what is to be cut for it.

use std::{
    fmt,
    sync::{Arc, atomic::Ordering},
};

use tokio::runtime::Handle;

use super::{Cause, DrainEnd, Exchange, Inner, Outcome, said::Said};
use crate::{
    abort::{AbortReason, Listen},
    cut::{Cut, Cutting, lock},
};

#[derive(Default)]
pub(super) struct Life {
    pub(super) cause: Option<Cause>,
    /// An end has been reported, and nobody has polled on since: what is on its way to the reader can not be cut.
    pub(super) settled: bool,
    /// The abort of the exchange as a whole, if there was one: for slots that come later.
    aborted: Option<Cause>,
    pub(super) drain: Drain,
    /// What the stream has said of its end.
    pub(super) said: Said,
    /// What of that the client's side has read, where it reads at a pace of its own.
    #[cfg(feature = "replay")]
    pub(super) heard: Option<Option<Cause>>,
    /// It was said behind another cause.
    pub(super) late: bool,
    /// Somebody ends the stream in time, behind the end that it has said.
    pub(super) closes: bool,
    /// From which place on they are inside of a layer that drains, once it has seen the request.
    drains: Option<u64>,
    places: Vec<Place>,
    /// The next place's; never used twice.
    id: u64,
    runtime: Option<Handle>,
}

/// Whether the client has left while the rest is still read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Drain {
    #[default]
    None,
    UnderWay,
    /// Something other than the body ended it.
    Stopped(DrainEnd),
}

/// Where a slot is registered.
struct Place {
    id: u64,
    /// Goes with an abort of the exchange. The others are cut one by one.
    aborts: bool,
    /// `None` once it was cut.
    slot: Option<Arc<dyn Cut>>,
    cut: Option<Cause>,
}

impl Life {
    fn place(&mut self, id: u64) -> Option<&mut Place> {
        self.places.iter_mut().find(|place| place.id == id)
    }

    fn add(&mut self, slot: Arc<dyn Cut>, aborts: bool) -> u64 {
        if self.runtime.is_none() {
            self.runtime = Handle::try_current().ok();
        }
        let id = self.id;
        self.id += 1;
        self.places.push(Place { id, aborts, slot: Some(slot), cut: None });
        id
    }

    /// A layer that drains sees the request: whoever sees it from now on stands inside of that layer.
    pub(super) fn expect_drain(&mut self) {
        self.drains = Some(self.id);
    }

    pub(super) fn expects_drain(&self) -> bool {
        self.drains.is_some()
    }

    /// Whether something was cut inside of the layer that drains, so that nothing is left for it.
    pub(super) fn is_cut_within(&self) -> bool {
        let within = |place: &Place| self.drains.is_some_and(|from| place.id >= from);
        self.places.iter().any(|place| place.cut.is_some() && within(place))
    }

    /// Sets the cause of a cut. Returns whether it is what ends the exchange, or else the drain of it.
    fn cut_for(&mut self, cause: &Cause) -> bool {
        let stops = self.drain == Drain::UnderWay;
        if stops {
            let aborted = cause.outcome() == Outcome::Aborted;
            let end = if aborted { DrainEnd::Aborted } else { DrainEnd::Limit };
            self.drain = Drain::Stopped(end);
        }
        let first = self.cause.is_none();
        self.cause.get_or_insert_with(|| cause.clone());
        first || stops
    }
}

impl Exchange {
    /// Registers a slot to be cut when the exchange is aborted; refused, with the cause, when it already was.
    pub(crate) fn attach(&self, slot: Arc<dyn Cut>) -> Result<Attached, Cause> {
        let mut life = lock(&self.0.life);
        match &life.aborted {
            Some(cause) => Err(cause.clone()),
            None => Ok(Attached { exchange: self.clone(), id: life.add(slot, true) }),
        }
    }

    /// Takes back the cause of an attempt that failed before its head went out, so that another may end well. An abort and
    /// a client that left, or that was given up, hold for every attempt, and what was reported stays so.
    pub(crate) fn forgive(&self) {
        let mut life = lock(&self.0.life);
        let outcome = life.cause.as_ref().map(Cause::outcome);
        let forgivable = matches!(
            outcome,
            Some(Outcome::Failed | Outcome::Truncated | Outcome::TimedOut | Outcome::Panicked)
        );
        let cut = life.places.iter().any(|place| place.cut.is_some());
        let left = life.drain != Drain::None;
        if forgivable && !life.settled && !cut && !left && life.aborted.is_none() {
            life.cause = None;
        }
    }

    /// Registers a slot that is cut by its own [`Knife`] only.
    ///
    /// The limits of an attempt: what one before it left as a cause does not count.
    pub(crate) fn attach_apart(&self, slot: Arc<dyn Cut>) -> Attached {
        self.forgive();
        Attached { exchange: self.clone(), id: lock(&self.0.life).add(slot, false) }
    }
}

impl Listen for Inner {
    fn abort(&self, reason: &AbortReason, cuttings: &mut Vec<Cutting>) -> bool {
        let aborted = Cause::Aborted(reason.clone());
        let mut life = lock(&self.life);
        // Behind the stream's own end there is nothing to abort: it ends at once, as it said.
        let cause = life.meaning_of(aborted.clone());
        let aborts = cause.outcome() == Outcome::Aborted;
        let reach = |place: &&mut Place| place.aborts && place.cut.is_none();
        if life.settled || !life.places.iter_mut().any(|place| reach(&place)) {
            return false;
        }
        let first = life.cut_for(&cause) && aborts;
        let mut slots = Vec::new();
        for place in life.places.iter_mut().filter(reach) {
            place.cut = Some(cause.clone());
            slots.extend(place.slot.take());
        }
        life.aborted = Some(aborted);
        slots.iter().for_each(|slot| slot.doom());
        cuttings.push(Cutting { slots, runtime: life.runtime.clone() });
        first
    }
}

/// Keeps a slot registered with its exchange.
pub(crate) struct Attached {
    exchange: Exchange,
    id: u64,
}

impl Attached {
    /// Replaces the slot by another without a moment in between. Refused when it was cut.
    pub(crate) fn swap(&self, slot: Arc<dyn Cut>) -> Result<(), Cause> {
        let mut life = lock(&self.exchange.0.life);
        let Some(place) = life.place(self.id) else { return Ok(()) };
        if let Some(cause) = &place.cut {
            return Err(cause.clone());
        }
        let known = place.slot.replace(slot);
        drop(life);
        drop(known); // Outside of the lock: it may hold a future.
        Ok(())
    }

    /// Why it was cut, if it was.
    pub(crate) fn cause(&self) -> Option<Cause> {
        lock(&self.exchange.0.life).place(self.id)?.cut.clone()
    }

    /// Takes the slot out of danger. Refused when it was cut: then that is how it ends, whatever the reader saw.
    pub(crate) fn release(&self) -> Result<(), Cause> {
        let mut life = lock(&self.exchange.0.life);
        let Some(at) = life.places.iter().position(|place| place.id == self.id) else {
            return Ok(());
        };
        if let Some(cause) = &life.places[at].cut {
            return Err(cause.clone());
        }
        let known = life.places.swap_remove(at);
        drop(life);
        drop(known);
        Ok(())
    }

    /// What is in the slot lives on: if an end was reported, it was that of an attempt, and another is under way.
    pub(crate) fn alive(&self) {
        let inner = &self.exchange.0;
        if inner.reported.load(Ordering::Acquire) {
            let mut life = lock(&inner.life);
            life.settled = false;
            inner.reported.store(false, Ordering::Release);
        }
    }

    /// What cuts this slot and no other.
    pub(crate) fn knife(&self) -> Knife {
        Knife { exchange: self.exchange.clone(), id: self.id }
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        let mut life = lock(&self.exchange.0.life);
        let at = life.places.iter().position(|place| place.id == self.id);
        let known = at.map(|at| life.places.swap_remove(at));
        drop(life);
        drop(known);
    }
}

/// Cuts one slot of an exchange. Does nothing when the slot is no longer registered.
#[derive(Clone, Debug)]
pub(crate) struct Knife {
    exchange: Exchange,
    id: u64,
}

impl Knife {
    /// Sets the cause, then drops what is in the slot, here and now, and wakes its reader. Returns `false` for a limit that no
    /// longer holds, because the stream has said its end.
    pub(crate) fn cut(&self, cause: &Cause) -> bool {
        let mut life = lock(&self.exchange.0.life);
        if life.is_past(cause) {
            return false;
        }
        let cause = &life.meaning_of(cause.clone());
        let settled = life.settled;
        let Some(place) = life.place(self.id).filter(|place| place.cut.is_none() && !settled)
        else {
            return true;
        };
        place.cut = Some(cause.clone());
        let slot = place.slot.take();
        life.cut_for(cause);
        drop(life);
        if let Some(slot) = slot {
            slot.cut();
        }
        true
    }
}

impl fmt::Debug for Attached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Attached").field(&self.exchange).finish()
    }
}
