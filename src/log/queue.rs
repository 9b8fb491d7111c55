//! Frames that were read and wait to be handed on: first in, first out.

use std::time::Duration;

use bytes::Bytes;

use super::{Budget, Cursor, Log};

/// Frames that wait. Each is a copy, so that whatever waits costs what is counted, however small it was cut.
#[derive(Debug)]
pub(crate) struct Queue {
    log: Log,
    next: Cursor,
}

impl Queue {
    pub(crate) fn new(budget: Option<Budget>) -> Self {
        Self { log: Log::new(budget), next: Cursor::default() }
    }

    /// Takes a frame, unless there is no memory for it.
    pub(crate) fn push(&mut self, frame: &[u8]) -> bool {
        self.log.append(frame, Duration::ZERO)
    }

    /// The next one. What was handed out is a slice of the memory that is given back with the last slice of it.
    pub(crate) fn pop(&mut self) -> Option<Bytes> {
        let (_, frame) = self.log.read(&mut self.next)?;
        if self.is_empty() {
            self.clear();
        } else {
            self.log.forget_before(self.next);
        }
        Some(frame)
    }

    pub(crate) fn clear(&mut self) {
        self.log.forget_all();
        self.next = self.log.end();
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.next.frame == self.log.end().frame
    }

    /// The bytes of the frames.
    pub(crate) const fn bytes(&self) -> u64 {
        self.log.end().bytes - self.next.bytes
    }

    /// The memory that they take.
    pub(crate) const fn memory(&self) -> usize {
        self.log.memory()
    }

    /// All of it in one piece: a copy, unless it is one frame.
    #[cfg(feature = "usage")]
    pub(crate) fn in_one_piece(&mut self) -> Bytes {
        let mut cursor = self.next;
        match self.log.read(&mut cursor) {
            Some((_, frame)) if cursor.frame == self.log.end().frame => frame,
            _ => self.log.to_bytes(),
        }
    }
}
