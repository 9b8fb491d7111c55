//! A piece of memory with whole records in it.

use bytes::{Bytes, BytesMut};

#[derive(Debug)]
pub(super) struct Block {
    pub(super) data: Data,
    /// A block that was frozen in parts is paid for with the last one of them.
    pub(super) cost: usize,
}

#[derive(Debug)]
pub(super) enum Data {
    Written(BytesMut),
    Frozen(Bytes),
}

impl Block {
    pub(super) fn bytes(&self) -> &[u8] {
        match &self.data {
            Data::Written(bytes) => bytes,
            Data::Frozen(bytes) => bytes,
        }
    }

    pub(super) fn written(&mut self) -> Option<&mut BytesMut> {
        match &mut self.data {
            Data::Written(bytes) => Some(bytes),
            Data::Frozen(_) => None,
        }
    }
}
