//! Bytes by chance that look like events, cut by chance.

use bytes::Bytes;
use proptest::{collection::vec, prelude::*, sample::select};

use super::{
    super::Boundary,
    aligned::{Aligned, bytewise},
    reference::class,
    vectors::safe_offsets,
};
use crate::align::DEFAULT_HOLD;

/// Words of which every line of the standard can be made, and what breaks a reader that is not careful.
const WORDS: &[&[u8]] = &[
    b"\n",
    b"\n",
    b"\r",
    b"\r\n",
    b":",
    b"d",
    b"a",
    b"t",
    b" ",
    b"data: a",
    b"id: 1",
    b"\xef",
    b"\xbb",
    b"\xbf",
    b"\xef\xbb\xbf",
    b"\0",
    b"\xff",
    b"\xe2\x80\xa8",
];

pub(crate) fn stream() -> impl Strategy<Value = Bytes> {
    vec(select(WORDS), 0..40).prop_map(|words| words.concat().into())
}

/// Cuts a stream at these lengths; the rest is one piece. A length of nought is an empty frame.
pub(crate) fn cut(mut stream: Bytes, lengths: &[usize]) -> Vec<Bytes> {
    let mut pieces: Vec<_> =
        lengths.iter().map(|length| stream.split_to((*length).min(stream.len()))).collect();
    pieces.push(stream);
    pieces
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_boundary_is_found_where_the_reference_finds_it(stream in stream()) {
        let mut boundary = Boundary::default();
        for at in 1..=stream.len() {
            boundary.feed(&stream[at - 1..at]);
            let class = class(&stream[..at]);
            let safe = match class {
                "event_boundary" => true,
                "after_cr_at_boundary" => boundary.may_insert(), // It is a matter of taste there.
                _ => false,
            };
            prop_assert_eq!(boundary.may_insert(), safe, "at {}: {}", at, class);
        }
    }

    #[test]
    fn any_stream_in_any_pieces_comes_out_as_it_went_in_with_gaps_between_events_alone(
        stream in stream(), lengths in vec(0_usize..9, 0..20), limit in select(&[0, 40, 200, DEFAULT_HOLD][..]),
    ) {
        let aligned = Aligned::new(cut(stream.clone(), &lengths), limit);
        prop_assert!(aligned.is(&stream));
        let safe = safe_offsets(&stream);
        prop_assert!(aligned.gaps.iter().all(|gap| safe.contains(gap)), "{:?} {:?}", aligned.gaps, safe);
    }

    #[test]
    fn the_gaps_do_not_depend_on_how_large_the_pieces_are(stream in stream(), at in 0_usize..60) {
        let at = at.min(stream.len());
        let few = Aligned::new([stream.slice(..at), stream.slice(at..)], DEFAULT_HOLD).gaps;
        let many = Aligned::new(bytewise(&stream), DEFAULT_HOLD).gaps;
        // A larger piece shows what follows a CR, so that a gap may be sure which was not.
        let sure = |gap: &&usize| **gap > 0 && stream[**gap - 1] != b'\r';
        prop_assert!(few.iter().filter(sure).all(|gap| many.contains(gap)), "{:?} of {:?}", few, many);
    }
}
