//! One bounded, append-only log of the frames of a body, which all that keep one share: the recording of a
//! [`TeeLayer`](crate::tee::TeeLayer), an answer on its way into a replay store, the readers who share a call.
//!
//! A frame is copied, be it small or large, and so are the values of a head ([`headers`]): a clone of a `Bytes` pins the
//! whole buffer that it is a slice of, which nobody can ask for its size (256 bytes of hyper's pin 8 KiB and more, a slice of a
//! file that somebody mapped all of it), and makes the reader of the connection allocate another one. Only a copy has a
//! cost that is known.
//!
//! # How it is laid out
//!
//! Blocks of memory, each with whole records one behind the other. A record is the length of the frame, in a timed log the
//! microseconds since the frame before, both as a number of 7 bits to the byte, and the frame itself. So a frame of a single
//! byte costs two.
//!
//! | block | its size |
//! |---|---|
//! | the first | 512 bytes, or what its first frame takes |
//! | another one | as much as all before it, at most 16 KiB |
//! | for a record of more than 4 KiB | just its size |
//! | one that is left with more than a quarter of it empty | is moved to one of just its size |
//!
//! # What always holds
//!
//! 1. What was appended and not forgotten reads as it was: the same frames with the same times, from whatever [`Cursor`].
//! 2. A record lies in one block, so that a frame can be handed out without another copy, as a slice of that.
//! 3. [`memory`](Log::memory) is what the blocks take, whoever reads them: their capacities, and 128 bytes that each costs by
//!    itself. It is at most twice the bytes held and a hundredth, in a timed log with 10 bytes more for a frame, plus one block.
//! 4. The memory, but for what is [exempt](Log::exempt), is taken from the budget before it is allocated, and given back when it
//!    is freed. An append for which there is none changes nothing.
//! 5. Only the oldest is forgotten. A cursor in front of what is left reads nothing any more.
//! 6. Steady appending and forgetting allocates nothing: the block that was forgotten last is written again.

mod block;
mod budget;
mod forget;
mod headers;
mod queue;
mod read;
mod record;
#[cfg(test)]
mod tests;

use std::{collections::VecDeque, time::Duration};

use bytes::BytesMut;

pub use self::budget::Budget;
use self::{
    block::{Block, Data},
    record::Header,
};
pub(crate) use self::{
    budget::Share, headers::compact, headers::memory as head_memory, queue::Queue, record::Cursor,
};

const SMALLEST: usize = 512;
/// Of a block that holds more than one record, unless the first one takes more.
pub(crate) const BLOCK: usize = 16 * 1024;
/// What a block costs besides its bytes: its place here, the count of who holds it, and what an allocator adds to both.
const PER_BLOCK: usize = 128;

/// The log. See the [module](self).
#[derive(Debug)]
pub(crate) struct Log {
    blocks: VecDeque<Block>,
    /// The number of the first of them.
    first: u64,
    /// So many of them are frozen.
    frozen: usize,
    start: Cursor,
    end: Cursor,
    timed: bool,
    /// Of the blocks.
    memory: usize,
    /// Of what is kept besides.
    held: usize,
    spare: Option<Block>,
    share: Share,
    exempt: usize,
}

impl Log {
    pub(crate) fn new(budget: Option<Budget>) -> Self {
        Self {
            blocks: VecDeque::new(),
            first: 0,
            frozen: 0,
            start: Cursor::default(),
            end: Cursor::default(),
            timed: false,
            memory: 0,
            held: 0,
            spare: None,
            share: Share::of(budget),
            exempt: 0,
        }
    }

    /// Keeps the time of each frame, too.
    #[cfg(feature = "replay")]
    pub(crate) const fn timed(mut self) -> Self {
        self.timed = true;
        self
    }

    /// So many bytes of memory are not asked of the budget from now on.
    #[cfg(feature = "replay")]
    pub(crate) fn exempt(&mut self, bytes: usize) {
        self.exempt = bytes;
        self.charge(0);
    }

    /// The bytes of the frames that it holds.
    pub(crate) const fn bytes(&self) -> usize {
        // Less than what was allocated.
        (self.end.bytes - self.start.bytes) as usize
    }

    /// What it takes to hold them.
    pub(crate) const fn memory(&self) -> usize {
        self.memory + self.held
    }

    /// Has so much memory more for what is kept with it; `false` if there is not as much.
    pub(crate) fn hold(&mut self, bytes: usize) -> bool {
        self.held += bytes;
        let granted = self.charge(0);
        if !granted {
            self.held -= bytes;
        }
        granted
    }

    /// Where the oldest frame begins that it holds.
    pub(crate) const fn start(&self) -> Cursor {
        self.start
    }

    /// Where the next frame will begin.
    pub(crate) const fn end(&self) -> Cursor {
        self.end
    }

    /// Appends a frame that came at this time after the first one could; `false` if there is no memory for it.
    pub(crate) fn append(&mut self, frame: &[u8], after: Duration) -> bool {
        let header = self.header(frame.len(), after);
        let needed = header.as_slice().len() + frame.len();
        if !self.make_room(needed) {
            return false;
        }
        self.write(&header, frame);
        true
    }

    /// Appends what fits of a frame into the memory that is there already, and tells how much that was.
    pub(crate) fn append_beginning(&mut self, frame: &[u8], after: Duration) -> usize {
        let room = self.room();
        let header = self.header(frame.len().min(room), after);
        let kept = frame.len().min(room.saturating_sub(header.as_slice().len()));
        if kept > 0 {
            self.write(&self.header(kept, after), &frame[..kept]);
        }
        kept
    }

    fn header(&self, bytes: usize, after: Duration) -> Header {
        Header::new(bytes, self.timed.then(|| after.saturating_sub(self.end.after)))
    }

    fn write(&mut self, header: &Header, frame: &[u8]) {
        let Some(block) = self.blocks.back_mut().and_then(Block::written) else { return };
        block.extend_from_slice(header.as_slice());
        block.extend_from_slice(frame);
        let at = block.len();
        // The block is the last one.
        let last = self.first + (self.blocks.len() - 1) as u64;
        self.end =
            Cursor { block: last, at, left: 0, ..self.end.behind(frame.len(), header.since()) };
    }

    /// What can be written without more memory.
    fn room(&mut self) -> usize {
        let block = self.blocks.back_mut().and_then(Block::written);
        block.map_or(0, |block| block.capacity() - block.len())
    }

    fn make_room(&mut self, needed: usize) -> bool {
        if self.room() >= needed {
            return true;
        }
        let spare =
            self.spare.take_if(|spare| spare.written().is_some_and(|it| it.capacity() >= needed));
        if let Some(spare) = spare {
            self.leave_block();
            self.blocks.push_back(spare);
            return true;
        }
        self.drop_spare();
        let grown = self.memory.clamp(SMALLEST, BLOCK);
        let wanted = if needed > BLOCK / 4 { needed } else { needed.max(grown) };
        for capacity in [wanted, needed] {
            let cost = capacity + PER_BLOCK;
            if self.charge(cost) {
                self.leave_block();
                let data = Data::Written(BytesMut::with_capacity(capacity));
                self.blocks.push_back(Block { data, cost });
                return true;
            }
        }
        false
    }

    /// Has so much more memory, if the budget has it.
    fn charge(&mut self, more: usize) -> bool {
        let memory = self.memory + more;
        let granted = self.share.set((memory + self.held).saturating_sub(self.exempt));
        if granted {
            self.memory = memory;
        }
        granted
    }

    fn release(&mut self, bytes: usize) {
        self.memory -= bytes;
        self.charge(0);
    }

    fn drop_spare(&mut self) {
        if let Some(spare) = self.spare.take() {
            self.release(spare.cost);
        }
    }

    /// Gives up the rest of the last block, which is not to be written any more.
    fn leave_block(&mut self) {
        let Some(block) = self.blocks.back_mut() else { return };
        let cost = block.cost;
        let Some(data) = block.written() else { return };
        // Where slices of its beginning are out, moving the rest would free nothing.
        let whole = data.capacity() + PER_BLOCK == cost;
        if whole && data.len() < data.capacity() - data.capacity() / 4 {
            *data = BytesMut::from(&data[..]);
            let less = cost.saturating_sub(data.capacity() + PER_BLOCK);
            block.cost -= less;
            self.release(less);
        }
    }
}
