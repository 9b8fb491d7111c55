//! Streams cut and broken by chance.

use bytes::Bytes;
use proptest::{collection::vec, prelude::*, sample::Index};

use super::samples::{eventwise, samples};
use crate::sse::tests::random::cut;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_stream_says_the_same_in_any_pieces(
        which: Index, lengths in vec(0_usize..200, 0..40),
    ) {
        let samples = samples();
        let sample = which.get(&samples);
        let whole = sample.read([sample.body.clone()]);
        prop_assert_eq!(sample.read(cut(sample.body.clone(), &lengths)), whole, "{}", sample.name);
    }

    #[test]
    fn a_broken_stream_harms_nobody_and_says_the_same_in_any_pieces(
        which: Index,
        breaks in vec((any::<Index>(), 0_u8..3, any::<u8>()), 1..6),
        lengths in vec(0_usize..200, 0..40),
    ) {
        let samples = samples();
        let sample = which.get(&samples);
        let mut body = sample.body.to_vec();
        for (at, how, byte) in breaks {
            let at = at.index(body.len());
            match how {
                0 => body[at] = byte,
                1 => drop(body.remove(at)),
                _ => body.insert(at, byte),
            }
        }
        let body = Bytes::from(body);
        let whole = sample.read([body.clone()]);
        prop_assert_eq!(&sample.read(eventwise(&body)), &whole, "{} eventwise", sample.name);
        prop_assert_eq!(sample.read(cut(body, &lengths)), whole, "{}", sample.name);
    }

    #[test]
    fn any_bytes_harm_nobody(which: Index, bytes in vec(any::<u8>(), 0..300)) {
        let samples = samples();
        which.get(&samples).read([Bytes::from(bytes)]);
    }
}
