//! Bytes that come in pieces and are wanted in one.

use bytes::{Bytes, BytesMut};

/// Pieces joined; a single one is not copied.
#[derive(Clone, Debug)]
pub(crate) enum Joined {
    One(Bytes),
    Many(BytesMut),
}

impl Joined {
    pub(crate) const fn new(first: Bytes) -> Self {
        Self::One(first)
    }

    pub(crate) fn push(&mut self, piece: &[u8]) {
        if let Self::One(first) = self {
            let mut joined = BytesMut::with_capacity(2 * (first.len() + piece.len()));
            joined.extend_from_slice(first);
            *self = Self::Many(joined);
        }
        if let Self::Many(joined) = self {
            joined.extend_from_slice(piece);
        }
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        match self {
            Self::One(bytes) => bytes,
            Self::Many(bytes) => bytes,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.as_slice().len()
    }

    pub(crate) fn into_bytes(self) -> Bytes {
        match self {
            Self::One(bytes) => bytes,
            Self::Many(bytes) => bytes.freeze(),
        }
    }
}
