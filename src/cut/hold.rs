//! What keeps a slot in reach of whoever may cut it.

use std::sync::Arc;

use super::{Cut, Slot};
use crate::exchange::{Attached, Cause, Exchange, Knife};

/// Keeps a slot registered until the response has ended, and with it `keep`: a binding to a handle, a watchdog.
#[derive(Debug)]
pub(crate) struct Hold<K> {
    /// Registered with the exchange, or the cause for which it came too late.
    attached: Result<Attached, Cause>,
    keep: Option<K>,
}

impl<K> Hold<K> {
    /// Lets aborts of the exchange reach the slot. If that comes too late the slot is cut.
    pub(crate) fn aborts(exchange: &Exchange, slot: &Arc<impl Cut + 'static>) -> Self {
        let attached = exchange.attach(slot.clone());
        if attached.is_err() {
            slot.cut();
        }
        Self { attached, keep: None }
    }

    /// Lets nothing but its own knife reach the slot.
    pub(crate) fn apart(exchange: &Exchange, slot: &Arc<impl Cut + 'static>) -> (Self, Knife) {
        let attached = exchange.attach_apart(slot.clone());
        let knife = attached.knife();
        (Self { attached: Ok(attached), keep: None }, knife)
    }

    pub(crate) fn keep(&mut self, keep: K) {
        self.keep = Some(keep);
    }

    pub(super) fn swap<T: Send + 'static>(&self, slot: Arc<Slot<T>>) -> Result<(), Cause> {
        self.attached.as_ref().map_err(Clone::clone)?.swap(slot)
    }

    /// The value was polled and put back: it lives on.
    pub(super) fn alive(&self) {
        if let Ok(attached) = &self.attached {
            attached.alive();
        }
    }

    /// Ends the hold: a cut that comes now is too late. Refused, with the cause, when one came before.
    pub(super) fn release(&mut self) -> Result<(), Cause> {
        self.close()?;
        self.keep = None;
        Ok(())
    }

    /// The same for one who only looks: what is kept stays until the end.
    pub(super) fn close(&self) -> Result<(), Cause> {
        self.attached.as_ref().map_err(Clone::clone)?.release()
    }

    /// Why it was cut, if it was.
    pub(crate) fn cause(&self) -> Option<Cause> {
        match &self.attached {
            Ok(attached) => attached.cause(),
            Err(cause) => Some(cause.clone()),
        }
    }
}
