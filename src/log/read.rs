//! How frames are found again, and handed out.

use std::{ops::Range, time::Duration};

use bytes::{Bytes, BytesMut};

#[cfg(feature = "replay")]
use super::PER_BLOCK;
use super::{
    Cursor, Log,
    block::{Block, Data},
    record::Header,
};

impl Log {
    /// Where the record at the cursor lies, and the cursor behind it.
    pub(super) fn find(&self, mut cursor: Cursor) -> Option<(usize, Range<usize>, Cursor)> {
        if cursor.frame >= self.end.frame {
            return None;
        }
        if cursor.frame == self.start.frame {
            // It may be in a block that is gone since.
            cursor = self.start;
        }
        loop {
            let index = usize::try_from(cursor.block.checked_sub(self.first)?).ok()?;
            let bytes = self.blocks.get(index)?.bytes();
            if cursor.at >= bytes.len() {
                (cursor.block, cursor.at) = (cursor.block + 1, 0);
                continue;
            }
            let (length, since, from) = if cursor.left > 0 {
                (cursor.left, Duration::ZERO, cursor.at)
            } else {
                let (length, since, header) = Header::read(bytes.get(cursor.at..)?, self.timed)?;
                (length, since, cursor.at + header)
            };
            let to = from + length;
            let behind =
                Cursor { block: cursor.block, at: to, left: 0, ..cursor.behind(length, since) };
            return Some((index, from..to, behind));
        }
    }

    /// The frames from the oldest on.
    pub(crate) fn frames(&self) -> impl Iterator<Item = &[u8]> {
        let mut cursor = self.start;
        std::iter::from_fn(move || {
            let (index, range, behind) = self.find(cursor)?;
            cursor = behind;
            self.blocks.get(index)?.bytes().get(range)
        })
    }

    /// All of it in one piece.
    pub(crate) fn to_bytes(&self) -> Bytes {
        let mut all = BytesMut::with_capacity(self.bytes());
        self.frames().for_each(|frame| all.extend_from_slice(frame));
        all.freeze()
    }
}

impl Log {
    /// The next frame of this cursor, with the time that it came at.
    pub(crate) fn read(&mut self, cursor: &mut Cursor) -> Option<(Duration, Bytes)> {
        let (index, ..) = self.find(*cursor)?;
        if index >= self.frozen {
            self.freeze();
        }
        self.read_frozen(cursor)
    }

    /// The same. What was not frozen is copied.
    pub(crate) fn read_frozen(&self, cursor: &mut Cursor) -> Option<(Duration, Bytes)> {
        let (index, range, behind) = self.find(*cursor)?;
        let frame = match &self.blocks.get(index)?.data {
            Data::Frozen(bytes) => bytes.slice(range),
            Data::Written(bytes) => Bytes::copy_from_slice(bytes.get(range)?),
        };
        *cursor = behind;
        Some((behind.after, frame))
    }

    /// Makes slices of what was written so far possible. What is left of the last block is written on: another block in the
    /// list, for the place of which there may be no memory. Then what is read of this one is copied.
    fn freeze(&mut self) {
        let blocks = self.blocks.len();
        while let Some(block) = self.blocks.get_mut(self.frozen) {
            let Data::Written(data) = &mut block.data else { break };
            let is_last = self.frozen + 1 == blocks;
            if !is_last || data.capacity() == data.len() {
                block.data = Data::Frozen(data.split().freeze());
                self.frozen += 1;
                continue;
            }
            if data.is_empty() || !self.charge(size_of::<Block>()) {
                break;
            }
            let Some(mut block) = self.blocks.pop_back() else { break };
            if let Data::Written(data) = &mut block.data {
                let written = Data::Frozen(data.split().freeze());
                self.blocks.push_back(Block { data: written, cost: size_of::<Block>() });
                self.blocks.push_back(block);
                self.frozen += 1;
            }
            break;
        }
    }
}

#[cfg(feature = "replay")]
impl Log {
    /// The time of the next frame of this cursor.
    pub(crate) fn time(&self, cursor: Cursor) -> Option<Duration> {
        self.find(cursor).map(|(.., behind)| behind.after)
    }

    /// A copy of the frames that it holds, but for empty ones, in a block of just their size, which takes nothing from a budget.
    pub(crate) fn sealed(&self) -> Self {
        let capacity = self.blocks.iter().map(|block| block.bytes().len()).sum();
        let (data, cost) = (Data::Written(BytesMut::with_capacity(capacity)), capacity + PER_BLOCK);
        let mut sealed = Self { timed: self.timed, memory: cost, ..Self::new(None) };
        sealed.blocks.push_back(Block { data, cost });
        let mut cursor = self.start;
        while let Some((index, range, behind)) = self.find(cursor) {
            cursor = behind;
            let frame = self.blocks.get(index).and_then(|block| block.bytes().get(range));
            if let Some(frame) = frame.filter(|frame| !frame.is_empty()) {
                sealed.append(frame, behind.after);
            }
        }
        sealed.freeze();
        sealed
    }
}
