//! Bytes that come in pieces and are wanted in one.

use bytes::{Bytes, BytesMut};

/// Pieces joined; a single one is not copied.
#[derive(Clone, Debug)]
pub(super) enum Joined {
    One(Bytes),
    Many(BytesMut),
}

impl Joined {
    pub(super) const fn new(first: Bytes) -> Self {
        Self::One(first)
    }

    pub(super) fn push(&mut self, piece: &[u8]) {
        if let Self::One(first) = self {
            let mut joined = BytesMut::with_capacity(2 * (first.len() + piece.len()));
            joined.extend_from_slice(first);
            *self = Self::Many(joined);
        }
        if let Self::Many(joined) = self {
            joined.extend_from_slice(piece);
        }
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::One(bytes) => bytes.len(),
            Self::Many(bytes) => bytes.len(),
        }
    }

    pub(super) fn into_bytes(self) -> Bytes {
        match self {
            Self::One(bytes) => bytes,
            Self::Many(bytes) => bytes.freeze(),
        }
    }
}
