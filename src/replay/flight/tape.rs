//! The frames of an answer that several readers share: all of it while it can be joined, then what the slowest has not read.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, SizeHint};
use slab::Slab;

use super::{Place, SharedBody, Terms};
use crate::{
    error::BoxError,
    exchange::Cause,
    replay::{error::SharedFailure, recorder::frames_at_most},
    tee::Share,
    usage::Terminator,
};

/// Of each answer so many bytes are held for slow readers whatever the budget says, and more if it was [reserved](Tape::reserve).
pub(super) const FLOOR: usize = 64 * 1024;

pub(super) struct Tape {
    frames: VecDeque<Kept>,
    /// What nobody needs any more: to be dropped outside of the lock, for a frame may be anything.
    gone: Vec<Bytes>,
    /// The number of the first of them.
    first: usize,
    held: usize,
    share: Share,
    streamed: u64,
    limit: usize,
    /// So many bytes need nothing of the budget where nobody can join any more.
    floor: usize,
    /// What the head announced, which those who joined have from their size only.
    expected: Option<u64>,
    rest: Rest,
    end: Option<Ended>,
    told: Option<Told>,
}

struct Kept {
    data: Bytes,
    /// So many have not read it.
    left: usize,
}

/// What the body says of what is to come.
pub(super) struct Rest {
    hint: SizeHint,
    pub(super) is_none: bool,
}

pub(super) enum Ended {
    Clean(Option<HeaderMap>),
    /// Nobody else was there: as it came, until it is given.
    Own(Option<Unclean>),
    Shared(SharedFailure),
}

pub(super) enum Unclean {
    Failed(BoxError),
    Panicked(Arc<str>),
    /// Not the answer did, but this reader.
    FellBehind,
}

/// What is known of the end besides the end itself: why, as far as that was told otherwise than by an error, and whether the
/// terminator was seen.
#[derive(Clone)]
pub(super) struct Told {
    pub(super) cause: Option<Cause>,
    pub(super) terminator: Option<Terminator>,
}

impl Rest {
    pub(super) fn of(body: &SharedBody) -> Self {
        Self { hint: body.size_hint(), is_none: body.is_end_stream() }
    }
}

impl Tape {
    pub(super) fn new(terms: &Terms) -> Self {
        Self {
            frames: VecDeque::new(),
            gone: Vec::new(),
            first: 0,
            held: 0,
            share: Share::of(terms.budget.clone()),
            streamed: 0,
            limit: terms.limit,
            floor: FLOOR,
            expected: None,
            rest: Rest { hint: SizeHint::new(), is_none: false },
            end: None,
            told: None,
        }
    }

    pub(super) const fn expect(&mut self, bytes: Option<u64>) {
        self.expected = bytes;
    }

    /// What follows now, and what is known of the end if that is nothing.
    pub(super) fn rest(&mut self, rest: Rest, told: Option<Told>) {
        self.rest = rest;
        self.told = told;
    }

    pub(super) fn end(&mut self, end: Ended, told: Told) {
        self.end = Some(end);
        self.told = Some(told);
        self.trim();
    }

    /// Whether all of it has come, for all that is known.
    pub(super) const fn is_there(&self) -> bool {
        self.end.is_some() || self.rest.is_none
    }

    pub(super) fn told(&self) -> Option<Told> {
        self.told.clone()
    }

    /// So many bytes for slow readers are there already.
    pub(super) const fn reserve(&mut self, bytes: usize) {
        self.floor = bytes;
    }

    /// Somebody joined, who is to get all from the beginning.
    pub(super) fn joined(&mut self) {
        self.frames.iter_mut().for_each(|kept| kept.left += 1);
    }

    /// Somebody left who would have read this frame next.
    pub(super) fn left(&mut self, next: usize) {
        let from = next.saturating_sub(self.first);
        self.frames.iter_mut().skip(from).for_each(|kept| kept.left -= 1);
    }

    /// Keeps a frame for all who are there. Tells whether all of it can be kept for those who are not there yet, too: of half
    /// the limit at most, so that who joins last has as much room to be slow in.
    pub(super) fn push(&mut self, data: Bytes, places: &mut Slab<Place>, open: bool) -> bool {
        self.held += data.len();
        self.streamed += data.len() as u64;
        self.frames.push_back(Kept { data, left: places.len() });
        places.iter().filter(|(_, place)| place.fell_behind).for_each(|_| self.forget_last());
        if open && self.is_within(self.limit / 2) && self.share.set(self.held) {
            return true;
        }
        self.trim();
        while !(self.is_within(self.limit) && self.share.set(self.above_floor()))
            && self.let_go_of_the_slowest(places)
        {
            self.trim();
        }
        false
    }

    /// What the budget is asked for where nobody can join any more: not for the last few frames, or all who are a moment behind
    /// would go when there is nothing left of it.
    const fn above_floor(&self) -> usize {
        self.held.saturating_sub(self.floor)
    }

    fn forget_last(&mut self) {
        if let Some(kept) = self.frames.back_mut() {
            kept.left -= 1;
        }
    }

    fn is_within(&self, limit: usize) -> bool {
        self.held <= limit && self.frames.len() <= frames_at_most(limit)
    }

    /// Those at the first of several frames. One frame alone is everybody's, however large.
    fn let_go_of_the_slowest(&mut self, places: &mut Slab<Place>) -> bool {
        if self.frames.len() < 2 {
            return false;
        }
        let first = self.first;
        let slowest = places.iter_mut().map(|(_, place)| place);
        let slowest = slowest.filter(|place| place.next <= first && !place.fell_behind);
        let slowest: usize = slowest.map(|place| place.fell_behind = true).count();
        self.frames.iter_mut().for_each(|kept| kept.left -= slowest);
        slowest > 0
    }

    /// Lets go of what all have read.
    pub(super) fn trim(&mut self) {
        while self.frames.front().is_some_and(|kept| kept.left == 0) {
            let data = self.frames.pop_front().map(|kept| kept.data);
            self.held -= data.as_ref().map_or(0, Bytes::len);
            self.first += 1;
            self.gone.extend(data);
        }
        self.share.set(self.above_floor());
    }

    pub(super) fn gone(&mut self) -> Vec<Bytes> {
        std::mem::take(&mut self.gone)
    }

    /// Nobody reads any more.
    pub(super) fn abandon(&mut self) {
        (self.first, self.held) = (self.first + self.frames.len(), 0);
        self.gone.extend(self.frames.drain(..).map(|kept| kept.data));
        self.share.set(0);
    }

    /// The next frame for this reader, if it came already.
    pub(super) fn read(&mut self, place: &mut Place, open: bool) -> Option<Bytes> {
        let at = place.next.checked_sub(self.first)?;
        let kept = self.frames.get_mut(at)?;
        kept.left -= 1;
        let data = kept.data.clone();
        place.next += 1;
        place.taken += data.len() as u64;
        if !open && at == 0 && kept.left == 0 {
            // The reader has it, so this clone is not the last.
            self.held -= data.len();
            self.first += 1;
            self.frames.pop_front();
        }
        if !open {
            self.trim();
        }
        Some(data)
    }

    /// The end, for one who has read everything before it.
    pub(super) fn ended(&mut self) -> Option<Result<Option<HeaderMap>, Unclean>> {
        match self.end.as_mut()? {
            Ended::Clean(trailers) => Some(Ok(trailers.clone())),
            Ended::Own(unclean) => Some(unclean.take().map_or(Ok(None), Err)),
            Ended::Shared(failure) => Some(Err(Unclean::Failed(failure.clone().into()))),
        }
    }

    /// Whether nothing at all follows for this reader.
    pub(super) fn is_over(&self, place: &Place) -> bool {
        let over = matches!(self.end, Some(Ended::Clean(None)));
        let over = over || (self.end.is_none() && self.rest.is_none);
        over && self.is_at_the_tip(place)
    }

    pub(super) fn is_at_the_tip(&self, place: &Place) -> bool {
        place.next == self.first + self.frames.len()
    }

    pub(super) fn size_hint(&self, place: &Place, leads: bool) -> SizeHint {
        if let Some(expected) = self.expected.filter(|_| !leads) {
            return SizeHint::with_exact(expected.saturating_sub(place.taken));
        }
        let ahead = self.streamed - place.taken;
        let mut hint = SizeHint::new();
        hint.set_lower(self.rest.hint.lower().saturating_add(ahead));
        let upper = self.rest.hint.upper().and_then(|upper| upper.checked_add(ahead));
        if let Some(upper) = upper.filter(|_| matches!(self.end, None | Some(Ended::Clean(_)))) {
            hint.set_upper(upper);
        }
        hint
    }
}
