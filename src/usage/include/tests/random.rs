//! Requests and answers by chance.

use proptest::{collection::vec, prelude::*, sample::select};
use serde::de::IgnoredAny;
use serde_json::Value;

use super::*;
use crate::{sse::tests::random::cut, usage::include::json::Splice};

/// JSON as somebody could write it: white space, spellings, escapes, names that are there twice.
fn json() -> impl Strategy<Value = String> {
    let leaf = select(
        &[
            "null",
            "true",
            "false",
            "0",
            "-0.0",
            "1e5",
            "12345678901234567890",
            "\"\"",
            "\"stream_options\"",
            "\"\\\"{\\u005b\\\\\"",
            "{}",
            "[]",
            "\"\u{e9}\"",
        ][..],
    );
    leaf.prop_map(str::to_owned)
        .prop_recursive(3, 24, 4, |inner| prop_oneof![object(inner.clone()), list(inner)])
}

fn space() -> impl Strategy<Value = &'static str> {
    select(&["", "", " ", "\n\t", "\r\n  "][..])
}

fn name() -> impl Strategy<Value = &'static str> {
    select(
        &[
            "\"stream\"",
            "\"stream\"",
            "\"str\\u0065am\"",
            "\"stream_options\"",
            "\"stream_options\"",
            "\"stream\\u005foptions\"",
            "\"include_usage\"",
            "\"include_obfuscation\"",
            "\"model\"",
            "\"\"",
        ][..],
    )
}

fn object(value: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    let member = (space(), name(), space(), space(), value, space());
    let member = member.prop_map(|(a, name, b, c, value, d)| format!("{a}{name}{b}:{c}{value}{d}"));
    (space(), vec(member, 0..5)).prop_map(|(space, members)| match &members[..] {
        [] => format!("{{{space}}}"),
        members => format!("{{{}}}", members.join(",")),
    })
}

fn list(value: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    vec(value, 0..3).prop_map(|values| format!("[{}]", values.join(" , ")))
}

/// A request that is likely to ask for a stream.
fn request() -> impl Strategy<Value = String> {
    let options = object(select(&["true", "false", "null", "1"][..]).prop_map(str::to_owned));
    let value = prop_oneof![2 => Just("true".to_owned()), 1 => options, 1 => json()];
    (space(), object(value), space()).prop_map(|(a, object, b)| format!("{a}{object}{b}"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn what_is_written_is_that_member_and_without_it_the_request_is_what_it_was(request in request()) {
        let value: Value = serde_json::from_str(&request).unwrap();
        let options = &value["stream_options"];
        let wanted = value["stream"] == true
            && (options.is_null()
                || (options.is_object() && matches!(options["include_usage"], Value::Null | Value::Bool(false))));
        let splice = Splice::of(request.as_bytes());
        prop_assert_eq!(splice.is_some(), wanted);
        let Some(splice) = splice else { return Ok(()) };
        let asked = splice.apply(request.as_bytes());

        let mut expected = value;
        expected["stream_options"]["include_usage"] = true.into();
        prop_assert_eq!(serde_json::from_slice::<Value>(&asked).unwrap(), expected);

        let (at, text) = (splice.at, splice.text);
        let end = at.start + text.len();
        prop_assert_eq!(&asked[at.start..end], text.as_bytes());
        let before = [&asked[..at.start], &request.as_bytes()[at.clone()], &asked[end..]].concat();
        prop_assert_eq!(before, request.as_bytes());
        // Only a `null` or a `false` is ever written over.
        prop_assert!(["", "null", "false"].contains(&&request[at]));
    }

    #[test]
    fn a_broken_request_is_left_alone_or_was_none(request in request(), at in any::<prop::sample::Index>(), byte: u8) {
        let mut broken = request.into_bytes();
        let at = at.index(broken.len());
        broken[at] = byte;
        if let Some(splice) = Splice::of(&broken) {
            // Numbers may be as large as they like.
            let asked = splice.apply(&broken);
            prop_assert!(serde_json::from_slice::<IgnoredAny>(&asked).is_ok());
        }
    }

    #[test]
    fn any_stream_loses_its_chunks_and_nothing_else_in_any_pieces(
        events in vec((select(&[DELTA, USAGE, USAGE, DONE, ": ping\n", ": ping\n\n", "\n", "id: 7\n\n"][..]), select(&["\n", "\r\n", "\r"][..])), 0..12),
        lengths in vec(0_usize..90, 0..40),
    ) {
        // A LF directly behind a CR would be one line end with it.
        let (mut all, mut kept) = (String::new(), String::new());
        for (event, end) in events {
            let end = if all.ends_with('\r') && event.starts_with('\n') && end == "\n" { "\r" } else { end };
            let event = event.replace('\n', end);
            kept += if event.contains("prompt_tokens") { "" } else { &event };
            all += &event;
        }
        let read = |pieces: Vec<Bytes>| {
            let script = pieces.into_iter().fold(Script::new(), Script::data);
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(drain(IncludeUsageBody::new(script)))
        };
        let pieces = cut(all.clone().into(), &lengths);
        let given = pieces.iter().filter(|piece| piece.is_empty()).count();
        let read_in_pieces = read(pieces);
        prop_assert_eq!(&read_in_pieces.data, kept.as_bytes());
        let empty = read_in_pieces.frames.iter().filter(|frame| frame.is_empty()).count();
        prop_assert!(empty <= given, "no empty frame is made");
        let bytewise = (0..all.len()).map(|at| Bytes::copy_from_slice(&all.as_bytes()[at..=at]));
        prop_assert_eq!(read(bytewise.collect()).data, kept);
    }
}
