//! How the oldest is let go of.

use super::{
    BLOCK, Cursor, Log, PER_BLOCK,
    block::{Block, Data},
};

impl Log {
    /// Forgets the oldest bytes, even in the middle of a frame.
    pub(crate) fn forget(&mut self, mut bytes: usize) {
        let mut start = self.start;
        while let Some((_, range, behind)) = self.find(start).filter(|_| bytes > 0) {
            if range.len() > bytes {
                let (at, left) = (range.start + bytes, range.len() - bytes);
                start = Cursor {
                    block: behind.block,
                    at,
                    left,
                    bytes: start.bytes + bytes as u64,
                    ..start
                };
                break;
            }
            bytes -= range.len();
            start = behind;
        }
        self.begin_at(start);
    }

    /// Forgets the oldest block but for the last one, which is written: `false` if there is no other.
    pub(crate) fn forget_block(&mut self) -> bool {
        if self.blocks.len() < 2 {
            return false;
        }
        let mut start = self.start;
        while let Some((.., behind)) = self.find(start).filter(|(index, ..)| *index == 0) {
            start = behind;
        }
        (start.block, start.at) = (start.block.max(self.first + 1), 0);
        self.begin_at(start);
        true
    }

    /// Forgets all of it, and where its memory was.
    pub(crate) fn forget_all(&mut self) {
        self.first += self.blocks.len() as u64;
        (self.spare, self.frozen) = (None, 0);
        self.blocks.clear();
        self.release(self.memory);
        self.end = Cursor { block: self.first, at: 0, ..self.end };
        self.start = self.end;
    }

    /// Forgets what is in front of this cursor.
    pub(crate) fn forget_before(&mut self, cursor: Cursor) {
        if cursor.frame > self.start.frame {
            self.begin_at(cursor);
        }
    }

    fn begin_at(&mut self, cursor: Cursor) {
        self.start = cursor;
        while self.first < cursor.block && self.blocks.len() > 1 {
            let Some(mut block) = self.blocks.pop_front() else { break };
            self.first += 1;
            self.frozen = self.frozen.saturating_sub(1);
            if let (None, Data::Written(data)) = (&self.spare, &mut block.data) {
                data.clear();
                self.spare = Some(block);
            } else {
                self.release(block.cost);
            }
        }
        // Of those that are written again none is larger.
        let is_large = |last: &Block| last.cost > BLOCK + PER_BLOCK;
        let is_empty = self.start.frame == self.end.frame;
        if is_empty && self.blocks.back().is_some_and(is_large) {
            self.forget_all();
        }
    }
}
