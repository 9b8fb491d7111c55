//! Pieces of a request's body, in their order.
//!
//! Every piece is a copy of its own, since a frame of hyper's is a slice of a buffer that is mostly larger: it would
//! hold memory that nobody counts. Small ones are gathered, and large ones are cut: hyper's HTTP/2 client takes a frame
//! before the upstream has room for more than a byte of it, and what it has taken is the upstream's for the clocks.

use std::collections::VecDeque;

use bytes::Bytes;
use http::HeaderMap;
use http_body::Frame;

use super::budget::{Budget, Counted, OVERHEAD};

/// No piece is larger.
pub(super) const BLOCK: usize = 16 * 1024;

#[derive(Debug, Default)]
pub(super) struct Pieces {
    list: VecDeque<Piece>,
    /// Is behind all others.
    tail: Option<Tail>,
    cost: usize,
}

#[derive(Debug)]
pub(super) enum Piece {
    Data(Bytes),
    Trailers(
        HeaderMap,
        #[expect(dead_code, reason = "it is counted as long as it is there")] Counted,
    ),
}

/// Small pieces that are gathered.
#[derive(Debug)]
struct Tail {
    bytes: Vec<u8>,
    counted: Counted,
}

impl Pieces {
    /// What all of it costs.
    pub(super) fn cost(&self) -> usize {
        self.cost
    }

    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty() && self.tail.is_none()
    }

    pub(super) fn push(&mut self, frame: Frame<Bytes>, budget: &Budget) {
        match frame.into_data().map_err(Frame::into_trailers) {
            Ok(data) => data.chunks(BLOCK).for_each(|data| self.push_data(data, budget)),
            Err(Ok(trailers)) => {
                let counted = budget.count(cost_of(&trailers));
                self.push_piece(Piece::Trailers(trailers, counted), budget);
            }
            Err(Err(_unknown)) => {}
        }
    }

    /// Puts a piece that was taken elsewhere behind all others.
    pub(super) fn keep(&mut self, piece: Piece, budget: &Budget) {
        match piece {
            Piece::Data(data) if data.len() < BLOCK => self.push_data(&data, budget),
            piece => self.push_piece(piece, budget),
        }
    }

    /// Takes the first piece.
    pub(super) fn take(&mut self, budget: &Budget) -> Option<Piece> {
        if self.list.is_empty() {
            self.gather(budget);
        }
        let piece = self.list.pop_front()?;
        self.cost -= piece.cost();
        Some(piece)
    }

    /// Puts other pieces behind all of these.
    pub(super) fn append(&mut self, mut others: Self, budget: &Budget) {
        self.gather(budget);
        self.list.append(&mut others.list);
        self.tail = others.tail;
        self.cost += others.cost;
    }

    fn push_data(&mut self, data: &[u8], budget: &Budget) {
        if self.tail.as_ref().is_some_and(|tail| tail.bytes.len() + data.len() > BLOCK) {
            self.gather(budget);
        }
        match &mut self.tail {
            Some(tail) => tail.push(data, budget),
            none => {
                let counted = budget.count(data.len() + OVERHEAD);
                *none = Some(Tail { bytes: data.to_vec(), counted });
                self.cost += OVERHEAD;
            }
        }
        self.cost += data.len();
    }

    fn push_piece(&mut self, piece: Piece, budget: &Budget) {
        self.gather(budget);
        self.cost += piece.cost();
        self.list.push_back(piece);
    }

    /// Makes a piece of the tail.
    fn gather(&mut self, budget: &Budget) {
        if let Some(tail) = self.tail.take() {
            self.list.push_back(Piece::Data(budget.keep(tail.bytes)));
        }
    }
}

impl Tail {
    /// Grows by doubling, and never beyond a block.
    fn push(&mut self, data: &[u8], budget: &Budget) {
        let length = self.bytes.len() + data.len();
        if length > self.bytes.capacity() {
            let capacity = length.max(2 * self.bytes.capacity()).min(BLOCK);
            self.counted = budget.count(capacity + OVERHEAD);
            self.bytes.reserve_exact(capacity - self.bytes.len());
        }
        self.bytes.extend_from_slice(data);
    }
}

impl Piece {
    /// Its bytes of data.
    pub(super) fn length(&self) -> u64 {
        match self {
            Self::Data(data) => data.len() as u64,
            Self::Trailers(..) => 0,
        }
    }

    pub(super) fn frame(&self) -> Frame<Bytes> {
        match self {
            Self::Data(data) => Frame::data(data.clone()),
            Self::Trailers(trailers, _) => Frame::trailers(trailers.clone()),
        }
    }

    fn cost(&self) -> usize {
        match self {
            Self::Data(data) => data.len() + OVERHEAD,
            Self::Trailers(trailers, _) => cost_of(trailers),
        }
    }
}

fn cost_of(trailers: &HeaderMap) -> usize {
    trailers.iter().map(|(name, value)| name.as_str().len() + value.len() + OVERHEAD).sum()
}
