//! The frames of an answer that several readers share: all of it while it can be joined, then what the slowest has not read.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, SizeHint};
use slab::Slab;

use super::{Place, SharedBody};
use crate::{
    cut::lock,
    error::BoxError,
    exchange::Cause,
    replay::{error::SharedFailure, recorder::Answer},
    usage::Terminator,
};

/// Of each answer so much memory is there for slow readers whatever the budget says, and more if it was
/// [reserved](Tape::reserve).
pub(super) const FLOOR: usize = 64 * 1024;

pub(super) struct Tape {
    /// Written here, but for what the recorder has written before.
    answer: Arc<Mutex<Answer>>,
    /// So many frames were in it after the last one.
    written: u64,
    /// So many came, and bytes.
    frames: u64,
    streamed: u64,
    limit: usize,
    /// So many bytes of memory need nothing of the budget: what was reserved, else where nobody can join any more.
    floor: usize,
    /// What the head announced, which those who joined have from their size only.
    expected: Option<u64>,
    rest: Rest,
    end: Option<Ended>,
    told: Option<Told>,
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

/// For whom a frame is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    /// For those who are not there yet, too: of half the limit at most, so that who joins last has as much room to be slow in.
    ForAll,
    ForReaders,
    /// For nobody yet: without the leader's reading there is no room.
    Waits,
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
    pub(super) fn new(limit: usize) -> Self {
        Self {
            answer: Answer::none(),
            written: 0,
            frames: 0,
            streamed: 0,
            limit,
            floor: FLOOR,
            expected: None,
            rest: Rest { hint: SizeHint::new(), is_none: false },
            end: None,
            told: None,
        }
    }

    /// It begins: what it is written to, and the length that its head announced.
    pub(super) fn begin(&mut self, answer: Arc<Mutex<Answer>>, expected: Option<u64>) {
        (self.answer, self.expected) = (answer, expected);
        if self.floor > FLOOR {
            self.reserve(self.floor);
        }
    }

    /// What follows now, and what is known of the end if that is nothing.
    pub(super) fn rest(&mut self, rest: Rest, told: Option<Told>) {
        self.rest = rest;
        self.told = told;
    }

    pub(super) fn end(&mut self, end: Ended, told: Told) {
        self.end = Some(end);
        self.told = Some(told);
    }

    /// Whether all of it has come, for all that is known.
    pub(super) const fn is_there(&self) -> bool {
        self.end.is_some() || self.rest.is_none
    }

    pub(super) fn told(&self) -> Option<Told> {
        self.told.clone()
    }

    /// So many bytes are taken from the budget already, for this answer: for slow readers, and for what is kept.
    pub(super) fn reserve(&mut self, bytes: usize) {
        self.floor = bytes;
        lock(&self.answer).log.exempt(if bytes > FLOOR { bytes } else { 0 });
    }

    /// Hands a frame to the one who polled it, and keeps it for the others who are there. Of them `leader` is not let go of,
    /// however far behind.
    pub(super) fn push(
        &mut self,
        data: &Bytes,
        poller: usize,
        leader: Option<usize>,
        places: &mut Slab<Place>,
        open: bool,
    ) -> Kept {
        let mut answer = lock(&self.answer);
        let recorded = answer.log.end().frame > self.written;
        let more = if recorded { 0 } else { data.len() };
        let open = open
            && answer.has_room(more, self.limit / 2)
            && (recorded || answer.log.append(data, Duration::ZERO));
        if !open && !recorded {
            if !answer.kept {
                answer.log.exempt(self.floor);
            }
            let leader = leader.filter(|leader| *leader != poller);
            if !answer.keep_for_others(data, poller, leader, places, self.limit) {
                return Kept::Waits;
            }
        }
        self.written = answer.log.end().frame;
        if let Some(place) = places.get_mut(poller) {
            (place.at, place.passed) = (answer.log.end(), Some(data.clone()));
        }
        self.frames += 1;
        self.streamed += data.len() as u64;
        if open { Kept::ForAll } else { Kept::ForReaders }
    }

    /// Lets go of what all have read, where nobody can join any more.
    pub(super) fn trim(&self, places: &Slab<Place>) {
        lock(&self.answer).trim(places);
    }

    /// Nobody reads any more.
    pub(super) fn abandon(&mut self) {
        self.answer = Answer::none();
    }

    /// The next frame for this reader, if it came already.
    pub(super) fn read(
        &self,
        reader: usize,
        places: &mut Slab<Place>,
        open: bool,
    ) -> Option<Bytes> {
        let place = places.get_mut(reader)?;
        if let Some(data) = place.passed.take() {
            place.has_read(&data);
            return Some(data);
        }
        let mut answer = lock(&self.answer);
        let (_, data) = answer.log.read(&mut place.at)?;
        place.has_read(&data);
        let first = answer.log.start().frame;
        let is_first = |place: &Place| !place.fell_behind && place.at.frame <= first;
        if !open && !answer.kept && !places.iter().any(|(_, place)| is_first(place)) {
            answer.trim(places);
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
        place.passed.is_none() && place.read == self.frames
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

/// What the readers need of an answer. Nothing, while it is kept for the store as well.
impl Answer {
    fn trim(&mut self, places: &Slab<Place>) {
        let readers = places.iter().map(|(_, place)| place).filter(|place| !place.fell_behind);
        let slowest = readers.map(|place| place.at).min_by_key(|at| at.frame);
        if !self.kept {
            self.log.forget_before(slowest.unwrap_or_else(|| self.log.end()));
        }
    }

    /// Keeps a frame for all but the one who polled it. Those who are too far behind for that are let go of; `false` if the
    /// leader is one of them, and nobody is who is not behind that one.
    fn keep_for_others(
        &mut self,
        data: &Bytes,
        poller: usize,
        leader: Option<usize>,
        places: &mut Slab<Place>,
        limit: usize,
    ) -> bool {
        let others = |(at, place): &(usize, &mut Place)| *at != poller && !place.fell_behind;
        while places.iter_mut().any(|it| others(&it)) {
            self.trim(places);
            if self.has_room(data.len(), limit) && self.log.append(data, Duration::ZERO) {
                return true;
            }
            let first = self.log.start().frame;
            let is_empty = first == self.log.end().frame;
            let is_slowest = |place: &Place| match is_empty {
                true => place.passed.is_some(),
                false => place.at.frame <= first,
            };
            let leader = leader.and_then(|leader| places.get(leader));
            if leader.is_some_and(is_slowest) {
                return false;
            }
            let slowest = places.iter_mut().filter(others).map(|(_, place)| place);
            let slowest = slowest.filter(|place| is_slowest(place));
            if slowest.map(|place| place.fell_behind = true).count() == 0 {
                // One frame alone is everybody's, however large.
                let others = places.iter_mut().filter(others);
                others.for_each(|(_, place)| place.passed = Some(data.clone()));
                return true;
            }
        }
        true
    }
}
