//! Whether a stream says something.

use bytes::Bytes;
use proptest::{collection::vec, prelude::*, sample::select};

use crate::sse::{Decoded, Decoder, pulse::Pulse};

/// Whether there is data in any of these chunks.
fn says<T: AsRef<[u8]>>(chunks: impl IntoIterator<Item = T>) -> bool {
    let mut pulse = Pulse::new();
    // Each is fed, whatever came before.
    chunks.into_iter().fold(false, |says, chunk| pulse.feed(chunk.as_ref()) | says)
}

/// The same, with each kind of line end, whole and cut at every place.
fn says_however_cut(text: &str) -> bool {
    let mut answers = Vec::new();
    for end in ["\n", "\r\n", "\r"] {
        let text = text.replace('\n', end);
        let bytes = text.as_bytes();
        answers.push(says([bytes]));
        answers.extend((0..=bytes.len()).map(|at| says([&bytes[..at], &bytes[at..]])));
        answers.push(says(bytes.chunks(1)));
    }
    assert!(answers.windows(2).all(|two| two[0] == two[1]), "{text:?}: it depends on the cut");
    answers[0]
}

#[test]
fn the_last_name_that_a_block_gives_its_event_tells_whether_it_is_a_ping() {
    for named in [
        "event: ping\nevent: message\ndata: x\n\n",
        "event: ping\nevent: pin\ndata: x\n\n",
        "event: ping\nevent: pings\ndata: x\n\n",
        "event:ping\nevent:pingx\ndata: x\n\n",
        "event: ping\nevent:  ping\ndata: x\n\n",
        "event: ping\nevent: \ndata: x\n\n",
        "event: ping\nevent:\ndata: x\n\n",
        "event: ping\nevent\ndata: x\n\n",
        "event: ping\nid: 1\nevent: message\n: c\ndata: x\n\n",
        "event: ping\ndata: 1\nevent: message\ndata: 2\n\n",
        "event: ping\nevent: ping\nevent: message\ndata\n\n",
    ] {
        assert!(says_however_cut(named), "{named:?}");
    }
    for ping in [
        "event: message\nevent: ping\ndata: x\n\n",
        "event\nevent:ping\ndata: x\n\n",
        "event: ping\nevent: message\nevent: ping\ndata: x\n\n",
        "event: ping\neventual: message\ndata: x\n\n",
        "event: ping\nevents\nEvent: x\n event: x\n:event: x\ndata: x\n\n",
        "\u{feff}event: ping\ndata: x\n\n",
    ] {
        assert!(!says_however_cut(ping), "{ping:?}");
    }
}

#[test]
fn a_field_without_a_colon_is_one() {
    assert!(says_however_cut("data\n\n"));
    assert!(!says_however_cut("event: ping\ndata\n\n"));
    assert!(!says_however_cut("dat\ndata2\n\n"));
}

const NAMES: [&str; 11] = [
    "event: ping",
    "event:ping",
    "event: ping ",
    "event: x",
    "event: message_delta",
    "event",
    "event:",
    "eventual: x",
    ": event: x",
    "id: 1",
    "retry",
];

proptest! {
    #[test]
    fn it_agrees_with_the_decoder_however_the_stream_is_cut(
        blocks in vec((vec(select(&NAMES[..]), 0..4), vec(select(&["data: x", "data:", "data"][..]), 0..3)), 0..4),
        end in select(&["\n", "\r\n", "\r"][..]),
        cuts in vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let mut text = String::new();
        for (names, data) in blocks {
            for line in names.into_iter().chain(data).chain([""]) {
                text.push_str(line);
                text.push_str(end);
            }
        }
        let (mut decoder, mut chunk) = (Decoder::new(), Bytes::from(text.clone()));
        let mut expected = false;
        while let Some(decoded) = decoder.decode(&mut chunk) {
            expected |= matches!(decoded, Decoded::Event(event) if !event.is_ping());
        }
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
        cuts.extend([0, text.len()]);
        cuts.sort_unstable();
        prop_assert_eq!(says(cuts.windows(2).map(|cut| &text[cut[0]..cut[1]])), expected, "{:?}", text);
    }
}
