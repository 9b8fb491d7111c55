//! Every dialect, broken: nothing is made of it, and what is whole is read all the same.

use bytes::Bytes;

use super::{
    samples::{EVENTS, FRAMES, JSON, LINES, Sample, eventwise, line, samples},
    table::expected,
};
use crate::usage::{Certainty, Terminator, Usage, UsageMeter};

/// A stream in its events, of whatever kind. `None`: it is none, or they are not side by side.
fn events(sample: &Sample) -> Option<Vec<Bytes>> {
    let mut rest = sample.body.clone();
    let mut events = vec![];
    match sample.content_type {
        EVENTS => return Some(eventwise(&rest)),
        LINES => {
            while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                events.push(rest.split_to(end + 1));
            }
            events.push(rest);
        }
        FRAMES => {
            while !rest.is_empty() {
                let length = u32::from_be_bytes(rest[..4].try_into().unwrap());
                events.push(rest.split_to(length as usize));
            }
        }
        _ => return None,
    }
    Some(events)
}

/// The same with other counts in it, but its JSON is broken. In a binary frame, its checksum is wrong by that.
fn damaged(event: &Bytes) -> Option<Bytes> {
    let at = event.windows(2).position(|two| two == b"\":")?;
    let mut event = event.to_vec();
    event[at + 1] = b';';
    event[at + 2..].iter_mut().filter(|byte| byte.is_ascii_digit()).for_each(|byte| *byte = b'9');
    Some(event.into())
}

#[test]
fn a_broken_event_is_as_if_it_had_not_come_wherever_it_stands() {
    let mut read = 0;
    for sample in samples() {
        let Some(events) = events(&sample) else { continue };
        let ends = if sample.content_type == FRAMES { "" } else { "\n\n" };
        for broken in events.iter().filter_map(damaged) {
            let broken = Bytes::from([&broken[..], ends.as_bytes()].concat());
            // Not at the end, where an event may lack its blank line.
            for at in 0..events.len() {
                let mut events = events.clone();
                events.insert(at, broken.clone());
                assert_eq!(
                    line(&sample.read(events)),
                    expected(&sample),
                    "{} at {at}",
                    sample.name
                );
                read += 1;
            }
        }
    }
    assert!(read > 300, "{read}");
}

#[test]
fn a_broken_object_of_an_array_is_as_if_it_had_not_come() {
    let broken = r#"{"usageMetadata";{"promptTokenCount":99,"candidatesTokenCount":99}},"#;
    for sample in samples().into_iter().filter(|sample| sample.name.ends_with("array.json")) {
        let pieces = [sample.body.slice(..1), broken.into(), sample.body.slice(1..)];
        assert_eq!(line(&sample.read(pieces)), expected(&sample), "{}", sample.name);
    }
}

#[test]
fn half_a_response_and_a_broken_one_say_nothing() {
    let arrays = |sample: &Sample| sample.name.ends_with("array.json");
    for sample in samples().into_iter().filter(|s| s.content_type == JSON && !arrays(s)) {
        let body = &sample.body;
        for broken in [body.slice(..body.len() / 2), damaged(body).unwrap()] {
            let usage = sample.read([broken]);
            assert_eq!((usage.certainty, usage.terminator), Default::default(), "{}", sample.name);
            let asked_of = UsageMeter::for_path(sample.path).report().usage().model;
            assert_eq!((usage.model, usage.finish_reason), (asked_of, None), "{}", sample.name);
        }
    }
}

/// Every number in the place of a value, written otherwise.
fn renumbered(body: &Bytes, write: impl Fn(&str) -> String) -> Bytes {
    let text = std::str::from_utf8(body).unwrap();
    let mut written = String::new();
    let mut rest = text;
    while let Some(colon) = rest.find(':') {
        let behind = rest[colon + 1..].trim_start_matches(' ');
        let end = behind.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(behind.len());
        let number = &behind[..end];
        written += &rest[..rest.len() - behind.len()];
        written += &if number.is_empty() { String::new() } else { write(number) };
        rest = &behind[number.len()..];
    }
    (written + rest).into()
}

#[test]
fn a_count_that_is_none_counts_nothing_in_any_dialect() {
    let writings: [fn(&str) -> String; 3] =
        [|n| format!("-1{n}"), |n| format!("[{n}]"), |n| format!("{}.5", n.replace('.', ""))];
    for sample in samples().into_iter().filter(|sample| sample.content_type != FRAMES) {
        let whole = sample.read([sample.body.clone()]);
        let nothing = Usage {
            input_tokens: None,
            output_tokens: None,
            cached_tokens: None,
            cache_write_tokens: None,
            reasoning_tokens: None,
            certainty: Certainty::Unknown,
            ..whole
        };
        for write in writings {
            let usage = sample.read([renumbered(&sample.body, write)]);
            assert_eq!(usage, nothing, "{}: {}", sample.name, write("7"));
        }
    }
}

#[test]
fn a_stream_cut_behind_each_event_is_whole_only_behind_its_last_words() {
    for sample in samples() {
        let Some(events) = events(&sample) else { continue };
        let whole = sample.read(events.clone());
        let mut sure = false;
        for cut in 0..=events.len() {
            let usage = sample.read(events[..cut].to_vec());
            let name = format!("{} cut behind {cut}: {}", sample.name, line(&usage));
            let sum = usage.input_tokens.zip(usage.output_tokens);
            assert_eq!(usage.certainty == Certainty::Unknown, !said(&usage), "{name}");
            assert!(usage.certainty != Certainty::Reported || sum.is_some(), "{name}");
            // What was sure stays sure, and an end stays an end.
            assert!(!sure || usage.terminator == Terminator::Seen, "{name}");
            sure = usage.terminator == Terminator::Seen;
            let dull = events[cut..].iter().all(|event| event.trim_ascii().is_empty());
            assert!(!dull || usage == whole, "{name}");
        }
    }
}

/// Whether there is any count.
fn said(usage: &Usage) -> bool {
    let counts = [usage.input_tokens, usage.output_tokens, usage.cached_tokens];
    let details = [usage.cache_write_tokens, usage.reasoning_tokens];
    counts.iter().chain(&details).any(Option::is_some)
}
