//! The shared vectors through [`Align`], in pieces of every size.

use bytes::Bytes;

use super::{
    reference::{MARK, parse},
    vectors::{HUGE, Vector, safe_offsets, vectors},
};
use crate::{
    align::{Align, DEFAULT_HOLD},
    aligned::Shape,
    head::Media,
};

/// What came of a stream that was pushed in pieces.
pub(super) struct Aligned {
    pub(super) chunks: Vec<Bytes>,
    /// Where insertions were allowed, in bytes handed on.
    pub(super) gaps: Vec<usize>,
}

impl Aligned {
    pub(super) fn new(pieces: impl IntoIterator<Item = Bytes>, limit: usize) -> Self {
        let mut align = Align::new(Media::EventStream, limit);
        let (mut chunks, mut gaps) = (Vec::new(), Vec::new());
        let mut length = 0;
        for piece in pieces {
            let mut next = align.push(piece);
            while let Some(chunk) = next {
                if align.may_insert() {
                    gaps.push(length + chunk.len());
                }
                length += chunk.len();
                chunks.push(chunk);
                next = align.pop();
            }
            if align.may_insert() {
                gaps.push(length);
            }
        }
        align.finish();
        chunks.extend(std::iter::from_fn(|| align.pop()));
        assert!(align.is_empty());
        gaps.dedup();
        Self { chunks, gaps }
    }

    /// Whether the chunks are these bytes. Copies nothing, for it is asked of 70 kB seventy thousand times.
    pub(super) fn is(&self, input: &[u8]) -> bool {
        let mut rest = input;
        let same = self.chunks.iter().all(|chunk| {
            let same = rest.starts_with(chunk);
            rest = rest.get(chunk.len()..).unwrap_or_default();
            same
        });
        same && rest.is_empty()
    }
}

pub(super) fn bytewise(input: &Bytes) -> impl Iterator<Item = Bytes> {
    (0..input.len()).map(|at| input.slice(at..=at))
}

#[test]
fn every_vector_comes_out_byte_identical_whole_and_byte_by_byte() {
    for Vector { id, input, .. } in vectors() {
        let whole = Aligned::new([input.clone()], DEFAULT_HOLD);
        assert!(whole.is(&input), "{id}");
        assert!(Aligned::new(bytewise(&input), DEFAULT_HOLD).is(&input), "{id} byte by byte");
    }
}

#[test]
fn every_vector_comes_out_byte_identical_and_with_gaps_at_boundaries_alone_at_every_split() {
    for Vector { id, input, .. } in vectors() {
        let safe = safe_offsets(&input);
        for at in 0..=input.len() {
            let split = [input.slice(..at), input.slice(at..)];
            let aligned = Aligned::new(split, DEFAULT_HOLD);
            assert!(aligned.is(&input), "{id} split at {at}");
            let wrong: Vec<_> = aligned.gaps.iter().filter(|gap| !safe.contains(gap)).collect();
            assert!(wrong.is_empty(), "{id} split at {at}: {wrong:?} is in an event");
        }
    }
}

#[test]
fn byte_by_byte_there_is_a_gap_at_every_boundary_and_nowhere_else() {
    for Vector { id, input, .. } in vectors() {
        let gaps = Aligned::new(bytewise(&input), DEFAULT_HOLD).gaps;
        let safe = safe_offsets(&input);
        assert!(gaps.iter().all(|gap| safe.contains(gap)), "{id}: {gaps:?} of {safe:?}");
        // Missing are only those behind a CR whose LF may come, and the mark, which is held back with its line.
        let missing = safe.iter().filter(|gap| !gaps.contains(gap));
        for gap in missing.filter(|gap| **gap > 0 && input[..**gap] != *MARK) {
            assert_eq!(input[gap - 1], b'\r', "{id} at {gap}");
        }
    }
}

#[test]
fn a_chunk_that_is_whole_events_is_handed_on_as_it_is_without_a_copy() {
    for Vector { id, input, .. } in vectors() {
        let whole = safe_offsets(&input).last() == Some(&input.len()) && input != MARK;
        if !whole || input.is_empty() {
            continue;
        }
        let mut align = Align::new(Media::EventStream, DEFAULT_HOLD);
        let chunk = align.push(input.clone()).unwrap();
        assert_eq!((chunk.as_ptr(), chunk.len()), (input.as_ptr(), input.len()), "{id}");
        assert!(align.is_empty(), "{id}");
    }
}

#[test]
fn what_is_handed_on_before_the_end_lets_a_client_see_every_event_that_is_complete() {
    for Vector { id, input, expect } in vectors() {
        if id == HUGE {
            continue; // It is larger than what is held back.
        }
        let mut align = Align::new(Media::EventStream, DEFAULT_HOLD);
        let mut out = Vec::new();
        for piece in bytewise(&input) {
            out.extend(align.push(piece));
            out.extend(std::iter::from_fn(|| align.pop()));
        }
        assert_eq!(parse(&out.concat()).events, expect.events, "{id}");
    }
}
