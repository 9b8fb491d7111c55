//! Streams of every dialect, made by chance out of what it says where; cut by chance, they say the same.

use bytes::Bytes;
use proptest::{
    collection::vec,
    prelude::*,
    sample::{Index, select},
    strategy::Union,
};

use super::{
    bedrock,
    samples::{EVENTS, FRAMES, JSON, LINES, eventwise, head, pieces, read},
};
use crate::{
    sse::tests::random::cut,
    tee::Sink,
    usage::{
        Dialect, UsageMeter,
        dialect::SIGNS,
        members::{Members, Node},
    },
};

const LEAVES: &[&str] = &[
    "0",
    "7",
    "69.0",
    "1e1",
    "1.5",
    "-1",
    "NaN",
    "18446744073709551616",
    "null",
    "false",
    "true",
    "\"\"",
    "\"m\"",
    "\"stop\"",
    "\"error\"",
    "\"message_stop\"",
    "\"message_start\"",
    "\"message-end\"",
    "\"response.completed\"",
    "\"response.failed\"",
    "\"chat.completion.chunk\"",
    "\"completed\"",
    "\"thread.run.step\"",
    "\"caf\\u00e9 \\ud83e\\udd80 \\\"usage\\\":{\"",
    "[]",
    "{}",
    "[[1]]",
    "{\"usage\":{\"prompt_tokens\":5}}",
    "\"FINISH_REASON_UNSPECIFIED\"",
];

fn leaf() -> BoxedStrategy<String> {
    let long = (200_usize..300).prop_map(|length| format!("\"{}\"", "x".repeat(length)));
    prop_oneof![20 => select(LEAVES).prop_map(str::to_owned), 1 => long].boxed()
}

fn value(node: Node) -> BoxedStrategy<String> {
    let (Node::Object(members) | Node::Choice(members) | Node::Last(members)) = node else {
        return leaf();
    };
    let object = object(members);
    let array = vec(object.clone(), 0..3).prop_map(|objects| format!("[{}]", objects.join(",")));
    prop_oneof![4 => object, 2 => array, 1 => leaf()].boxed()
}

fn object(members: Members) -> BoxedStrategy<String> {
    let member = |(name, node): &(&'static str, Node)| (Just(*name), value(*node)).boxed();
    let member = Union::new(members.iter().map(member));
    let member = (member, 0_u8..30).prop_map(|((name, value), spelling)| match spelling {
        0 => format!("\"\\u{:04x}{}\":{value}", u32::from(name.as_bytes()[0]), &name[1..]),
        1 => format!("\"{name}\" : {value}"),
        2 => format!("\"{name}\"\n:\n{value}"),
        3 => format!("\"{name}\\t\":{value}"),
        4 => format!("\"{name}\":\"{name}\",\"x\":{value}"),
        _ => format!("\"{name}\":{value}"),
    });
    vec(member, 0..5).prop_map(|members| format!("{{{}}}", members.join(","))).boxed()
}

/// Valid JSON as this dialect has it, or nearly so.
pub(super) fn json(dialect: Dialect) -> BoxedStrategy<String> {
    prop_oneof![
        8 => object(dialect.grammar().members),
        1 => object(SIGNS),
        1 => (object(SIGNS), object(dialect.grammar().members)).prop_map(|(signs, members)| {
            format!("{},\"x\":[],{}", signs.trim_end_matches('}'), &members[1..]).replacen("{,", "{", 1)
        }),
        1 => leaf(),
    ]
    .boxed()
}

/// What is written around the data of an event: its lines, with `\n` where they end.
const EVENT: &[(&str, &str)] = &[
    ("", ""),
    ("", ""),
    ("event: error\n", ""),
    ("", "event:response.failed\n"),
    ("event: message_start\n", ""),
    ("event: message_stop\n", ""),
    ("event: response.completed\n", ""),
    ("event: message-end\n", ""),
    ("event: x\nevent: ping\n", ""),
    ("event: error\n: null\n", ""),
    (": error\n\n", ""),
    ("event\n: null\n", "data\n"),
    ("id: 1\nretry: 5\n", ": usage\": null\n"),
];

#[derive(Clone, Debug)]
struct Wrapping {
    around: (&'static str, &'static str),
    space: &'static str,
    end: &'static str,
    done: bool,
}

fn wrapping() -> impl Strategy<Value = Wrapping> {
    let around = select(EVENT);
    let end = select(&["\n", "\n", "\n", "\r\n", "\r\n", "\r"][..]);
    (around, select(&[" ", "", "  "][..]), end, 0..8)
        .prop_map(|(around, space, end, done)| Wrapping { around, space, end, done: done == 0 })
}

fn event(json: &str, wrapping: &Wrapping) -> Vec<u8> {
    let Wrapping { around: (before, behind), space, end, done } = wrapping;
    let json = if *done { "[DONE]" } else { json };
    let data: String = json.split('\n').map(|line| format!("data:{space}{line}\n")).collect();
    format!("{before}{data}{behind}\n").replace('\n', end).into_bytes()
}

#[derive(Clone, Debug)]
struct Stream {
    dialect: Dialect,
    content_type: &'static str,
    body: Bytes,
}

fn stream() -> impl Strategy<Value = Stream> {
    let dialect = (0..Dialect::ALL.len()).prop_map(|at| Dialect::ALL[at]);
    let events =
        dialect.prop_flat_map(|dialect| (Just(dialect), vec((json(dialect), wrapping()), 0..6)));
    let kind = select(&[EVENTS, EVENTS, EVENTS, LINES, JSON, FRAMES, "text/plain"][..]);
    let mutations = vec((any::<Index>(), 0_u8..4, any::<u8>()), 0..3);
    let begin = select(&["", "", "", "\u{feff}", "\n", " "][..]);
    (events, kind, mutations, 0_u8..3, begin).prop_map(
        |(events, content_type, mutations, mutate, begin)| {
            let (dialect, events) = events;
            let line = |json: &str| json.replace('\n', " ").into_bytes();
            let mut body: Vec<u8> = match content_type {
                LINES => {
                    events.iter().flat_map(|(json, _)| [line(json), vec![b'\n']].concat()).collect()
                }
                JSON => {
                    let values: Vec<_> = events.iter().map(|(json, _)| &json[..]).collect();
                    if events.len() == 1 {
                        values[0].into()
                    } else {
                        format!("[{}]", values.join(",")).into()
                    }
                }
                FRAMES => events
                    .iter()
                    .flat_map(|(json, wrapping)| match wrapping.end {
                        "\n" => bedrock::chunk(json),
                        "\r\n" => bedrock::event("metadata", json),
                        _ => bedrock::event("contentBlockDelta", json),
                    })
                    .collect(),
                _ => events.iter().flat_map(|(json, wrapping)| event(json, wrapping)).collect(),
            };
            if content_type != FRAMES {
                body.splice(..0, begin.bytes());
            }
            for (at, how, byte) in mutations
                .into_iter()
                .filter(|_| mutate == 0 && !body.is_empty())
                .collect::<Vec<_>>()
            {
                let at = at.index(body.len().max(1));
                match how {
                    0 if at < body.len() => body[at] = byte,
                    1 if at < body.len() => drop(body.remove(at)),
                    2 => body.insert(at, byte),
                    _ => body.insert(at, b'\n'),
                }
            }
            Stream { dialect, content_type, body: body.into() }
        },
    )
}

const PATHS: &[&str] = &["/v1/chat/completions", "/v1/responses", "/v1/embeddings", "/x"];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn any_split_of_any_stream_equals_the_whole(
        stream in stream(), told: bool, path in select(PATHS), lengths in vec(0_usize..60, 0..20),
    ) {
        let Stream { dialect, content_type, body } = stream;
        let meter = || {
            let mut meter =
                if told { UsageMeter::new(Some(dialect)) } else { UsageMeter::for_path(path) };
            meter.head(&head(200, content_type));
            meter
        };
        // Cut behind each byte, nothing but single bytes is ever left out unread.
        let expected = read(meter(), pieces(&body, 1));
        prop_assert_eq!(&read(meter(), [body.clone()]), &expected, "whole");
        prop_assert_eq!(&read(meter(), eventwise(&body)), &expected, "event by event");
        let lines = body.split_inclusive(|byte| *byte == b'\n').map(Bytes::copy_from_slice);
        prop_assert_eq!(&read(meter(), lines), &expected, "line by line");
        prop_assert_eq!(&read(meter(), cut(body, &lengths)), &expected, "by chance");
    }
}

/// A stream whole, in its events and in its bytes.
fn all_ways(dialect: Dialect, content_type: &str, stream: &str) -> [crate::usage::Usage; 3] {
    let body = Bytes::copy_from_slice(stream.as_bytes());
    [vec![body.clone()], eventwise(&body), pieces(&body, 1)].map(|pieces| {
        let mut meter = UsageMeter::new(Some(dialect));
        meter.head(&head(200, content_type));
        read(meter, pieces)
    })
}

#[test]
fn an_event_named_response_failed_is_a_failure_however_it_is_cut() {
    for name in ["response.failed", "error"] {
        for stream in [
            format!("data: {{}}\n\nevent: {name}\ndata: {{}}\n\n"),
            format!("data: {{}}\n\nevent:{name}\ndata: {{}}\n\n"),
            format!("data: {{}}\n\ndata: {{\"type\":\"{name}\"}}\n\n"),
            format!("data: {{}}\n\ndata: {{\"type\":\"{}\"}}\n\n", name.replace('r', "\\u0072")),
        ] {
            for usage in all_ways(Dialect::OpenAiResponses, EVENTS, &stream) {
                assert!(usage.error_event, "{stream}");
            }
        }
    }
}

#[test]
fn a_comment_that_says_null_does_not_hide_what_stands_before_it() {
    for usage in
        all_ways(Dialect::OpenAiChat, EVENTS, "data: {}\n\nevent: error\n: null\ndata: {}\n\n")
    {
        assert!(usage.error_event);
    }
    let usage = "data: {}\n\ndata: {\"usage\"\n: null\ndata: :{\"prompt_tokens\":5}}\n\n";
    for usage in all_ways(Dialect::OpenAiChat, EVENTS, usage) {
        assert_eq!(usage.input_tokens, Some(5));
    }
}

#[test]
fn the_type_of_a_block_without_data_is_none_of_the_next_event() {
    let stream = "event: error\n\ndata: {\"model\":\"m\"}\n\n";
    for usage in all_ways(Dialect::OpenAiChat, EVENTS, stream) {
        assert!(!usage.error_event);
    }
    let stream = "event: ping\n\nevent: error\ndata: {}\n\n";
    for usage in all_ways(Dialect::OpenAiChat, EVENTS, stream) {
        assert!(usage.error_event);
    }
}

#[test]
fn a_name_with_an_escape_in_it_is_that_name() {
    let stream = "data: {}\n\ndata: {\"us\\u0061ge\":{\"\\u0070rompt_tokens\":1,\"completion_tokens\":2}}\n\n\
                  data: {}\n\ndata: {\"\\u0065rror\":{\"code\":1}}\n\n";
    for usage in all_ways(Dialect::OpenAiChat, EVENTS, stream) {
        assert_eq!((usage.input_tokens, usage.output_tokens), (Some(1), Some(2)));
        assert!(usage.error_event);
    }
}

#[test]
fn white_space_before_a_stream_without_a_content_type_is_nothing_however_it_is_cut() {
    for begin in [" ", "\n\n", " \t\r\n"] {
        let stream = format!(
            "{begin}data: {{\"usage\":{{\"prompt_tokens\":1,\"completion_tokens\":2}}}}\n\ndata: [DONE]\n\n"
        );
        for usage in all_ways(Dialect::OpenAiChat, "text/plain", &stream) {
            assert_eq!(usage.output_tokens, Some(2), "{begin:?}");
        }
    }
}

#[test]
fn a_type_that_is_no_text_and_a_long_one_are_no_type_that_matters() {
    let mut stream = b"data: {}\n\nevent: ".to_vec();
    stream.extend([0xff; 100_000]);
    stream.extend(b"\ndata: {\"model\":\"m\"}\n\nevent: error");
    stream.extend([b'x'; 100_000]);
    stream.extend(b"\ndata: {\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2}}\n\n");
    let body = Bytes::from(stream);
    for pieces in [vec![body.clone()], eventwise(&body), pieces(&body, 1)] {
        let mut meter = UsageMeter::new(Some(Dialect::OpenAiChat));
        meter.head(&head(200, EVENTS));
        let usage = read(meter, pieces);
        assert_eq!((usage.model.as_deref(), usage.output_tokens), (Some("m"), Some(2)));
        assert!(!usage.error_event);
    }
}

#[test]
fn a_choice_that_was_not_there_before_is_seen_though_its_event_has_no_other_word_of_interest() {
    let finished = "data: {\"choices\":[{\"index\":1,\"finish_reason\":\"stop\"}]}\n\n";
    for choice in ["{}", "{\"index\":0}", "{\"index\":0e0}", "{\"index\":2}", "{\"index\":200}"] {
        let stream = format!("data: {{}}\n\ndata: {{\"choices\":[{choice}]}}\n\n{finished}");
        for usage in all_ways(Dialect::OpenAiChat, EVENTS, &stream) {
            assert!(usage.unfinished, "{choice}");
        }
    }
    for usage in all_ways(Dialect::OpenAiChat, EVENTS, finished) {
        assert!(!usage.unfinished);
    }
}
